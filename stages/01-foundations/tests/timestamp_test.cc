#include "rung/base/Timestamp.h"

#include <doctest/doctest.h>
#include <stdlib.h>
#include <time.h>

#include <chrono>
#include <limits>

using namespace std::chrono_literals;
using rung::Timestamp;

namespace {

/// Sets TZ for one test and puts it back.
class ZoneGuard {
 public:
  explicit ZoneGuard(const char* zone) {
    if (const char* old = getenv("TZ")) old_ = old;
    setenv("TZ", zone, 1);
    tzset();
  }
  ~ZoneGuard() {
    old_.empty() ? unsetenv("TZ") : setenv("TZ", old_.c_str(), 1);
    tzset();
  }

 private:
  std::string old_;
};

TEST_CASE("Timestamp: now() lies between two readings of the system clock") {
  const auto micros = [] {
    return std::chrono::duration_cast<std::chrono::microseconds>(
               std::chrono::system_clock::now().time_since_epoch())
        .count();
  };
  const auto before = micros();
  const Timestamp t = Timestamp::now();
  const auto after = micros();
  CHECK(t.microsecondsSinceEpoch() >= before);
  CHECK(t.microsecondsSinceEpoch() <= after);
  CHECK(t.valid());
}

TEST_CASE("Timestamp: the default is invalid") {
  CHECK_FALSE(Timestamp().valid());
  CHECK(Timestamp() == Timestamp::invalid());
}

TEST_CASE("Timestamp: toString is UTC with six digits of microseconds") {
  CHECK(Timestamp(0).toString() == "19700101 00:00:00.000000Z");
  CHECK(Timestamp(1).toString() == "19700101 00:00:00.000001Z");
  CHECK(Timestamp(1'795'427'345'622'287).toString() == "20261123 09:49:05.622287Z");
  CHECK(Timestamp(951'782'400'000'000).toString() == "20000229 00:00:00.000000Z");
}

TEST_CASE("Timestamp: toString does not depend on the time zone") {
  const ZoneGuard zone("UTC-8");
  CHECK(Timestamp(1'795'427'345'622'287).toString() == "20261123 09:49:05.622287Z");
}

TEST_CASE("Timestamp: toLocalString shows the zone's time and its offset") {
  {
    const ZoneGuard east("UTC-8");  // POSIX counts westward: this zone is eight hours ahead
    CHECK(Timestamp(1'795'427'345'622'287).toLocalString() == "20261123 17:49:05.622287+0800");
  }
  const ZoneGuard west("UTC+3:30");
  CHECK(Timestamp(1'795'427'345'622'287).toLocalString() == "20261123 06:19:05.622287-0330");
}

// When summer time ends, the clocks of Berlin show the hour from two to three twice.
TEST_CASE("Timestamp: toLocalString tells the two hours apart that have one name") {
  const ZoneGuard berlin("CET-1CEST,M3.5.0,M10.5.0/3");
  CHECK(Timestamp(1'792'888'200'000'000).toLocalString() == "20261025 02:30:00.000000+0200");
  CHECK(Timestamp(1'792'891'800'000'000).toLocalString() == "20261025 02:30:00.000000+0100");
}

TEST_CASE("Timestamp: toLocalString rounds down, too, and a zone may be that of UTC") {
  {
    const ZoneGuard east("UTC-8");
    CHECK(Timestamp(-1).toLocalString() == "19700101 07:59:59.999999+0800");
  }
  const ZoneGuard utc("UTC0");
  CHECK(Timestamp(-1).toLocalString() == "19691231 23:59:59.999999+0000");
  CHECK(Timestamp(1).toLocalString() == "19700101 00:00:00.000001+0000");
}

// A rewrite of muduo divided first and took the remainder's sign as it came: one microsecond before
// the epoch was shown as "00:00:00.-00001".
TEST_CASE("Timestamp: times before 1970 round down, not toward zero") {
  CHECK(Timestamp(-1).toString() == "19691231 23:59:59.999999Z");
  CHECK(Timestamp(-1'000'000).toString() == "19691231 23:59:59.000000Z");
}

TEST_CASE("Timestamp: the farthest moments still print") {
  if constexpr (sizeof(time_t) < sizeof(std::int64_t)) {
    CHECK(Timestamp(std::numeric_limits<std::int64_t>::max()).toString() ==
          "9223372036854775807us");
    return;
  }
  CHECK(Timestamp(std::numeric_limits<std::int64_t>::max()).toString() ==
        "2942470110 04:00:54.775807Z");
  CHECK(Timestamp(std::numeric_limits<std::int64_t>::min()).toString().substr(0, 1) == "-");
}

TEST_CASE("Timestamp: ordered and counted like numbers") {
  const Timestamp a(1'000'000);
  const Timestamp b = a + 1500ms;
  CHECK(a < b);
  CHECK(b > a);
  CHECK(a != b);
  CHECK(b - a == 1500ms);
  CHECK(a - b == -1500ms);
  CHECK(b.microsecondsSinceEpoch() == 2'500'000);
}

// They overflowed: the moment a very long time from now was long before now.
TEST_CASE("Timestamp: adding and subtracting end where the numbers do") {
  using std::chrono::microseconds;
  constexpr std::int64_t kLast = std::numeric_limits<std::int64_t>::max();
  constexpr std::int64_t kFirst = std::numeric_limits<std::int64_t>::min();
  CHECK(Timestamp(1) + microseconds::max() == Timestamp(kLast));
  CHECK(Timestamp(-1) + microseconds::min() == Timestamp(kFirst));
  CHECK(Timestamp(-1) + microseconds::max() == Timestamp(kLast - 1));
  CHECK(Timestamp(1) - Timestamp(kFirst) == microseconds::max());
  CHECK(Timestamp(-2) - Timestamp(kLast) == microseconds::min());
}

}  // namespace
