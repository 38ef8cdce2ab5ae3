#include "rung/base/Timestamp.h"

#include <time.h>

#include <cstdio>

namespace rung {

namespace {

constexpr std::int64_t kMicrosecondsPerSecond = 1'000'000;

struct Split {
  std::int64_t seconds;
  int microseconds;  // [0, 1000000), also before 1970
};

Split split(std::int64_t microseconds) {
  Split s{microseconds / kMicrosecondsPerSecond,
          static_cast<int>(microseconds % kMicrosecondsPerSecond)};
  // Division rounds toward zero; a clock face needs it to round down.
  if (s.microseconds < 0) {
    s.microseconds += kMicrosecondsPerSecond;
    s.seconds -= 1;
  }
  return s;
}

std::string format(const tm& when, int microseconds, const char* zone) {
  char text[64];
  std::snprintf(text, sizeof text, "%04d%02d%02d %02d:%02d:%02d.%06d%s", when.tm_year + 1900,
                when.tm_mon + 1, when.tm_mday, when.tm_hour, when.tm_min, when.tm_sec, microseconds,
                zone);
  return text;
}

std::string bareCount(std::int64_t microseconds) {
  return std::to_string(microseconds) + "us";
}

}  // namespace

Timestamp Timestamp::now() {
  const auto sinceEpoch = std::chrono::system_clock::now().time_since_epoch();
  return Timestamp(std::chrono::duration_cast<std::chrono::microseconds>(sinceEpoch).count());
}

std::string Timestamp::toString() const {
  const Split s = split(microseconds_);
  const auto seconds = static_cast<time_t>(s.seconds);  // 32 bits on some machines
  tm when{};
  // gmtime() would answer in a buffer shared by all threads.
  if (seconds != s.seconds || gmtime_r(&seconds, &when) == nullptr) return bareCount(microseconds_);
  return format(when, s.microseconds, "Z");
}

std::string Timestamp::toLocalString() const {
  const Split s = split(microseconds_);
  const auto seconds = static_cast<time_t>(s.seconds);
  tm when{};
  if (seconds != s.seconds || localtime_r(&seconds, &when) == nullptr) {
    return bareCount(microseconds_);
  }
  char zone[16];
  if (strftime(zone, sizeof zone, "%z", &when) == 0) zone[0] = '\0';
  return format(when, s.microseconds, zone);
}

}  // namespace rung
