#include <doctest/doctest.h>
#include <unistd.h>

#include <cstdint>
#include <fstream>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include "rung/base/LogFile.h"

#include "tests/support/ChildProcess.h"
#include "tests/support/TempDirectory.h"

// How many bytes the files of a log may have together. How many files: log_file_test.cc.

using rung::LogFile;
using rung::Timestamp;
using rung::testing::contentsOf;
using rung::testing::runInChild;
using rung::testing::TempDirectory;

namespace {

Timestamp keepClock;

/// Files of ten bytes, two lines.
LogFile::Options keepingBytes(std::int64_t bytes, const std::string& baseName) {
  keepClock = Timestamp(std::int64_t{1'795'427'345} * 1'000'000);  // 20261123-094905
  return {
      .baseName = baseName, .rollBytes = 10, .keepBytes = bytes, .clock = [] { return keepClock; }};
}

std::string hostPart() {
  char name[256] = "";
  gethostname(name, sizeof name - 1);
  return name;
}

/// A file of this log, as a process `pid` of long ago has left it.
std::string oldFile(const TempDirectory& directory, const std::string& pid) {
  return directory / "base.20000101-000000." + hostPart() + '.' + pid + ".log";
}

std::size_t bytesIn(const TempDirectory& directory) {
  return directory.contents().size();
}

// Files of a bounded number, which a day of errors made a hundred times longer, filled the disk.
TEST_CASE("LogFile: its files never have more bytes than it is told, and the newest are kept") {
  const TempDirectory directory;
  LogFile log(keepingBytes(35, directory / "base"));
  for (int line = 1000; line < 1100; ++line) {
    log.append(std::to_string(line) + '\n');
    CHECK(bytesIn(directory) <= 35);
  }
  CHECK(directory.files().size() == 3);
  CHECK(directory.contents() == "1094\n1095\n1096\n1097\n1098\n1099\n");
}

TEST_CASE("LogFile: with keepBytes that hold one file, one is left") {
  const TempDirectory directory;
  LogFile log(keepingBytes(10, directory / "base"));
  log.append("1\n2\n3\n4\n5\n6\n");
  CHECK(directory.contents() == "6\n");
}

TEST_CASE("LogFile: the first file of a process makes room, and those of earlier ones count") {
  const TempDirectory directory;
  for (const char* pid : {"1", "2", "3"})
    std::ofstream(oldFile(directory, pid)) << std::string(10, *pid);
  LogFile log(keepingBytes(20, directory / "base"));
  log.open();
  CHECK(directory.files() == std::vector{oldFile(directory, "3"), log.path()});
}

// The second newest is too long. An older one would fit, but a log with a gap misleads.
TEST_CASE("LogFile: what is older than a file that is removed is removed as well") {
  const TempDirectory directory;
  std::ofstream(oldFile(directory, "1")) << "1";
  std::ofstream(oldFile(directory, "2")) << std::string(1000, '2');
  std::ofstream(oldFile(directory, "3")) << "3";
  LogFile log(keepingBytes(20, directory / "base"));
  log.append("new\n");
  CHECK(directory.contents() == "3new\n");
}

TEST_CASE("LogFile: of keepFiles and keepBytes the narrower one counts") {
  const TempDirectory directory;
  LogFile::Options options = keepingBytes(1000, directory / "base");
  options.keepFiles = 2;
  LogFile few(options);
  few.append("1234\n1234\n1234\n1234\n1234\n1234\n");
  CHECK(directory.files().size() == 2);
  options.baseName = directory / "other";
  options.keepBytes = 10;
  LogFile small(options);
  small.append("1234\n1234\n1234\n1234\n1234\n1234\n");
  CHECK(directory.files().size() == 3);
}

TEST_CASE("LogFile: neither another log's files count, nor are they removed") {
  const TempDirectory directory;
  const std::string others[] = {
      directory / "base.errors.20000101-000000." + hostPart() + ".1.log",
      directory / "base.20000101-000000." + hostPart() + ".1.log.gz",
      directory / "base.20000101-000000.another-" + hostPart() + ".1.log",
  };
  for (const std::string& path : others)
    std::ofstream(path) << std::string(1000, 'x');
  LogFile log(keepingBytes(20, directory / "base"));
  log.append("1234\n1234\n1234\n1234\n");
  CHECK(directory.files().size() == 5);
  CHECK(bytesIn(directory) == 3020);
}

TEST_CASE("LogFile: of a symbolic link by the name of an old file, the target stays as it is") {
  const TempDirectory directory;
  const TempDirectory elsewhere;
  const std::string target = elsewhere / "target";
  std::ofstream(target) << std::string(1000, 'x');
  REQUIRE(symlink(target.c_str(), oldFile(directory, "1").c_str()) == 0);
  LogFile log(keepingBytes(20, directory / "base"));
  log.append("1\n");
  CHECK(directory.files() == std::vector{log.path()});
  CHECK(contentsOf(target).size() == 1000);
  // The 1000 bytes behind a link are not the log's.
  REQUIRE(symlink("t", oldFile(directory, "2").c_str()) == 0);
  std::ofstream(directory / "t") << std::string(1000, 'x');
  LogFile next(keepingBytes(20, directory / "base"));
  next.open();
  CHECK(directory.files().size() == 4);
}

// Nothing is removed for the sake of a line that the disk does not take: who is to say that the
// new line is worth more than the old ones? What is missing is counted.
TEST_CASE("LogFile: a disk that is full removes nothing") {
  const TempDirectory directory;
  std::ofstream(oldFile(directory, "1")) << "old";
  const auto child = runInChild([&] {
    LogFile log({.baseName = directory / "nowhere/base", .rollBytes = 10, .keepBytes = 10});
    log.append("lost\n");
    _exit(static_cast<int>(log.lostLines()));
  });
  CHECK(child.exitedWith(1));
  CHECK(child.says("told once"));
  CHECK(directory.contents() == "old");
}

TEST_CASE("LogFile: what cannot be kept is refused by name") {
  const auto refused = [](LogFile::Options options, const char* option) {
    CHECK_THROWS_WITH_AS(LogFile{options}, doctest::Contains(option), std::invalid_argument);
  };
  refused({.keepFiles = static_cast<std::size_t>(-1)}, "keepFiles");
  refused({.keepBytes = -1}, "keepBytes");
  refused({.rollBytes = 10, .keepBytes = 9}, "keepBytes");
  const LogFile least({.rollBytes = 10, .keepBytes = 10});
}

}  // namespace
