// The headers of this stage among others that define macros with names that are not theirs, as
// those of stage 01 are tried in neighbours_test.cc.

#include <syslog.h>
// The standard's headers stand no macro named min; so they come before.
#include <atomic>
#include <chrono>
#include <concepts>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#define RUNG_NO_SHORT_MACROS
#define min(a, b) ((a) < (b) ? (a) : (b))
#define max(a, b) ((a) > (b) ? (a) : (b))
#define ERROR 0
#define DEBUG 1
#define INFO 2
#include "rung/base/AppendFile.h"
#include "rung/base/AsyncLogging.h"
#include "rung/base/LogFile.h"
#include "rung/base/LogStream.h"
#include "rung/base/Logging.h"
#include "rung/base/QuietWrite.h"
#include "rung/base/SourceFile.h"

namespace acme::rung {
void logToFile(const std::string& baseName) {
  ::rung::AsyncLogging log({.file = {.baseName = baseName}});
  log.attach();
  RUNG_LOG_INFO << "of acme's own rung";
}
}  // namespace acme::rung

#undef min
#undef max
#undef ERROR
#undef DEBUG
#undef INFO

#include <doctest/doctest.h>

#include "tests/support/TempDirectory.h"

namespace {

TEST_CASE("neighbours: asynchronous logging works beside <syslog.h>, with macros of many names") {
  static_assert(LOG_INFO == 6);
  const rung::testing::TempDirectory directory;
  acme::rung::logToFile(directory / "base");
  CHECK(directory.contents().find(" INFO  of acme's own rung - log_nei") != std::string::npos);
}

}  // namespace
