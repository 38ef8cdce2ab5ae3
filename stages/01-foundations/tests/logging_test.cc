#include "rung/base/Logging.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <mutex>
#include <regex>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/ChildProcess.h"

using rung::Logger;
using rung::LogLevel;
using rung::testing::runInChild;

namespace {

std::mutex capturedMutex;
std::vector<std::string> captured;

/// Collects lines instead of printing them, for one test.
class Capture {
 public:
  Capture() {
    captured.clear();
    Logger::setOutput([](std::string_view line) {
      const std::lock_guard<std::mutex> lock(capturedMutex);
      captured.emplace_back(line);
    });
  }
  ~Capture() {
    Logger::setOutput(nullptr);
    Logger::setLevel(LogLevel::info);
  }
};

TEST_CASE("Logging: a line has time, thread, level, text, file and line number") {
  const Capture capture;
  LOG_INFO << "answer " << 42;
  const int line = __LINE__ - 1;
  REQUIRE(captured.size() == 1);
  const std::regex form(R"(\d{8} \d\d:\d\d:\d\d\.\d{6}Z )" + std::to_string(gettid()) +
                        R"( INFO  answer 42 - logging_test\.cc:)" + std::to_string(line) + "\n");
  CHECK_MESSAGE(std::regex_match(captured[0], form), captured[0]);
}

TEST_CASE("Logging: every level has its own five-letter name") {
  const Capture capture;
  Logger::setLevel(LogLevel::trace);
  LOG_TRACE << "x";
  LOG_DEBUG << "x";
  LOG_INFO << "x";
  LOG_WARN << "x";
  LOG_ERROR << "x";
  const char* names[] = {" TRACE x", " DEBUG x", " INFO  x", " WARN  x", " ERROR x"};
  REQUIRE(captured.size() == 5);
  for (std::size_t i = 0; i < 5; ++i) {
    CHECK_MESSAGE(captured[i].find(names[i]) != std::string::npos, captured[i]);
  }
}

TEST_CASE("Logging: what is below the level is neither written nor evaluated") {
  const Capture capture;
  int evaluated = 0;
  LOG_DEBUG << ++evaluated;
  CHECK(evaluated == 0);
  CHECK(captured.empty());
  Logger::setLevel(LogLevel::debug);
  LOG_DEBUG << ++evaluated;
  CHECK(evaluated == 1);
  CHECK(captured.size() == 1);
}

// A macro that expands to `if (…) Logger().stream()` steals the else of the statement around it.
TEST_CASE("Logging: an else after the macro belongs to the if before it") {
  const Capture capture;
  int elsesTaken = 0;
  // clang-format off
  if (!captured.empty())
    LOG_INFO << "not reached";
  else
    ++elsesTaken;
  if (captured.empty())
    LOG_TRACE << "below the level";
  else
    ++elsesTaken;
  // clang-format on
  CHECK(elsesTaken == 1);
  CHECK(captured.empty());
}

TEST_CASE("Logging: LOG_SYSERR adds the text of errno") {
  const Capture capture;
  errno = ENOENT;
  LOG_SYSERR << "open config";
  REQUIRE(captured.size() == 1);
  CHECK_MESSAGE(
      captured[0].find("open config: No such file or directory (errno 2) - ") != std::string::npos,
      captured[0]);
}

// A peer's name with a newline in it made a second line that looked like one of the server's own,
// and its escape sequences cleared the screen of the reader.
TEST_CASE("Logging: control characters in a text are escaped") {
  const Capture capture;
  LOG_INFO << "user a\n20261123 09:49:05.622287Z 1 INFO  root\r\t deleted\x1b[2J";
  LOG_INFO << std::string("zero\0 end", 9) << "\x7f\x1f";
  LOG_INFO << "\u0080 \u009b31m \u009f";  // U+009B does what ESC [ does
  REQUIRE(captured.size() == 3);
  const auto isIn = [](const std::string& text, const std::string& line) {
    return line.find(" INFO  " + text + " - logging_test.cc:") != std::string::npos;
  };
  CHECK(isIn(R"(user a\n20261123 09:49:05.622287Z 1 INFO  root\r\t deleted\x1b[2J)", captured[0]));
  CHECK(isIn(R"(zero\x00 end\x7f\x1f)", captured[1]));
  CHECK(isIn(R"(\x80 \x9b31m \x9f)", captured[2]));
  for (const std::string& line : captured)
    CHECK(line.find('\n') == line.size() - 1);
}

// The escape sequences of a terminal begin with one of them, but "\a" alone rings its bell.
TEST_CASE("Logging: each control character of one or two bytes is escaped by its number") {
  const Capture capture;
  const auto isEscaped = [](const std::string& text, const char* escape) {
    captured.clear();
    LOG_INFO << '<' << text << '>';
    const std::string shown = std::string(" INFO  <") + escape + "> - logging_test.cc:";
    return captured.size() == 1 && captured[0].find(shown) != std::string::npos;
  };
  CHECK(isEscaped("\t", R"(\t)"));
  CHECK(isEscaped("\n", R"(\n)"));
  CHECK(isEscaped("\r", R"(\r)"));
  for (int code = 0; code < 0xA0; ++code) {
    if (code == '\t' || code == '\n' || code == '\r' || (code >= 0x20 && code < 0x7F)) continue;
    CAPTURE(code);
    char escape[16];
    std::snprintf(escape, sizeof escape, "\\x%02x", static_cast<unsigned>(code));
    const std::string first = code < 0x80 ? "" : "\xc2";
    CHECK(isEscaped(first + static_cast<char>(code), escape));
  }
}

// "user <U+202E>gol" turned the rest of the line around, file name and all; and U+2028 begins a
// line in some editors.
TEST_CASE("Logging: characters that change direction or begin a line are escaped") {
  const Capture capture;
  LOG_INFO << "\u061c\u200e\u200f\u2028\u2029\u202a\u202e\u2066\u2069 "
              "\u061b\u200d\u2010\u2027\u202f\u2065\u206a";
  LOG_INFO << "\u20ac \u2713 \u201cquoted\u201d \xe2\x80 \xe2\x80x \xe2";
  REQUIRE(captured.size() == 2);
  const std::string escaped = R"(\u061c\u200e\u200f\u2028\u2029\u202a\u202e\u2066\u2069)";
  const std::string kept = " \u061b\u200d\u2010\u2027\u202f\u2065\u206a";  // their neighbours
  CAPTURE(escaped);
  CHECK(captured[0].find(" INFO  " + escaped + kept + " - ") != std::string::npos);
  CHECK(captured[1].find("\u20ac \u2713 \u201cquoted\u201d \xe2\x80 \xe2\x80x \xe2 - ") !=
        std::string::npos);
}

TEST_CASE("Logging: text of all languages, and a backslash, stay as they are") {
  const Capture capture;
  // Ends of characters look like control characters to who does not know their beginnings.
  const std::string text =
      "\u00a0 \u00a3 \u00df \u0100 \u041b \u6728\u9438 \U0001f514 ~ \\n \xc2 \x9b";
  LOG_INFO << text;
  LOG_INFO << "\xc2";
  REQUIRE(captured.size() == 2);
  CHECK_MESSAGE(captured[0].find(" INFO  " + text + " - ") != std::string::npos, captured[0]);
  CHECK_MESSAGE(captured[1].find(" INFO  \xc2 - ") != std::string::npos, captured[1]);
}

namespace acme::rung {
int answer() {
  RUNG_LOG_INFO << "from another rung";
  LOG_INFO << "for short";
  return 42;
}
}  // namespace acme::rung

// The macros said `rung::Logger`, which is `acme::rung::Logger` here, and does not exist.
TEST_CASE("Logging: the macros work in a namespace with a rung of its own") {
  const Capture capture;
  CHECK(acme::rung::answer() == 42);
  CHECK(captured.size() == 2);
}

TEST_CASE("Logging: the long names of the macros are the same macros") {
  const Capture capture;
  Logger::setLevel(LogLevel::trace);
  errno = ENOENT;
  RUNG_LOG_SYSERR << "open";
  RUNG_LOG_TRACE << "x";
  RUNG_LOG_DEBUG << "x";
  RUNG_LOG_INFO << "x";
  RUNG_LOG_WARN << "x";
  RUNG_LOG_ERROR << "x";
  const char* starts[] = {
      " ERROR open: No such", " TRACE x", " DEBUG x", " INFO  x", " WARN  x", " ERROR x"};
  REQUIRE(captured.size() == 6);
  for (std::size_t i = 0; i < 6; ++i)
    CHECK_MESSAGE(captured[i].find(starts[i]) != std::string::npos, captured[i]);
  CHECK(runInChild([] { RUNG_LOG_FATAL << "the end"; }).aborted());
  CHECK(runInChild([] { RUNG_LOG_SYSFATAL << "the end"; }).aborted());
}

// muduo's handlers read errno after a line of logging had changed it, and took the wrong branch.
TEST_CASE("Logging: a log statement leaves errno as it was") {
  const Capture capture;
  Logger::setOutput([](std::string_view) { errno = EBADF; });
  errno = EAGAIN;
  LOG_ERROR << "something failed";
  CHECK(errno == EAGAIN);
}

TEST_CASE("Logging: lines of several threads never mix") {
  const Capture capture;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([t] {
      for (int i = 0; i < 250; ++i)
        LOG_INFO << "thread " << t << " line " << i << " end";
    });
  }
  for (std::thread& thread : threads)
    thread.join();
  REQUIRE(captured.size() == 1000);
  const std::regex form(R"(.* INFO  thread \d line \d+ end - logging_test\.cc:\d+\n)");
  for (const std::string& line : captured)
    CHECK_MESSAGE(std::regex_match(line, form), line);
}

TEST_CASE("Logging: LOG_FATAL prints its line and aborts") {
  const auto child = runInChild([] { LOG_FATAL << "the loop is on fire"; });
  CHECK(child.aborted());
  CHECK(child.says(" FATAL the loop is on fire - logging_test.cc:"));
}

TEST_CASE("Logging: LOG_SYSFATAL says why before it aborts") {
  const auto child = runInChild([] {
    errno = EMFILE;
    LOG_SYSFATAL << "eventfd";
  });
  CHECK(child.aborted());
  CHECK(child.says("eventfd: Too many open files (errno 24)"));
}

TEST_CASE("Logging: without an output of its own a program still shows its lines") {
  const auto child = runInChild([] {
    LOG_WARN << "first";
    LOG_WARN << "second";
  });
  CHECK(child.exitedWith(0));
  CHECK(child.output.find("first") < child.output.find("second"));
}

}  // namespace
