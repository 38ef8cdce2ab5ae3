// The headers of this stage among others that define macros with names that are not theirs: the
// system's own <syslog.h>, and macros as <windows.h> has them. tests/regress/log_macros_test.py has
// what must not compile.

#include <syslog.h>
// The standard's headers stand no macro named min; so they come before.
#include <atomic>
#include <chrono>
#include <compare>
#include <memory>
#include <sstream>
#include <string>
#include <string_view>

#define RUNG_NO_SHORT_MACROS
#define min(a, b) ((a) < (b) ? (a) : (b))
#define max(a, b) ((a) > (b) ? (a) : (b))
#define ERROR 0
#define DEBUG 1
#define INFO 2
#include "rung/base/Logging.h"
#include "rung/base/Timestamp.h"
#include "rung/base/noncopyable.h"

namespace acme::rung {
void log() {
  RUNG_LOG_ERROR << "of acme's own rung";
}
constexpr auto kFar = ::rung::Timestamp(1) + std::chrono::microseconds(INT64_MAX);
}  // namespace acme::rung

#undef min
#undef max
#undef ERROR
#undef DEBUG
#undef INFO

#include <doctest/doctest.h>

namespace {

std::string captured;

TEST_CASE("neighbours: the macros work beside <syslog.h>, and its own names are numbers still") {
  static_assert(LOG_INFO == 6 && LOG_DEBUG == 7);
  rung::Logger::setOutput([](std::string_view line) { captured = line; });
  acme::rung::log();
  rung::Logger::setOutput(nullptr);
  CHECK(captured.find(" ERROR of acme's own rung - neighbours_test.cc:") != std::string::npos);
  CHECK(acme::rung::kFar == rung::Timestamp(INT64_MAX));
}

}  // namespace
