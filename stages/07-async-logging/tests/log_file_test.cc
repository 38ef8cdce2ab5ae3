#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
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
Timestamp present;

LogFile::Options at(const std::string& baseName, std::int64_t rollBytes = 1 << 20) {
  present = k20261123At094905;
  return {.baseName = baseName, .rollBytes = rollBytes, .clock = [] { return present; }};
}

void advance(std::int64_t microseconds) {
  present = present + std::chrono::microseconds(microseconds);
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
  const std::int64_t midnight = (present.microsecondsSinceEpoch() / kDay + 1) * kDay;
  log.append("morning\n");
  present = Timestamp(midnight - 1);
  log.append("last\n");
  present = Timestamp(midnight);
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

// A clock that a time server corrected to and fro at midnight made a file of each line, 500 of 500:
// each time the day was another one than that of the file.
TEST_CASE("LogFile: a clock that swings across midnight rolls once") {
  const TempDirectory directory;
  LogFile log(at(directory / "base"));
  present = Timestamp((present.microsecondsSinceEpoch() / kDay + 1) * kDay - 1);
  std::string all;
  for (int i = 0; i < 500; ++i) {
    const std::string line = std::to_string(i) + '\n';
    log.append(line);
    all += line;
    advance(i % 2 == 0 ? 2 : -2);
  }
  CHECK(directory.files().size() == 2);
  CHECK(directory.contents() == all);
}

TEST_CASE("LogFile: a clock that is set back rolls nothing, until a day begins") {
  const TempDirectory directory;
  LogFile log(at(directory / "base"));
  log.append("one\n");
  advance(-3 * kDay);
  log.append("two\n");
  present = k20261123At094905;
  log.append("three\n");
  CHECK(directory.files().size() == 1);
  CHECK(contentsOf(log.path()) == "one\ntwo\nthree\n");
  advance(kDay);
  log.append("four\n");
  CHECK(directory.files().size() == 2);
  CHECK(contentsOf(log.path()) == "four\n");
}

LogFile::Options keeping(std::size_t files, const std::string& baseName) {
  LogFile::Options options = at(baseName, 2);  // a file a line
  options.keepFiles = files;
  return options;
}

// Files accumulated until the disk was full.
TEST_CASE("LogFile: keeps as many files as it is told, the newest ones") {
  const TempDirectory directory;
  LogFile log(keeping(3, directory / "base"));
  for (char line = 'a'; line <= 'l'; ++line) {  // "..._12.log", which is not older than "..._2.log"
    log.append(std::string{line, '\n'});
    CHECK(directory.files().size() ==
          std::min<std::size_t>(static_cast<std::size_t>(line - 'a') + 1, 3));
  }
  CHECK(directory.contents() == "j\nk\nl\n");
  advance(kSecond);
  log.append("m\n");
  CHECK(directory.contents() == "k\nl\nm\n");
}

TEST_CASE("LogFile: when it removes old files it has nothing to tell") {
  const TempDirectory directory;
  const auto child = runInChild([&] {
    LogFile log(keeping(1, directory / "base"));
    log.append("a\n");
    log.append("b\n");
    errno = EACCES;
    log.append("c\n");
    _exit(directory.files().size() == 1 ? 0 : 1);
  });
  CHECK(child.exitedWith(0));
  CHECK(child.output.empty());
}

TEST_CASE("LogFile: keeps all files by default") {
  const TempDirectory directory;
  LogFile log(at(directory / "base", 2));
  for (int i = 0; i < 50; ++i)
    log.append("x\n");
  CHECK(directory.files().size() == 50);
}

TEST_CASE("LogFile: after a restart the files of the process before count") {
  const TempDirectory directory;
  const auto before = runInChild([&] {  // with another pid
    LogFile log(keeping(0, directory / "base"));
    for (int i = 0; i < 5; ++i)
      log.append("x\n");
  });
  CHECK(before.exitedWith(0));
  CHECK(directory.files().size() == 5);
  present = k20261123At094905;
  advance(kSecond);
  LogFile::Options options = keeping(2, directory / "base");
  options.clock = [] { return k20261123At094905 + std::chrono::seconds(1); };
  LogFile log(options);
  log.open();
  CHECK(directory.files().size() == 2);
  CHECK(directory.files().back() == log.path());
  CHECK(directory.contents() == "x\n");
}

TEST_CASE("LogFile: removes no file but its own log's") {
  const TempDirectory directory;
  const auto named = [&](const std::string& begin, const std::string& end) {
    return directory / begin + host() + end;
  };
  const std::string ours = named("base.20000101-000000.", ".1.log");
  std::vector<std::string> others{
      directory / "base.log",
      named("base.20000101-000000.", ".1.log.gz"),
      named("base.20000101-000000.", ".1_.log"),
      named("base.20000101-000000.", "..log"),
      named("base.20000101-000000.", ".x1.log"),
      named("base.20000101-000000.another-", ".1.log"),
      named("base.200001010-000000.", ".1.log"),
      named("base.20000101-0000000.", ".1.log"),
      named("base.2000010a-000000.", ".1.log"),
      named("base.20000101+000000.", ".1.log"),
      named("base-2.20000101-000000.", ".1.log"),
      named("base.errors.20000101-000000.", ".1.log"),
      named("database.20000101-000000.", ".1.log"),
  };
  for (const std::string& path : others)
    std::ofstream(path) << "another's\n";
  std::ofstream(ours) << "old\n";
  LogFile log(keeping(1, directory / "base"));
  log.append("1\n");
  log.append("2\n");
  others.push_back(log.path());
  std::sort(others.begin(), others.end());
  CHECK(directory.files() == others);
}

TEST_CASE("LogFile: keeps the file it writes, whatever the clock says") {
  const TempDirectory directory;
  LogFile log(keeping(2, directory / "base"));
  log.append("a\n");
  log.append("b\n");
  advance(-kDay);
  log.append("c\n");  // the oldest by its name
  CHECK(contentsOf(log.path()) == "c\n");
  CHECK(directory.files().size() == 2);
  CHECK(directory.contents() == "c\nb\n");
}

TEST_CASE("LogFile: keeps files in the working directory, too") {
  const TempDirectory directory;
  const auto child = runInChild([&] {
    if (chdir(directory.path().c_str()) != 0) _exit(1);
    LogFile log(keeping(1, "base"));
    log.append("a\n");
    log.append("b\n");
  });
  CHECK(child.exitedWith(0));
  CHECK(directory.contents() == "b\n");
}

// Removing is a service, writing is the duty.
TEST_CASE("LogFile: what cannot be removed is told once, and lines are written all the same") {
  const TempDirectory directory;
  const auto child = runInChild([&] {
    LogFile log(keeping(1, directory / "base"));
    log.append("a\n");
    // A directory by the name of a log file, which unlink(2) refuses.
    mkdir((directory / "base.20000101-000000." + host() + ".1.log").c_str(), 0700);
    log.append("b\n");
    log.append("c\n");
    _exit(static_cast<int>(log.lostLines()));
  });
  CHECK(child.exitedWith(0));
  CHECK(child.says(": unlink: "));
  CHECK(child.output.find("told once") == child.output.rfind("told once"));
  CHECK(directory.files().size() == 2);
  CHECK(contentsOf(directory.files().back()) == "c\n");
}

TEST_CASE("LogFile: a directory that cannot be listed costs no line") {
  const TempDirectory directory;
  const auto child = runInChild([&] {
    LogFile log(keeping(1, directory / "base"));
    const int lowest = dup(STDERR_FILENO);
    log.append("a\n");
    close(lowest);
    // One descriptor is left for the next file, and none to look at the directory with.
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = static_cast<rlim_t>(lowest) + 1;
    setrlimit(RLIMIT_NOFILE, &limit);
    log.append("b\n");
    _exit(static_cast<int>(log.lostLines()));
  });
  CHECK(child.exitedWith(0));
  CHECK(child.says(": opendir: "));
  CHECK(directory.files().size() == 2);
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

// The child's first line was that lines of the parent's were missing: the count was kept.
TEST_CASE("LogFile: a forked child that starts over does not tell what its parent lost") {
  const TempDirectory directory;
  const std::string inner = directory / "inner";
  const auto parent = runInChild([&] {
    LogFile log(at(inner + "/base"));
    log.append("lost\n");
    mkdir(inner.c_str(), 0700);
    const auto child = runInChild([&] {
      log.startOver();
      log.append("child\n");
      _exit(contentsOf(log.path()) == "child\n" ? 0 : 1);
    });
    log.append("parent\n");
    // Its own first line tells of one that is missing.
    const std::string text = contentsOf(log.path());
    const bool tells = text.find(" 1 ") < text.find('\n') && text.ends_with("\nparent\n");
    _exit(child.exitedWith(0) && tells ? 0 : 1);
  });
  CHECK(parent.exitedWith(0));
}

}  // namespace
