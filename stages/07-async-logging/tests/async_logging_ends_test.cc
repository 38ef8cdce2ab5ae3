#include <doctest/doctest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "rung/base/AsyncLogging.h"
#include "rung/base/LogCrashHandler.h"
#include "rung/base/Logging.h"

#include "tests/support/ChildProcess.h"
#include "tests/support/TempDirectory.h"

// All the ways in which a process ends, and what of the log is in the file afterwards. Each runs in
// a child whose parent reads the file.

using rung::AsyncLogging;
using rung::installLogCrashHandler;
using rung::testing::ChildResult;
using rung::testing::contentsOf;
using rung::testing::linesOf;
using rung::testing::runInChild;
using rung::testing::TempDirectory;

namespace {

constexpr int kLines = 1000;

AsyncLogging::Options in(const TempDirectory& directory) {
  AsyncLogging::Options options;
  options.file.baseName = directory / "base";
  options.flushInterval = std::chrono::hours(1);  // nothing is written because of the time
  return options;
}

void logLines(int count = kLines) {
  for (int i = 0; i < count; ++i)
    LOG_INFO << "line " << i << " end";
}

/// Whether `text` has lines 0 to count - 1, in order and whole.
bool hasLines(const std::string& text, int count = kLines) {
  std::size_t at = 0;
  for (int i = 0; i < count; ++i) {
    at = text.find(" line " + std::to_string(i) + " end - async_logging_ends_test.cc:", at);
    if (at == text.npos) return false;
  }
  return text.ends_with('\n');
}

bool killedBy(const ChildResult& child, int signal) {
  return WIFSIGNALED(child.status) && WTERMSIG(child.status) == signal;
}

// [#149, #307, #348, #439 of muduo: the tail is missing]
TEST_CASE("AsyncLogging: exit loses nothing, although nobody stops it") {
  const TempDirectory directory;
  const auto child = runInChild([&] {
    static AsyncLogging log(in(directory));
    log.start();
    log.attach();
    logLines();
    std::exit(3);
  });
  CHECK(child.exitedWith(3));
  CHECK(hasLines(directory.contents()));
}

TEST_CASE("AsyncLogging: exit loses nothing of what destructors of static objects log") {
  const TempDirectory directory;
  struct Farewell {
    ~Farewell() { LOG_INFO << "line " << kLines << " end"; }
  };
  const auto child = runInChild([&] {
    auto* const log = new AsyncLogging(in(directory));  // as in a program that never deletes it
    static const Farewell farewell;
    log->start();
    log->attach();
    logLines();
    std::exit(0);
  });
  CHECK(child.exitedWith(0));
  CHECK(hasLines(directory.contents(), kLines + 1));
}

TEST_CASE("AsyncLogging: exit loses nothing of several threads that have ended") {
  const TempDirectory directory;
  const auto child = runInChild([&] {
    static AsyncLogging log(in(directory));
    log.start();
    log.attach();
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t)
      threads.emplace_back([] { logLines(); });
    for (std::thread& thread : threads)
      thread.join();
    std::exit(0);
  });
  CHECK(child.exitedWith(0));
  CHECK(linesOf(directory.contents()).size() == 4 * kLines);
}

// In muduo the fatal line is handed to the back-end, and abort() comes first.
TEST_CASE("AsyncLogging: LOG_FATAL is in the file before the process aborts") {
  const TempDirectory directory;
  const auto child = runInChild([&] {
    AsyncLogging log(in(directory));
    log.start();
    log.attach();
    logLines();
    LOG_FATAL << "the last word";
  });
  CHECK(child.aborted());
  CHECK(hasLines(directory.contents()));
  CHECK(linesOf(directory.contents()).back().find(" FATAL the last word - ") != std::string::npos);
}

TEST_CASE("AsyncLogging: LOG_FATAL is not dropped where other lines are") {
  const TempDirectory directory;
  const auto child = runInChild([&] {
    AsyncLogging::Options options = in(directory);
    options.blockBytes = 100;  // one line
    options.maxBlocks = 0;
    options.whenFull = AsyncLogging::WhenFull::drop;
    AsyncLogging log(options);
    log.start();
    log.attach();
    std::vector<std::thread> others;
    for (int t = 0; t < 3; ++t) {
      others.emplace_back([] {
        for (;;)
          LOG_INFO << "noise";
      });
    }
    logLines(100);
    LOG_FATAL << "the last word";
  });
  CHECK(child.aborted());
  CHECK(directory.contents().find(" FATAL the last word - ") != std::string::npos);
}

TEST_CASE(
    "AsyncLogging: with the crash handler, a signal that kills leaves all lines in the file") {
  for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT}) {
    CAPTURE(signal);
    const TempDirectory directory;
    const auto child = runInChild([&] {
      AsyncLogging::Options options = in(directory);
      options.blockBytes = 10'000;  // more than one is full; the back-end may be at work
      AsyncLogging log(options);
      log.start();
      log.attach();
      installLogCrashHandler();
      logLines();
      (void)raise(signal);
    });
    CHECK(killedBy(child, signal));
    CHECK(hasLines(directory.contents()));
    CHECK(linesOf(directory.contents()).size() == kLines);
  }
}

TEST_CASE("AsyncLogging: with the crash handler, a wild pointer leaves all lines in the file") {
  const TempDirectory directory;
  const auto child = runInChild([&] {
    AsyncLogging log(in(directory));
    log.start();
    log.attach();
    installLogCrashHandler();
    logLines();
    // A page of one's own that nobody may touch: sanitizers have nothing to say about it.
    void* const page = mmap(nullptr, 1, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    *static_cast<volatile char*>(page) = 1;
  });
  CHECK(killedBy(child, SIGSEGV));
  CHECK(hasLines(directory.contents()));
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
    AsyncLogging::Options options = in(directory);
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
  CHECK(killedBy(child, SIGSEGV));
  checkNoneIsMissing(directory.contents(), counts);
}

TEST_CASE(
    "AsyncLogging: with the crash handler, two threads that crash at once wait for each other") {
  const TempDirectory directory;
  const auto child = runInChild([&] {
    AsyncLogging log(in(directory));
    log.start();
    log.attach();
    installLogCrashHandler();
    logLines();
    std::thread other([] { (void)raise(SIGSEGV); });
    (void)raise(SIGSEGV);
    other.join();
  });
  CHECK(killedBy(child, SIGSEGV));
  CHECK(hasLines(directory.contents()));
  CHECK(linesOf(directory.contents()).size() == kLines);
}

TEST_CASE("AsyncLogging: the crash handler does no harm where nothing is attached") {
  const auto child = runInChild([] {
    installLogCrashHandler();
    LOG_INFO << "shown";
    (void)raise(SIGSEGV);
  });
  CHECK(killedBy(child, SIGSEGV));
  CHECK(child.says("shown"));
}

TEST_CASE("AsyncLogging: LOG_FATAL and the crash handler do not write the lines twice") {
  const TempDirectory directory;
  const auto child = runInChild([&] {
    AsyncLogging log(in(directory));
    log.start();
    log.attach();
    installLogCrashHandler();
    logLines();
    LOG_FATAL << "the last word";
  });
  CHECK(child.aborted());
  CHECK(linesOf(directory.contents()).size() == kLines + 1);
}

// Nothing can be done against SIGKILL, so the loss is bounded: what was flushed is in the file, and
// the flush interval says how much is not.
TEST_CASE("AsyncLogging: SIGKILL loses at most what was not flushed") {
  const TempDirectory directory;
  const auto child = runInChild([&] {
    AsyncLogging log(in(directory));
    log.start();
    log.attach();
    installLogCrashHandler();
    logLines();
    log.flush();
    logLines();
    (void)raise(SIGKILL);
  });
  CHECK(killedBy(child, SIGKILL));
  CHECK(hasLines(directory.contents()));
  CHECK(linesOf(directory.contents()).size() == kLines);
}

}  // namespace
