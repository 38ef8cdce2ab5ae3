#include <doctest/doctest.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <regex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "rung/base/Logging.h"

#include "tests/support/Allocations.h"
#include "tests/support/ChildProcess.h"
#include "tests/support/TempDirectory.h"

// What stage 01 says of Logging holds here, too, and its tests run against lib/. These are about
// what is new.

using rung::formatLogLine;
using rung::Logger;
using rung::LogLevel;
using rung::SourceFile;
using rung::Timestamp;
using rung::testing::NoMemory;
using rung::testing::runInChild;
using rung::testing::TempDirectory;

namespace {

constexpr std::int64_t kLastSecondOf2026 = 1'798'761'599'000'000;

std::vector<std::string> captured;

class Capture {
 public:
  Capture() {
    captured.clear();
    Logger::setOutput([](std::string_view line) { captured.emplace_back(line); });
  }
  ~Capture() { Logger::setOutput(nullptr); }
};

std::string lineAt(std::int64_t microseconds) {
  return formatLogLine(Timestamp(microseconds), LogLevel::info, "Here.cc", 7, "text");
}

std::string expected(const std::string& time) {
  return time + ' ' + std::to_string(gettid()) + " INFO  text - Here.cc:7\n";
}

// The text of the date is a std::string: bad_alloc left the log statement, a LOG_FATAL as well.
TEST_CASE("Logger: without memory a line has the seconds since 1970 in place of the date") {
  static char line[200];
  static std::size_t size;
  Logger::setOutput([](std::string_view all) { size = all.copy(line, sizeof line); });
  std::string tid;
  std::thread([&] {  // its first line
    tid = std::to_string(gettid());
    const NoMemory none;
    LOG_INFO << "still said";
  })
      .join();
  Logger::setOutput(nullptr);
  const std::string said(line, size);
  CHECK_MESSAGE(std::regex_match(said, std::regex("[0-9]{10,} " + tid +
                                                  " INFO  still said - logger_test.cc:[0-9]+\n")),
                said);
}

TEST_CASE("SourceFile: only the name is left of a path, and the compiler finds it") {
  static_assert(SourceFile("/a/b/File.cc").name() == "File.cc");
  static_assert(SourceFile("../File.cc").name() == "File.cc");
  static_assert(SourceFile("File.cc").name() == "File.cc");
  static_assert(SourceFile("directory/").name().empty());
  CHECK(SourceFile(__FILE__).name() == "logger_test.cc");
}

TEST_CASE("Logger: the text of a second is kept, the microseconds are each line's own") {
  CHECK(lineAt(kLastSecondOf2026) == expected("20261231 23:59:59.000000Z"));
  CHECK(lineAt(kLastSecondOf2026 + 1) == expected("20261231 23:59:59.000001Z"));
  CHECK(lineAt(kLastSecondOf2026 + 987'654) == expected("20261231 23:59:59.987654Z"));
  CHECK(lineAt(kLastSecondOf2026 + 1'000'000) == expected("20270101 00:00:00.000000Z"));
  CHECK(lineAt(kLastSecondOf2026 + 999'999) == expected("20261231 23:59:59.999999Z"));
}

TEST_CASE("Logger: times before 1970 count forward, too") {
  CHECK(lineAt(-1) == expected("19691231 23:59:59.999999Z"));
  CHECK(lineAt(-1'000'000) == expected("19691231 23:59:59.000000Z"));
  CHECK(lineAt(0) == expected("19700101 00:00:00.000000Z"));
}

// The digits of the microseconds were written where they stand in a year of four digits, and the
// beginning of the first second there is was computed out of range.
TEST_CASE("Logger: times far away are shown right") {
  if constexpr (sizeof(time_t) < sizeof(std::int64_t)) {
    CHECK(lineAt(INT64_MAX) == expected("9223372036854775807us"));
    CHECK(lineAt(INT64_MAX - 1) == expected("9223372036854775806us"));
    return;
  }
  CHECK(lineAt(INT64_MAX) == expected("2942470110 04:00:54.775807Z"));
  CHECK(lineAt(INT64_MAX - 1) == expected("2942470110 04:00:54.775806Z"));
  CHECK(lineAt(INT64_MIN) == expected(Timestamp(INT64_MIN).toString()));
}

TEST_CASE("Logger: the time zone of the process, if one asks for it") {
  const auto child = runInChild([] {
    setenv("TZ", "TST-5:30", 1);
    tzset();
    LOG_INFO << "one";
    Logger::setLocalTime(true);
    LOG_INFO << "two";  // of the same second, most likely: what is kept of it must not show
    Logger::setLocalTime(false);
    LOG_INFO << "three";
  });
  const std::regex form(R"(\d{8} [\d:]{8}\.\d{6}Z \d+ INFO  one - .*\n)"
                        R"(\d{8} [\d:]{8}\.\d{6}\+0530 \d+ INFO  two - .*\n)"
                        R"(\d{8} [\d:]{8}\.\d{6}Z \d+ INFO  three - .*\n)");
  CHECK_MESSAGE(std::regex_match(child.output, form), child.output);
}

TEST_CASE("Logger: a forked child's lines carry its own id") {
  LOG_DEBUG << "nothing is kept before the first line";
  const Capture capture;
  LOG_INFO << "the parent";
  const auto child = runInChild([] {
    Logger::setOutput(nullptr);
    LOG_INFO << "the child";
    LOG_INFO << "pid " << getpid();
  });
  std::smatch found;
  const std::regex form(R"(.*Z (\d+) INFO  the child - .*\n.*Z (\d+) INFO  pid (\d+) - .*\n)");
  REQUIRE_MESSAGE(std::regex_match(child.output, found, form), child.output);
  CHECK(found[1] == found[3]);
  CHECK(found[2] == found[3]);
}

TEST_CASE("Logger: a line that is too long is cut, says so, and is still one line") {
  const Capture capture;
  LOG_INFO << std::string(10'000, 'x') << "end";
  REQUIRE(captured.size() == 1);
  const std::string& line = captured[0];
  CHECK(line.size() <= rung::FixedBuffer::kBytes);
  CHECK(line.find("INFO  xxx") != line.npos);
  CHECK(
      std::regex_search(line, std::regex(R"(x\.\.\.\[cut \d+ bytes\] - logger_test\.cc:\d+\n$)")));
  CHECK(line.find('\n') == line.size() - 1);
}

TEST_CASE("Logger: a level is found by its name, in any case") {
  const char* names[] = {"trace", "debug", "info", "warn", "error", "fatal"};
  for (int i = 0; i < 6; ++i)
    CHECK(Logger::parseLevel(names[i]) == static_cast<LogLevel>(i));
  CHECK(Logger::parseLevel("INFO") == LogLevel::info);
  CHECK(Logger::parseLevel("WaRn") == LogLevel::warn);
}

TEST_CASE("Logger: what is no level is refused, with the text in the message") {
  for (const std::string text : {"", "inf", "infos", "info ", " info", "INFO  ", "verbose",
                                 "warning", "3", "inf~", "INF\xcf"}) {
    CAPTURE(text);
    for (const std::string& named :
         std::vector<std::string>{text, "trace", "debug", "info", "warn", "error", "fatal"}) {
      CHECK_THROWS_WITH_AS((void)Logger::parseLevel(text), doctest::Contains(named.c_str()),
                           std::invalid_argument);
    }
  }
}

TEST_CASE("Logger: a line that is too long for the text of its errno, too") {
  const Capture capture;
  errno = ENOENT;
  LOG_SYSERR << std::string(10'000, 'x');
  REQUIRE(captured.size() == 1);
  CHECK(captured[0].ends_with('\n'));
  CHECK(captured[0].find(" - logger_test.cc:") != std::string::npos);
}

TEST_CASE("Logger: writes to stdout unless told otherwise, each line at once") {
  const auto child = runInChild([] {
    close(STDERR_FILENO);
    LOG_INFO << "shown";
    _exit(0);  // no buffer of stdio is written here
  });
  CHECK(child.exitedWith(0));
  CHECK(child.says("shown"));
}

// `server | head` ended the server at its eleventh line: SIGPIPE.
TEST_CASE("Logger: when nobody reads stdout any more, the process goes on") {
  const auto child = runInChild([] {
    int ends[2];
    if (pipe(ends) != 0) _exit(100);
    close(ends[0]);
    dup2(ends[1], STDOUT_FILENO);
    LOG_INFO << "lost";
    LOG_INFO << "lost, too";
    dprintf(STDERR_FILENO, "goes on\n");
  });
  CHECK(child.exitedWith(0));
  CHECK(child.output == "goes on\n");
}

// SIGXFSZ.
TEST_CASE("Logger: when the file that is stdout is as long as it may be, the process goes on") {
  const TempDirectory directory;
  const auto child = runInChild([&] {
    const int file = open((directory / "file").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    dup2(file, STDOUT_FILENO);
    const rlimit tenBytes{10, 10};
    setrlimit(RLIMIT_FSIZE, &tenBytes);
    LOG_INFO << "cut";
    LOG_INFO << "lost";
    dprintf(STDERR_FILENO, "goes on\n");
  });
  CHECK(child.exitedWith(0));
  CHECK(child.output == "goes on\n");
  CHECK(directory.contents().size() == 10);
}

TEST_CASE("Logger: a fatal line is written first, then flushed, then the process aborts") {
  const auto child = runInChild([] {
    Logger::setOutput([](std::string_view line) {
      Logger::writeToStdout(Logger::aborting() ? "output, aborting: " : "output: ");
      Logger::writeToStdout(line);
    });
    Logger::setFlush([] { Logger::writeToStdout("flush\n"); });
    LOG_ERROR << "one";
    LOG_FATAL << "two";
  });
  CHECK(child.aborted());
  const std::regex form(
      R"(output: .* ERROR one - .*\noutput, aborting: .* FATAL two - .*\nflush\n)");
  CHECK_MESSAGE(std::regex_match(child.output, form), child.output);
}

}  // namespace
