#include <doctest/doctest.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "rung/base/AsyncLogging.h"
#include "rung/base/Logging.h"

#include "tests/support/ChildProcess.h"
#include "tests/support/LoggedLines.h"
#include "tests/support/TempDirectory.h"

// fork(2) copies the memory and the one thread that calls it. A child that logs as if nothing had
// happened fills a buffer that nobody writes, or waits for a lock that nobody holds.
// Each test forks in a child of its own, which is the parent in the story.

using rung::AsyncLogging;
using rung::testing::contentsOf;
using rung::testing::linesOf;
using rung::testing::optionsIn;
using rung::testing::runInChild;
using rung::testing::TempDirectory;

#if defined(__SANITIZE_THREAD__)
#define RUNG_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define RUNG_TSAN 1
#endif
#endif
#ifndef RUNG_TSAN
#define RUNG_TSAN 0
#endif

namespace {

/// Exits with 0 if the forked process did.
template <class Body>
void inForked(Body body) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(20);
    body();
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) _exit(1);
}

TEST_CASE("AsyncLogging: a fork before start leaves both with a log that works") {
  const TempDirectory directory;
  const auto parent = runInChild([&] {
    AsyncLogging log(optionsIn(directory));
    log.attach();
    inForked([&] {
      log.start();
      LOG_INFO << "child";
      log.stop();
    });
    log.start();
    LOG_INFO << "parent";
    log.stop();
  });
  CHECK(parent.exitedWith(0));
  CHECK(directory.files().size() == 2);
  CHECK(linesOf(directory.contents()).size() == 2);
}

TEST_CASE("AsyncLogging: a forked child writes its lines at once, to a file with its own pid") {
  const TempDirectory directory;
  const auto parent = runInChild([&] {
    AsyncLogging log(optionsIn(directory));
    log.start();
    log.attach();
    LOG_INFO << "parent, before";
    inForked([] {
      LOG_INFO << "child " << getpid();
      LOG_INFO << "child, again";
    });
    LOG_INFO << "parent, after";
  });
  CHECK(parent.exitedWith(0));
  CHECK(parent.output.empty());
  const auto files = directory.files();
  REQUIRE(files.size() == 2);
  bool seenChild = false;
  for (const std::string& path : files) {
    const auto lines = linesOf(contentsOf(path));
    REQUIRE(lines.size() == 2);  // no line is in both files
    if (lines[0].find("parent, before") != std::string::npos) {
      CHECK(lines[1].find("parent, after") != std::string::npos);
      continue;
    }
    seenChild = true;
    const std::size_t at = lines[0].find("child ");
    const std::string pid = lines[0].substr(at + 6, lines[0].find(" - ") - at - 6);
    CHECK(path.ends_with('.' + pid + ".log"));
    CHECK(lines[1].find("child, again") != std::string::npos);
  }
  CHECK(seenChild);
}

TEST_CASE("AsyncLogging: a forked child that does not log makes no file, and ends as it likes") {
  const TempDirectory directory;
  const auto parent = runInChild([&] {
    AsyncLogging log(optionsIn(directory));
    log.start();
    log.attach();
    LOG_INFO << "parent";
    inForked([&] { std::exit(0); });
    inForked([&] { log.stop(); });
    inForked([&] { log.~AsyncLogging(); });  // as when it returns from the function that forked
  });
  CHECK(parent.exitedWith(0));
  CHECK(directory.files().size() == 1);
  CHECK(linesOf(directory.contents()).size() == 1);
}

/// Logs at the end of its thread, after the thread has handed back its buffer.
struct LastWords {
  ~LastWords() { LOG_INFO << "last words"; }
};
void leaveLastWords() {
  static thread_local LastWords words;  // made before the buffer, so it is destroyed after it
  (void)words;
  LOG_INFO << "first words";
}

// Such lines go to a buffer that threads share. The child kept the parent's, which was open, and
// which no back-end of the child comes to.
TEST_CASE("AsyncLogging: a forked child's lines at the end of its thread are in its file") {
  const TempDirectory directory;
  const auto parent = runInChild([&] {
    AsyncLogging log(optionsIn(directory));
    log.start();
    log.attach();
    std::thread(leaveLastWords).join();  // from here on there is a shared buffer
    leaveLastWords();
    inForked([] { std::exit(0); });
    log.stop();
    _exit(0);
  });
  CHECK(parent.exitedWith(0));
  const auto files = directory.files();
  REQUIRE(files.size() == 2);
  std::vector<std::size_t> counts;
  for (const std::string& path : files)
    counts.push_back(linesOf(contentsOf(path)).size());
  std::sort(counts.begin(), counts.end());
  CHECK(counts == std::vector<std::size_t>{1, 3});  // the child's, and the parent's
}

TEST_CASE("AsyncLogging: a forked child's LOG_FATAL is in its file") {
  const TempDirectory directory;
  const auto parent = runInChild([&] {
    AsyncLogging log(optionsIn(directory));
    log.start();
    log.attach();
    const pid_t child = fork();
    if (child == 0) LOG_FATAL << "the child's last word";
    int status = 0;
    waitpid(child, &status, 0);
    _exit(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT ? 0 : 1);
  });
  CHECK(parent.exitedWith(0));
  CHECK(directory.contents().find("FATAL the child's last word") != std::string::npos);
}

TEST_CASE("AsyncLogging: a forked child can start a back-end of its own") {
  if (RUNG_TSAN) {
    MESSAGE("skipped: ThreadSanitizer allows no new threads after a fork of many");
    return;
  }
  const TempDirectory directory;
  const auto parent = runInChild([&] {
    AsyncLogging log(optionsIn(directory));
    log.start();
    log.attach();
    LOG_INFO << "line";
    inForked([&] {
      log.start();
      std::thread other([] { LOG_INFO << "line"; });
      other.join();
      LOG_INFO << "line";
      log.stop();
    });
  });
  CHECK(parent.exitedWith(0));
  CHECK(directory.files().size() == 2);
  CHECK(linesOf(directory.contents()).size() == 3);
}

/// Holds the back-end up at two places: before it writes the first block, and later, when it asks
/// for the time of the note on dropped lines, which it does in the middle of a round and without a
/// lock. Only there can a fork come between.
class TwoStops {
 public:
  [[nodiscard]] rung::LogFile::Clock clock() {
    return [this] {
      const int call = ++calls_;  // 1 is start(), which opens the file
      while ((call == 2 && stopsToPass < 1) || (call == 5 && stopsToPass < 2))
        std::this_thread::yield();
      return rung::Timestamp::now();
    };
  }
  void waitForCall(int call) const {
    while (calls_ < call)
      std::this_thread::yield();
  }
  std::atomic<int> stopsToPass{0};

 private:
  std::atomic<int> calls_{0};
};

/// Forks `body` off while the back-end is in the middle of a round, with a block more than one a
/// thread in use, which is all there may be.
template <class Body>
bool forkedInARound(const TempDirectory& directory, Body body) {
  const auto parent = runInChild([&] {
    TwoStops backEnd;
    AsyncLogging::Options options = optionsIn(directory);
    options.file.clock = backEnd.clock();
    options.blockBytes = 100;
    options.maxBlocks = 1;
    options.whenFull = AsyncLogging::WhenFull::drop;
    AsyncLogging log(options);
    log.start();
    const auto append = [&log](int lines) {
      for (int i = 0; i < lines; ++i)
        log.append("ten bytes\n");
    };
    append(11);  // the first block is full, and a line is in the second one
    backEnd.waitForCall(2);
    append(10);  // the second one is full, too; one line is dropped
    backEnd.stopsToPass = 1;
    backEnd.waitForCall(5);
    append(1);  // the first block is free again, and is the second one now
    inForked([&] { body(log); });
    backEnd.stopsToPass = 2;
  });
  return parent.exitedWith(0);
}

// The descriptor of the parent's file is closed in the child.
TEST_CASE("AsyncLogging: a forked child that has no file shows its last lines on stderr") {
  if (RUNG_TSAN) {
    MESSAGE("skipped: ThreadSanitizer allows no new threads after a fork of many");
    return;
  }
  const TempDirectory directory;
  const auto parent = runInChild([&] {
    AsyncLogging log(optionsIn(directory));
    log.start();
    log.attach();
    inForked([&] {
      const rlimit none{0, 0};
      setrlimit(RLIMIT_NOFILE, &none);
      log.start();
      LOG_INFO << "nowhere to go";
      AsyncLogging::rescue();
    });
  });
  CHECK(parent.exitedWith(0));
  CHECK(parent.says("nowhere to go - "));
}

// The child took over that a round goes on, and waited two seconds for its end before it crashed.
TEST_CASE("AsyncLogging: a child forked in the middle of a round does not wait for its end") {
  const TempDirectory directory;
  CHECK(forkedInARound(directory, [](AsyncLogging&) {
    const auto sleeps = [] {
      rusage usage{};
      getrusage(RUSAGE_SELF, &usage);
      return usage.ru_nvcsw;
    };
    const long before = sleeps();
    AsyncLogging::rescue();
    if (sleeps() - before > 100) _exit(1);
  }));
}

// The child took over how many rounds had begun and how many had ended, so that its flush() waited
// for one that nobody would do; and how many blocks the parent used.
TEST_CASE("AsyncLogging: a child forked in the middle of a round has a back-end in order") {
  if (RUNG_TSAN) {
    MESSAGE("skipped: ThreadSanitizer allows no new threads after a fork of many");
    return;
  }
  const TempDirectory directory;
  CHECK(forkedInARound(directory, [](AsyncLogging& log) {
    const std::uint64_t before = log.droppedLines();
    log.start();
    log.append("ten bytes\n");
    log.flush();
    for (int i = 0; i < 11; ++i)  // two blocks, which it may have
      log.append("ten bytes\n");
    if (log.droppedLines() != before) _exit(1);
    log.stop();
  }));
}

// Without care the child inherits a mutex that another thread had locked, about one time in ten.
TEST_CASE("AsyncLogging: forks amid other threads' logging: no child hangs, no line is lost") {
  const TempDirectory directory;
  constexpr int kForks = 50;
  const auto parent = runInChild([&] {
    AsyncLogging::Options options = optionsIn(directory);
    options.blockBytes = 1000;  // the back-end is at work, too
    options.maxBlocks = 2;      // and some wait
    AsyncLogging log(options);
    log.start();
    log.attach();
    std::atomic<bool> enough{false};
    std::atomic<int> logged{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 3; ++t) {
      threads.emplace_back([&] {
        while (!enough.load()) {
          LOG_INFO << "line";
          ++logged;
        }
      });
    }
    for (int i = 0; i < kForks; ++i)
      inForked([] { LOG_INFO << "line of a child"; });
    enough.store(true);
    for (std::thread& thread : threads)
      thread.join();
    log.stop();
    std::printf("logged %d\n", logged.load());
  });
  CHECK(parent.exitedWith(0));
  CHECK(directory.files().size() == kForks + 1);
  const std::size_t lines = linesOf(directory.contents()).size();
  CHECK(parent.output == "logged " + std::to_string(lines - kForks) + "\n");
}

}  // namespace
