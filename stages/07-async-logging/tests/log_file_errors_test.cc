#include <doctest/doctest.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <regex>
#include <stdexcept>
#include <string>

#include "rung/base/LogFile.h"

#include "tests/support/ChildProcess.h"
#include "tests/support/TempDirectory.h"

// In muduo, a log file that cannot be opened fails an assert, and one that cannot be written loses
// lines without a word. A full disk must neither end a server nor go unnoticed.
// Most of these run in a child, for its stderr and its limits. It exits with the lines it lost.

using rung::LogFile;
using rung::testing::contentsOf;
using rung::testing::linesOf;
using rung::testing::runInChild;
using rung::testing::TempDirectory;

namespace {

std::size_t occurrences(const std::string& text, const std::string& what) {
  std::size_t count = 0;
  for (std::size_t at = text.find(what); at != text.npos; at = text.find(what, at + 1))
    ++count;
  return count;
}

void setLimit(__rlimit_resource resource, rlim_t value) {
  rlimit limit{};
  getrlimit(resource, &limit);
  limit.rlim_cur = std::min(value, limit.rlim_max);
  setrlimit(resource, &limit);
}

/// Whether a log line tells of so many lines that are missing.
bool isNotice(const std::string& line, int missing) {
  return std::regex_match(line, std::regex(R"(\d{8} [\d:.]{15}Z \d+ [A-Z]+ +(.* )?)" +
                                           std::to_string(missing) + R"( .*)"));
}

TEST_CASE("LogFile: a path that cannot be written is told once, and each line is counted") {
  const TempDirectory directory;
  const auto child = runInChild([&] {
    LogFile log({.baseName = directory / "missing/base"});
    log.open();
    log.append("one\n");
    log.append("two\nthree\n");
    _exit(static_cast<int>(log.lostLines()));
  });
  CHECK(child.exitedWith(3));
  CHECK(occurrences(child.output, "No such file or directory") == 1);
  CHECK(child.says(directory / "missing/base"));
}

TEST_CASE("LogFile: goes on when the path can be written, and says what is missing") {
  const TempDirectory directory;
  const std::string inner = directory / "inner";
  const auto child = runInChild([&] {
    LogFile log({.baseName = inner + "/base"});
    log.append("lost\nlost, too\n");
    mkdir(inner.c_str(), 0700);
    log.append("kept\n");
    log.append("kept, too\n");
    _exit(static_cast<int>(log.lostLines()));
  });
  CHECK(child.exitedWith(2));
  REQUIRE(std::filesystem::exists(inner));
  const auto path = std::filesystem::directory_iterator(inner)->path().string();
  const auto lines = linesOf(contentsOf(path));
  REQUIRE(lines.size() == 3);
  CHECK(isNotice(lines[0], 2));
  CHECK(lines[1] == "kept");
  CHECK(lines[2] == "kept, too");
}

// The kernel takes what is written to a file without a name, and throws it away at the end.
TEST_CASE("LogFile: a file that was deleted is replaced by a new one") {
  const TempDirectory directory;
  LogFile log({.baseName = directory / "base"});
  log.append("gone\n");
  const std::string before = log.path();
  REQUIRE(unlink(before.c_str()) == 0);
  log.append("kept\n");
  CHECK(log.path() != before);
  CHECK(directory.contents() == "kept\n");
  CHECK(log.lostLines() == 0);
}

TEST_CASE("LogFile: a directory that is removed while it runs is noticed, and its return, too") {
  const TempDirectory directory;
  const std::string inner = directory / "inner";
  const auto child = runInChild([&] {
    mkdir(inner.c_str(), 0700);
    LogFile log({.baseName = inner + "/base"});
    log.append("gone with the directory\n");
    std::filesystem::remove_all(inner);
    log.append("lost\n");
    log.append("lost\n");
    mkdir(inner.c_str(), 0700);
    log.append("kept\n");
    _exit(static_cast<int>(log.lostLines()));
  });
  CHECK(child.exitedWith(2));
  CHECK(occurrences(child.output, "No such file or directory") == 1);
  REQUIRE(std::filesystem::exists(inner));
  const auto lines =
      linesOf(contentsOf(std::filesystem::directory_iterator(inner)->path().string()));
  REQUIRE(lines.size() == 2);
  CHECK(isNotice(lines[0], 2));
  CHECK(lines[1] == "kept");
}

// A limit of the file's size stands for the disk: the write that reaches it is cut short, and the
// next one is answered with SIGXFSZ, which ended the server.
TEST_CASE("LogFile: a disk that fills up in the middle of a line and is cleared later") {
  const TempDirectory directory;
  const auto child = runInChild([&] {
    setLimit(RLIMIT_FSIZE, 10);
    LogFile log({.baseName = directory / "base"});
    log.append("12345\n78901\nlost\n");  // up to the 0
    log.append("lost\n");
    setLimit(RLIMIT_FSIZE, RLIM_INFINITY);
    log.append("kept\n");
    log.append("kept, too\n");
    _exit(static_cast<int>(log.lostLines()));
  });
  CHECK(child.exitedWith(3));
  CHECK(occurrences(child.output, "File too large") == 1);
  CHECK(directory.files().size() == 1);
  const auto lines = linesOf(directory.contents());
  REQUIRE(lines.size() == 5);
  CHECK(lines[0] == "12345");
  CHECK(lines[1] == "7890");  // the notice does not continue this line
  CHECK(isNotice(lines[2], 3));
  CHECK(lines[3] == "kept");
  CHECK(lines[4] == "kept, too");
}

/// A file system of 64 KiB, in a mount namespace of this process. False without the permission.
bool mountSmallDisk(const std::string& where) {
  const std::string user = std::to_string(geteuid());
  const int spaces = user == "0" ? CLONE_NEWNS : CLONE_NEWNS | CLONE_NEWUSER;
  if (unshare(spaces) != 0) return false;
  // In a user namespace a user without a name there may mount, but not create a file.
  if (user != "0") std::ofstream("/proc/self/uid_map") << user + ' ' + user + " 1";
  return mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
         mount("tmpfs", where.c_str(), "tmpfs", 0, "size=64k") == 0;
}

TEST_CASE("LogFile: a full disk loses the lines that do not fit, and no others") {
  const TempDirectory directory;
  constexpr int kNotPermitted = 77;
  const auto child = runInChild([&] {
    if (!mountSmallDisk(directory.path())) _exit(kNotPermitted);
    const std::string filler = directory / "filler";
    std::ofstream other(filler);
    other << std::string(16 << 10, 'x');
    other.close();
    if (!other) _exit(kNotPermitted);

    LogFile log({.baseName = directory / "base"});
    const std::string line = std::string(1023, 'x') + '\n';
    for (int i = 0; i < 100; ++i)
      log.append(line);
    unlink(filler.c_str());  // somebody clears the disk
    log.append("kept\n");
    const auto lines = linesOf(contentsOf(log.path()));
    const std::size_t written = lines.size() - 2;
    if (lines.back() != "kept" || log.lostLines() + written != 100 || written < 40) _exit(1);
    if (!isNotice(lines[written], static_cast<int>(100 - written))) _exit(2);
  });
  if (child.exitedWith(kNotPermitted)) {
    MESSAGE("skipped: this process may not mount a file system");
    return;
  }
  CHECK_MESSAGE(child.exitedWith(0), child.output);
  CHECK(occurrences(child.output, "No space left on device") == 1);
}

// The first error is told on stderr, and the shell that had started the server was gone: SIGPIPE.
TEST_CASE("LogFile: an error that cannot be told, since nobody reads stderr, ends nothing") {
  const TempDirectory directory;
  const auto child = runInChild([&] {
    int ends[2];
    if (pipe(ends) != 0) _exit(100);
    close(ends[0]);
    dup2(ends[1], STDERR_FILENO);
    LogFile log({.baseName = directory / "missing/base"});
    log.append("lost\n");
    _exit(static_cast<int>(log.lostLines()));
  });
  CHECK(child.exitedWith(1));
}

TEST_CASE("LogFile: rollBytes that no file can have is refused by name") {
  for (const std::int64_t bytes : {std::int64_t{0}, std::int64_t{-5}, INT64_MIN}) {
    CHECK_THROWS_WITH_AS(LogFile({.rollBytes = bytes}), doctest::Contains("rollBytes"),
                         std::invalid_argument);
  }
}

// Whoever can write to the directory can lay out all the names of a second.
TEST_CASE("LogFile: it does not look for a free name for ever") {
  const TempDirectory directory;
  const auto child = runInChild([&] {
    constexpr rung::Timestamp kWhen(1'795'427'345'000'000);
    LogFile first({.baseName = directory / "base", .clock = [=] { return kWhen; }});
    first.open();
    const std::string stem = first.path().substr(0, first.path().size() - 4);
    for (int i = 2; i <= 10000; ++i) {
      const std::string name = stem + '_' + std::to_string(i) + ".log";
      if (link(first.path().c_str(), name.c_str()) != 0) _exit(100);
    }
    LogFile second({.baseName = directory / "base", .clock = [=] { return kWhen; }});
    second.append("one\ntwo\n");
    _exit(static_cast<int>(second.lostLines()));
  });
  CHECK(child.exitedWith(2));
  CHECK(child.says("open: File exists"));
}

// A server that has run out of descriptors has something to say about it.
TEST_CASE("LogFile: without a descriptor for the next file it stays in the last one") {
  const TempDirectory directory;
  const auto child = runInChild([&] {
    LogFile log({.baseName = directory / "base", .rollBytes = 10});
    log.append("1234567\n");
    setLimit(RLIMIT_NOFILE, 0);
    log.append("too long for the first file\n");
    log.append("and this\n");
    setLimit(RLIMIT_NOFILE, 100);
    log.append("rolls now\n");
    _exit(static_cast<int>(log.lostLines()));
  });
  CHECK(child.exitedWith(0));
  CHECK(occurrences(child.output, "Too many open files") == 1);
  const auto files = directory.files();
  REQUIRE(files.size() == 2);
  CHECK(contentsOf(files[0]) == "1234567\ntoo long for the first file\nand this\n");
  CHECK(contentsOf(files[1]) == "rolls now\n");
}

}  // namespace
