// All the ways in which a log and its process end, and what is in the file afterwards. Most run in
// a child whose parent reads the file.

#include <doctest/doctest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "rung/base/AsyncLogging.h"
#include "rung/base/Logging.h"
#include "rung/net/EventLoop.h"
#include "rung/net/SignalFd.h"

#include "tests/support/Asleep.h"
#include "tests/support/ChildProcess.h"
#include "tests/support/LoggedLines.h"
#include "tests/support/TempDirectory.h"

using rung::AsyncLogging;
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

// The round that stop() has asked for is the last one; nobody does another for flush().
TEST_CASE("AsyncLogging: a flush that meets the end of stop returns with it") {
  const TempDirectory directory;
  const auto child = runInChild([&] {
    std::atomic<pid_t> flusher{0};
    HookedLog f(directory, [&flusher] {
      while (flusher == 0)
        std::this_thread::yield();
      waitUntilAsleep(flusher);
    });
    LOG_INFO << "the last line";
    std::thread other([&] {
      f.waitUntilWriting();
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
    HookedLog f(directory, [&second] {
      while (second == 0)
        std::this_thread::yield();
      waitUntilAsleep(second);
    });
    LOG_INFO << "the last line";
    std::thread other([&] {
      f.waitUntilWriting();
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

// [#149, #307, #348, #439 of muduo: the tail is missing]
TEST_CASE("AsyncLogging: exit loses nothing, although nobody stops it") {
  const TempDirectory directory;
  const auto child = runInChild([&] {
    static AsyncLogging log(optionsIn(directory));
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
    auto* const log =
        new AsyncLogging(optionsIn(directory));  // as in a program that never deletes it
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
    static AsyncLogging log(optionsIn(directory));
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
    AsyncLogging log(optionsIn(directory));
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
    AsyncLogging::Options options = optionsIn(directory);
    options.blockBytes = 100;  // one line
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

// The kernel gives a signal to any thread that does not block it: SIGTERM came to the back-end's,
// and ended the process, while the loop waited for it. The lines that waited were lost.
TEST_CASE("AsyncLogging: started before a SignalFd, it leaves the signals to that") {
  const TempDirectory directory;
  const auto child = runInChild([&] {
    AsyncLogging log(optionsIn(directory));
    log.start();
    log.attach();
    rung::EventLoop loop;
    const rung::SignalFd signals(&loop, {SIGTERM}, [&](int) { loop.quit(); });
    logLines();
    (void)kill(getpid(), SIGTERM);
    loop.loop();
  });
  CHECK(child.exitedWith(0));
  CHECK(hasLines(directory.contents()));
}

// Nothing can be done against SIGKILL, so the loss is bounded: what was flushed is in the file, and
// the flush interval says how much is not.
TEST_CASE("AsyncLogging: SIGKILL loses at most what was not flushed") {
  const TempDirectory directory;
  const auto child = runInChild([&] {
    AsyncLogging log(optionsIn(directory));
    log.start();
    log.attach();
    logLines();
    log.flush();
    logLines();
    (void)raise(SIGKILL);
  });
  CHECK((WIFSIGNALED(child.status) && WTERMSIG(child.status) == SIGKILL));
  CHECK(hasLines(directory.contents()));
  CHECK(linesOf(directory.contents()).size() == kLines);
}

}  // namespace
