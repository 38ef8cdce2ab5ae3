// A disk that hangs, at the moment that matters. LogFile asks its clock before each write, on the
// thread that writes, so a clock of the test's can stand in for the disk.

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <limits>
#include <string>
#include <thread>

#include "rung/base/AsyncLogging.h"
#include "rung/base/LogCrashHandler.h"
#include "rung/base/Logging.h"

#include "tests/support/Asleep.h"
#include "tests/support/ChildProcess.h"
#include "tests/support/TempDirectory.h"

using rung::AsyncLogging;
using rung::installLogCrashHandler;
using rung::Timestamp;
using rung::testing::ChildResult;
using rung::testing::linesOf;
using rung::testing::runInChild;
using rung::testing::TempDirectory;
using rung::testing::waitUntilAsleep;

namespace {

bool killedBy(const ChildResult& child, int signal) {
  return WIFSIGNALED(child.status) && WTERMSIG(child.status) == signal;
}

/// A log whose back-end thread does `whileWriting` before its next write, once.
struct HookedLog {
  explicit HookedLog(const std::string& baseName, std::function<void()> whileWriting,
                     std::size_t blockBytes = 1 << 20)
      : work(std::move(whileWriting)), log(options(baseName, blockBytes)) {
    log.start();
    log.attach();
    installLogCrashHandler();
    armed = true;
  }
  AsyncLogging::Options options(const std::string& baseName, std::size_t blockBytes) {
    AsyncLogging::Options all;
    all.file.baseName = baseName;
    all.file.clock = [this] {
      if (armed.exchange(false)) {
        isWriting = true;
        work();
      }
      return Timestamp::now();
    };
    all.flushInterval = std::chrono::hours(1);
    all.blockBytes = blockBytes;
    return all;
  }
  /// Has the back-end begin to write what was logged so far.
  void flushElsewhere() {
    std::thread([this] { log.flush(); }).detach();
    while (!isWriting)
      std::this_thread::yield();
  }

  std::atomic<bool> armed{false};
  std::atomic<bool> isWriting{false};
  const std::function<void()> work;
  AsyncLogging log;
};

/// In these tests a thread spins until it crashes: where it sleeps, that is in the handler.
void untilInCrashHandler(pid_t tid) {
  waitUntilAsleep(tid);
}

TEST_CASE("AsyncLogging: a crash while the back-end writes waits for it, and writes the rest") {
  constexpr int kLines = 100;
  std::size_t blockBytes = 1 << 20;
  SUBCASE("all is being written") {}
  SUBCASE("another block is still to come") {
    blockBytes = 4000;  // a third of them
  }
  const TempDirectory directory;
  const auto child = runInChild([&] {
    HookedLog f(
        directory / "base",
        [main = getpid()] {
          untilInCrashHandler(main);
          dprintf(STDERR_FILENO, "waits\n");
        },
        blockBytes);
    std::thread producer([] {
      for (int i = 0; i < kLines; ++i)
        LOG_INFO << "line " << i
                 << " of many, with text to make it longer: " << std::string(40, '-');
    });
    if (blockBytes < kLines * 100) {
      while (!f.isWriting)
        std::this_thread::yield();
    } else {
      producer.join();
      f.flushElsewhere();
    }
    (void)raise(SIGSEGV);
  });
  CHECK(killedBy(child, SIGSEGV));
  CHECK(child.says("waits"));
  const auto lines = linesOf(directory.contents());
  for (std::size_t i = 0; i < lines.size(); ++i)
    CHECK(lines[i].find(" line " + std::to_string(i) + " of many") != std::string::npos);
  CHECK(lines.size() >= 20);  // those of the first block, at the least
  if (blockBytes > kLines * 100) CHECK(lines.size() == kLines);
}

TEST_CASE("AsyncLogging: a crash of the back-end itself loses no line") {
  const TempDirectory directory;
  const auto child = runInChild([&] {
    HookedLog f(directory / "base", [] { (void)raise(SIGSEGV); });
    LOG_INFO << "before the end";
    f.log.flush();
  });
  CHECK(killedBy(child, SIGSEGV));
  CHECK(linesOf(directory.contents()).size() == 1);
}

// Both waited for as long. So one that crashed a little later could be ready first, and ended the
// process before the other had written anything.
TEST_CASE("AsyncLogging: a crash while the disk hangs writes what it can, also if two threads do") {
  const TempDirectory directory;
  const auto child = runInChild([&] {
    HookedLog f(directory / "base", [] {
      for (;;)
        (void)pause();
    });
    LOG_INFO << "in memory";
    f.flushElsewhere();
    std::thread other([main = getpid()] {
      untilInCrashHandler(main);
      (void)raise(SIGSEGV);
    });
    (void)raise(SIGSEGV);
  });
  CHECK(killedBy(child, SIGSEGV));
  CHECK(linesOf(directory.contents()).size() == 1);
}

// The second one must not end the process before the first is done.
TEST_CASE("AsyncLogging: a crash that meets another one waits for it") {
  const TempDirectory directory;
  const auto child = runInChild([&] {
    std::atomic<pid_t> second{0};
    HookedLog f(
        directory / "base",
        [&second, main = getpid()] {
          untilInCrashHandler(main);
          while (second == 0)
            std::this_thread::yield();
          untilInCrashHandler(second);
        },
        100);
    std::thread producer([] {
      for (int i = 0; i < 4; ++i)  // each fills a block
        LOG_INFO << "line " << i << std::string(60, '-');
    });
    producer.join();
    while (!f.isWriting)
      std::this_thread::yield();
    std::thread other([&second, main = getpid()] {
      untilInCrashHandler(main);
      second = gettid();
      (void)raise(SIGSEGV);
    });
    (void)raise(SIGSEGV);
  });
  CHECK(killedBy(child, SIGSEGV));
  CHECK(linesOf(directory.contents()).size() == 4);
}

TEST_CASE("AsyncLogging: a second rescue has nothing to do, and does not wait") {
  const TempDirectory directory;
  const auto child = runInChild([&] {
    HookedLog f(directory / "base", [] {});
    LOG_INFO << "once";
    AsyncLogging::rescue();
    AsyncLogging::rescue();
    _exit(0);
  });
  CHECK(child.exitedWith(0));
  CHECK(linesOf(directory.contents()).size() == 1);
}

TEST_CASE("AsyncLogging: a crash without a file shows the lines on stderr") {
  const TempDirectory directory;
  const auto child = runInChild([&] {
    AsyncLogging::Options options;
    options.file.baseName = directory / "missing/base";
    AsyncLogging log(options);
    log.start();
    log.attach();
    installLogCrashHandler();
    LOG_INFO << "nowhere to go";
    (void)raise(SIGSEGV);
  });
  CHECK(killedBy(child, SIGSEGV));
  CHECK(child.says("nowhere to go - "));
}

// The round that stop() has asked for is the last one; nobody does another for flush().
TEST_CASE("AsyncLogging: a flush that meets the end of stop returns with it") {
  const TempDirectory directory;
  const auto child = runInChild([&] {
    std::atomic<pid_t> flusher{0};
    HookedLog f(directory / "base", [&flusher] {
      while (flusher == 0)
        std::this_thread::yield();
      waitUntilAsleep(flusher);
    });
    LOG_INFO << "the last line";
    std::thread other([&] {
      while (!f.isWriting)
        std::this_thread::yield();
      flusher = gettid();
      f.log.flush();
    });
    f.log.stop();
    other.join();
  });
  CHECK(child.exitedWith(0));
  CHECK(linesOf(directory.contents()).size() == 1);
}

TEST_CASE("AsyncLogging: of two threads that stop it, both return when all is written") {
  const TempDirectory directory;
  const auto child = runInChild([&] {
    std::atomic<pid_t> second{0};
    HookedLog f(directory / "base", [&second] {
      while (second == 0)
        std::this_thread::yield();
      waitUntilAsleep(second);
    });
    LOG_INFO << "the last line";
    std::thread other([&] {
      while (!f.isWriting)
        std::this_thread::yield();
      second = gettid();
      f.log.stop();
      if (linesOf(directory.contents()).size() != 1) _exit(1);
    });
    f.log.stop();
    if (linesOf(directory.contents()).size() != 1) _exit(2);
    other.join();
  });
  CHECK(child.exitedWith(0));
}

TEST_CASE("AsyncLogging: without memory for a block, a line is written by who logs it") {
  if (std::getenv("RUNG_SANITIZED") != nullptr) return;  // they end the process instead
  const TempDirectory directory;
  AsyncLogging::Options options;
  options.file.baseName = directory / "base";
  options.blockBytes = std::numeric_limits<std::ptrdiff_t>::max();
  options.flushInterval = std::chrono::hours(1);
  AsyncLogging log(options);
  log.start();
  log.append("line\n");
  CHECK(directory.contents() == "line\n");
}

}  // namespace
