#include <doctest/doctest.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "rung/base/LogFile.h"

#include "tests/support/ChildProcess.h"
#include "tests/support/TempDirectory.h"

using rung::LogFile;
using rung::Timestamp;
using rung::testing::contentsOf;
using rung::testing::runInChild;
using rung::testing::TempDirectory;

namespace {

constexpr std::int64_t kSecond = 1'000'000;
constexpr std::int64_t kDay = 86'400 * kSecond;
constexpr Timestamp k20261123At094905(1'795'427'345 * kSecond + 622'287);

/// The time that LogFile sees; it stands still until the test moves it.
Timestamp now;

LogFile::Options at(const std::string& baseName, std::int64_t rollBytes = 1 << 20) {
  now = k20261123At094905;
  return {.baseName = baseName, .rollBytes = rollBytes, .clock = [] { return now; }};
}

void advance(std::int64_t microseconds) {
  now = now + std::chrono::microseconds(microseconds);
}

std::string host() {
  char name[256] = "";
  gethostname(name, sizeof name - 1);
  return name;
}

/// "base.<when>.host.pid<which>.log"
std::string nameOf(const TempDirectory& directory, const std::string& when,
                   const std::string& which = "") {
  return directory / "base." + when + '.' + host() + '.' + std::to_string(getpid()) + which +
         ".log";
}

TEST_CASE("LogFile: the name tells base, time in UTC, host and process") {
  const TempDirectory directory;
  LogFile log(at(directory / "base"));
  CHECK(log.path().empty());
  CHECK(directory.files().empty());
  log.append("one\n");
  CHECK(log.path() == nameOf(directory, "20261123-094905"));
  CHECK(directory.files() == std::vector{log.path()});
  CHECK(contentsOf(log.path()) == "one\n");
}

TEST_CASE("LogFile: open makes the file before the first line") {
  const TempDirectory directory;
  LogFile log(at(directory / "base"));
  CHECK(log.descriptor() == -1);
  log.open();
  CHECK(log.descriptor() >= 0);
  CHECK(directory.files() == std::vector{log.path()});
  log.append("one\n");
  CHECK(directory.files().size() == 1);
}

TEST_CASE("LogFile: rolls before a file would get longer than the limit") {
  const TempDirectory directory;
  LogFile log(at(directory / "base", 10));
  log.append("1234\n");
  advance(kSecond);
  log.append("6789\n");
  advance(kSecond);
  log.append("1\n");
  CHECK(contentsOf(nameOf(directory, "20261123-094905")) == "1234\n6789\n");
  CHECK(contentsOf(nameOf(directory, "20261123-094907")) == "1\n");
  CHECK(directory.files().size() == 2);
}

// AsyncLogging hands over a megabyte at a time. Rolling only between two batches would let a file
// grow past its limit by that much.
TEST_CASE("LogFile: a batch is divided among files, between lines") {
  const TempDirectory directory;
  LogFile log(at(directory / "base", 10));
  log.append("aaa\nbbb\nccc\nddd\neee\n");
  const auto files = directory.files();
  REQUIRE(files.size() == 3);
  CHECK(contentsOf(nameOf(directory, "20261123-094905")) == "aaa\nbbb\n");
  CHECK(contentsOf(nameOf(directory, "20261123-094905", "_2")) == "ccc\nddd\n");
  CHECK(contentsOf(nameOf(directory, "20261123-094905", "_3")) == "eee\n");
}

TEST_CASE("LogFile: a line longer than the limit has a file of its own, whole") {
  const TempDirectory directory;
  LogFile log(at(directory / "base", 10));
  const std::string longLine = std::string(100, 'x') + '\n';
  log.append("a\n" + longLine + "b\n");
  log.append(longLine);
  CHECK(contentsOf(nameOf(directory, "20261123-094905")) == "a\n");
  CHECK(contentsOf(nameOf(directory, "20261123-094905", "_2")) == longLine);
  CHECK(contentsOf(nameOf(directory, "20261123-094905", "_3")) == "b\n");
  CHECK(contentsOf(nameOf(directory, "20261123-094905", "_4")) == longLine);
  CHECK(log.lostLines() == 0);
}

TEST_CASE("LogFile: text without a newline is kept as well, whole") {
  const TempDirectory directory;
  LogFile log(at(directory / "base", 10));
  const std::string text(100, 'x');
  log.append(text);
  CHECK(contentsOf(nameOf(directory, "20261123-094905")) == text);
  CHECK(log.lostLines() == 0);
}

TEST_CASE("LogFile: rolls at midnight UTC") {
  const TempDirectory directory;
  LogFile log(at(directory / "base"));
  const std::int64_t midnight = (now.microsecondsSinceEpoch() / kDay + 1) * kDay;
  log.append("morning\n");
  now = Timestamp(midnight - 1);
  log.append("last\n");
  now = Timestamp(midnight);
  log.append("first\n");
  advance(kDay - 1);
  log.append("evening\n");
  advance(30 * kDay);
  log.append("later\n");
  CHECK(contentsOf(nameOf(directory, "20261123-094905")) == "morning\nlast\n");
  CHECK(contentsOf(nameOf(directory, "20261124-000000")) == "first\nevening\n");
  CHECK(contentsOf(nameOf(directory, "20261224-235959")) == "later\n");
  CHECK(directory.files().size() == 3);
}

// muduo names by the second and opens for appending: rolling twice within a second continues the
// same file, so its limit is none.
TEST_CASE("LogFile: files of one second never clash, and sort in their order") {
  const TempDirectory directory;
  LogFile log(at(directory / "base", 2));
  std::string all;
  for (char c = 'a'; c < 'j'; ++c) {
    const std::string line{c, '\n'};
    log.append(line);
    all += line;
  }
  CHECK(directory.files().size() == 9);
  CHECK(directory.contents() == all);
  advance(kSecond);
  log.append("z\n");
  CHECK(log.path() == nameOf(directory, "20261123-094906"));
}

TEST_CASE("LogFile: a file that is there already is left alone") {
  const TempDirectory directory;
  LogFile before(at(directory / "base"));
  before.append("before\n");
  LogFile log(at(directory / "base"));
  log.append("after\n");
  CHECK(contentsOf(before.path()) == "before\n");
  CHECK(log.path() == nameOf(directory, "20261123-094905", "_2"));
  CHECK(contentsOf(log.path()) == "after\n");
}

TEST_CASE("LogFile: a clock that is set back does no harm") {
  const TempDirectory directory;
  LogFile log(at(directory / "base"));
  log.append("one\n");
  advance(-kDay);
  log.append("two\n");
  now = k20261123At094905;
  log.append("three\n");
  CHECK(directory.contents() == "two\none\nthree\n");
  CHECK(contentsOf(log.path()) == "three\n");
}

TEST_CASE("LogFile: a forked child that starts over has its own file") {
  const TempDirectory directory;
  LogFile log(at(directory / "base"));
  log.append("parent\n");
  const auto child = runInChild([&] {
    log.startOver();
    log.append("child\n");
  });
  log.append("parent again\n");
  CHECK(child.exitedWith(0));
  CHECK(contentsOf(log.path()) == "parent\nparent again\n");
  CHECK(directory.files().size() == 2);
  CHECK(directory.contents().find("child\n") != std::string::npos);
}

}  // namespace
