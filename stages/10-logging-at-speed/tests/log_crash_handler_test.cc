// What a crash leaves of the lines that were in memory. Each runs in a child whose parent reads the
// file. A clock of the test's stands in for a disk that hangs at the moment that matters.

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdio>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "rung/base/AsyncLogging.h"
#include "rung/base/LogCrashHandler.h"
#include "rung/base/Logging.h"

#include "tests/support/Asleep.h"
#include "tests/support/ChildProcess.h"
#include "tests/support/LoggedLines.h"
#include "tests/support/TempDirectory.h"

using rung::AsyncLogging;
using rung::installLogCrashHandler;
using rung::testing::hasLines;
using rung::testing::HookedLog;
using rung::testing::kLines;
using rung::testing::linesOf;
using rung::testing::logLines;
using rung::testing::optionsIn;
using rung::testing::runInChild;
using rung::testing::TempDirectory;
using rung::testing::waitUntilAsleep;

namespace {

TEST_CASE(
    "AsyncLogging: with the crash handler, a signal that kills leaves all lines in the file") {
  for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT}) {
    CAPTURE(signal);
    const TempDirectory directory;
    const auto child = runInChild([&] {
      AsyncLogging::Options options = optionsIn(directory);
      options.blockBytes = 10'000;  // more than one is full; the back-end may be at work
      AsyncLogging log(options);
      log.start();
      log.attach();
      installLogCrashHandler();
      logLines();
      (void)raise(signal);
    });
    CHECK(child.killedBy(signal));
    CHECK(hasLines(directory.contents()));
    CHECK(linesOf(directory.contents()).size() == kLines);
  }
}

TEST_CASE("AsyncLogging: with the crash handler, a wild pointer leaves all lines in the file") {
  const TempDirectory directory;
  const auto child = runInChild([&] {
    AsyncLogging log(optionsIn(directory));
    log.start();
    log.attach();
    installLogCrashHandler();
    logLines();
    // A page of one's own that nobody may touch: sanitizers have nothing to say about it.
    void* const page = mmap(nullptr, 1, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    *static_cast<volatile char*>(page) = 1;
  });
  CHECK(child.killedBy(SIGSEGV));
  CHECK(hasLines(directory.contents()));
}

// raise() would have ended the process as well, and no test noticed. But a core dump tells with
// which code and address the last signal came. A tracer sees them, too: of the fault, and once more
// when the handler sends it on.
TEST_CASE("AsyncLogging: with the crash handler, the signal that kills tells of the fault") {
  constexpr int kNotTraced = 77;
  const TempDirectory directory;
  void* const page = mmap(nullptr, 1, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const pid_t child = fork();
  if (child == 0) {
    alarm(30);
    AsyncLogging log(optionsIn(directory));
    log.start();
    log.attach();
    installLogCrashHandler();
    if (ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) _exit(kNotTraced);
    *static_cast<volatile char*>(page) = 1;
    _exit(1);
  }
  int times = 0;
  int status = 0;
  while (waitpid(child, &status, 0) == child && WIFSTOPPED(status)) {
    const int signal = WSTOPSIG(status);
    siginfo_t info{};
    if (signal == SIGSEGV && ptrace(PTRACE_GETSIGINFO, child, nullptr, &info) == 0) {
      ++times;
      CHECK(info.si_code == SEGV_ACCERR);
      CHECK(info.si_addr == page);
    }
    (void)ptrace(PTRACE_CONT, child, nullptr, signal);
  }
  munmap(page, 1);
  if (WIFEXITED(status) && WEXITSTATUS(status) == kNotTraced) {
    MESSAGE("skipped: this machine lets nobody trace a child");
    return;
  }
  CHECK(times == 2);
  CHECK(rung::testing::ChildResult{status, ""}.killedBy(SIGSEGV));
}

/// Counts that a parent can read when its child is dead.
struct SharedCounts {
  static constexpr int kThreads = 3;
  std::atomic<int> logged[kThreads];
  int loggedBefore[kThreads];  // the signal; what comes later may be late

  static SharedCounts& make() {
    void* const memory = mmap(nullptr, sizeof(SharedCounts), PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return *new (memory) SharedCounts{};
  }
};

/// Starts threads that log without end, and returns when each has logged a thousand lines.
std::vector<std::thread> logWithoutEnd(SharedCounts& counts) {
  std::vector<std::thread> threads;
  for (std::atomic<int>& logged : counts.logged) {
    threads.emplace_back([&logged, t = &logged - counts.logged] {
      for (int i = 0;; ++i) {
        LOG_INFO << "thread " << t << " line " << i << " end";
        logged.store(i + 1);
      }
    });
  }
  for (const std::atomic<int>& logged : counts.logged) {
    while (logged.load() < kLines)
      std::this_thread::yield();
  }
  return threads;
}

/// The lines of each thread are there without a gap, up to the signal at least.
void checkNoneIsMissing(const std::string& text, const SharedCounts& counts) {
  int next[SharedCounts::kThreads] = {};
  for (const std::string& line : linesOf(text)) {
    const std::size_t at = line.find(" thread ");
    REQUIRE(at != line.npos);
    int t = 0;
    int i = 0;
    REQUIRE(std::sscanf(line.c_str() + at, " thread %d line %d end - ", &t, &i) == 2);
    CHECK_MESSAGE(i == next[t], line);
    next[t] = i + 1;
  }
  for (int t = 0; t < SharedCounts::kThreads; ++t)
    CHECK(next[t] >= counts.loggedBefore[t]);
  CHECK(text.ends_with('\n'));
}

TEST_CASE("AsyncLogging: with the crash handler, a crash amid all threads' logging loses no line") {
  const TempDirectory directory;
  SharedCounts& counts = SharedCounts::make();
  const auto child = runInChild([&] {
    AsyncLogging::Options options = optionsIn(directory);
    options.blockBytes = 1000;
    AsyncLogging log(options);
    log.start();
    log.attach();
    installLogCrashHandler();
    const auto threads = logWithoutEnd(counts);
    for (int t = 0; t < SharedCounts::kThreads; ++t)
      counts.loggedBefore[t] = counts.logged[t].load();
    (void)kill(getpid(), SIGSEGV);
    for (;;)
      (void)pause();
  });
  CHECK(child.killedBy(SIGSEGV));
  checkNoneIsMissing(directory.contents(), counts);
}

TEST_CASE(
    "AsyncLogging: with the crash handler, two threads that crash at once wait for each other") {
  const TempDirectory directory;
  const auto child = runInChild([&] {
    AsyncLogging log(optionsIn(directory));
    log.start();
    log.attach();
    installLogCrashHandler();
    logLines();
    std::thread other([] { (void)raise(SIGSEGV); });
    (void)raise(SIGSEGV);
    other.join();
  });
  CHECK(child.killedBy(SIGSEGV));
  CHECK(hasLines(directory.contents()));
  CHECK(linesOf(directory.contents()).size() == kLines);
}

// The write that the handler makes was answered with SIGXFSZ: the process died of that, and neither
// its exit status nor its core dump showed the fault.
TEST_CASE(
    "AsyncLogging: with the crash handler, a file that may not grow does not change the end") {
  const TempDirectory directory;
  const auto child = runInChild([&] {
    AsyncLogging log(optionsIn(directory));
    log.start();
    log.attach();
    installLogCrashHandler();
    logLines();
    const rlimit none{0, 0};
    setrlimit(RLIMIT_FSIZE, &none);
    (void)raise(SIGSEGV);
  });
  CHECK(child.killedBy(SIGSEGV));
}

TEST_CASE("AsyncLogging: the crash handler does no harm where nothing is attached") {
  const auto child = runInChild([] {
    installLogCrashHandler();
    LOG_INFO << "shown";
    (void)raise(SIGSEGV);
  });
  CHECK(child.killedBy(SIGSEGV));
  CHECK(child.says("shown"));
}

TEST_CASE("AsyncLogging: LOG_FATAL and the crash handler do not write the lines twice") {
  const TempDirectory directory;
  const auto child = runInChild([&] {
    AsyncLogging log(optionsIn(directory));
    log.start();
    log.attach();
    installLogCrashHandler();
    logLines();
    LOG_FATAL << "the last word";
  });
  CHECK(child.aborted());
  CHECK(linesOf(directory.contents()).size() == kLines + 1);
}

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
        directory,
        [main = getpid()] {
          untilInCrashHandler(main);
          dprintf(STDERR_FILENO, "waits\n");
        },
        blockBytes);
    installLogCrashHandler();
    std::thread producer([] {
      for (int i = 0; i < kLines; ++i)
        LOG_INFO << "line " << i
                 << " of many, with text to make it longer: " << std::string(40, '-');
    });
    if (blockBytes < kLines * 100) {
      f.waitUntilWriting();
    } else {
      producer.join();
      f.flushElsewhere();
    }
    (void)raise(SIGSEGV);
  });
  CHECK(child.killedBy(SIGSEGV));
  CHECK(child.says("waits"));
  const auto lines = linesOf(directory.contents());
  for (std::size_t i = 0; i < lines.size(); ++i)
    CHECK(lines[i].find(" line " + std::to_string(i) + " of many") != std::string::npos);
  CHECK(lines.size() >= 20);  // those of the first block, at the least
  if (blockBytes > kLines * 100) CHECK(lines.size() == kLines);
}

// What the back-end wrote after the handler's turn would be in the file twice; and it would free
// the blocks that the handler reads.
TEST_CASE("AsyncLogging: in a crash the back-end stops before its next write, and for good") {
  int lines = 10;
  SUBCASE("that write is its last") {}
  SUBCASE("more than it writes at once") {
    lines = 500;
  }
  const TempDirectory directory;
  const auto child = runInChild([&] {
    HookedLog* log = nullptr;
    bool again = false;
    HookedLog f(directory, [&, main = getpid()] {
      if (std::exchange(again, true)) {
        dprintf(STDERR_FILENO, "writes again\n");
        return;
      }
      log->armed = true;
      untilInCrashHandler(main);
    });
    log = &f;
    installLogCrashHandler();
    LOG_INFO << "of one thread";
    std::thread producer([&] {  // two threads: their lines are merged
      for (int i = 0; i < lines; ++i)
        LOG_INFO << std::string(1000, '-');
    });
    producer.join();
    std::thread([&] {
      f.log.flush();
      dprintf(STDERR_FILENO, "flushed\n");
    }).detach();
    f.waitUntilWriting();
    (void)raise(SIGSEGV);
  });
  CHECK(child.killedBy(SIGSEGV));
  CHECK(child.output.empty());
  CHECK(linesOf(directory.contents()).size() == static_cast<std::size_t>(lines) + 1);
}

TEST_CASE("AsyncLogging: a crash of the back-end itself loses no line") {
  const TempDirectory directory;
  const auto child = runInChild([&] {
    HookedLog f(directory, [] { (void)raise(SIGSEGV); });
    installLogCrashHandler();
    LOG_INFO << "before the end";
    f.log.flush();
  });
  CHECK(child.killedBy(SIGSEGV));
  CHECK(linesOf(directory.contents()).size() == 1);
}

// Both waited for as long. So one that crashed a little later could be ready first, and ended the
// process before the other had written anything.
TEST_CASE("AsyncLogging: a crash while the disk hangs writes what it can, also if two threads do") {
  const TempDirectory directory;
  const auto child = runInChild([&] {
    HookedLog f(directory, [] {
      for (;;)
        (void)pause();
    });
    installLogCrashHandler();
    LOG_INFO << "in memory";
    f.flushElsewhere();
    std::thread other([main = getpid()] {
      untilInCrashHandler(main);
      (void)raise(SIGSEGV);
    });
    (void)raise(SIGSEGV);
  });
  CHECK(child.killedBy(SIGSEGV));
  CHECK(linesOf(directory.contents()).size() == 1);
}

// The second one must not end the process before the first is done.
TEST_CASE("AsyncLogging: a crash that meets another one waits for it") {
  const TempDirectory directory;
  const auto child = runInChild([&] {
    std::atomic<pid_t> second{0};
    HookedLog f(
        directory,
        [&second, main = getpid()] {
          untilInCrashHandler(main);
          while (second == 0)
            std::this_thread::yield();
          untilInCrashHandler(second);
        },
        100);
    installLogCrashHandler();
    std::thread producer([] {
      for (int i = 0; i < 4; ++i)  // each fills a block
        LOG_INFO << "line " << i << std::string(60, '-');
    });
    producer.join();
    f.waitUntilWriting();
    std::thread other([&second, main = getpid()] {
      untilInCrashHandler(main);
      second = gettid();
      (void)raise(SIGSEGV);
    });
    (void)raise(SIGSEGV);
  });
  CHECK(child.killedBy(SIGSEGV));
  CHECK(linesOf(directory.contents()).size() == 4);
}

TEST_CASE("AsyncLogging: a second rescue has nothing to do, and does not wait") {
  const TempDirectory directory;
  const auto child = runInChild([&] {
    HookedLog f(directory, [] {});
    installLogCrashHandler();
    LOG_INFO << "once";
    AsyncLogging::rescue();
    rusage before{};
    getrusage(RUSAGE_SELF, &before);
    AsyncLogging::rescue();
    rusage after{};
    getrusage(RUSAGE_SELF, &after);
    _exit(after.ru_nvcsw - before.ru_nvcsw < 100 ? 0 : 1);  // it would sleep 400 times
  });
  CHECK(child.exitedWith(0));
  CHECK(linesOf(directory.contents()).size() == 1);
}

TEST_CASE("AsyncLogging: a crash of a server without stdin, whose log is descriptor 0") {
  const TempDirectory directory;
  const auto child = runInChild([&] {
    (void)close(STDIN_FILENO);
    AsyncLogging log(optionsIn(directory));
    log.start();
    log.attach();
    installLogCrashHandler();
    LOG_INFO << "the last line";
    (void)raise(SIGSEGV);
  });
  CHECK(child.killedBy(SIGSEGV));
  CHECK(child.output.empty());
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
  CHECK(child.killedBy(SIGSEGV));
  CHECK(child.says("nowhere to go - "));
}

}  // namespace
