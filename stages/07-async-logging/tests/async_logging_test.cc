#include <doctest/doctest.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <regex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "rung/base/AsyncLogging.h"
#include "rung/base/Logging.h"

#include "tests/support/Asleep.h"
#include "tests/support/ChildProcess.h"
#include "tests/support/LoggedLines.h"
#include "tests/support/TempDirectory.h"

using rung::AsyncLogging;
using rung::Logger;
using rung::testing::checkDropsCounted;
using rung::testing::checkProducersWait;
using rung::testing::firstDifference;
using rung::testing::linesOf;
using rung::testing::linesOfProducer;
using rung::testing::numbered;
using rung::testing::optionsIn;
using rung::testing::produce;
using rung::testing::produceInParallel;
using rung::testing::runInChild;
using rung::testing::SlowDisk;
using rung::testing::TempDirectory;
using rung::testing::waitUntilAsleep;
using WhenFull = rung::AsyncLogging::WhenFull;

namespace {

TEST_CASE("AsyncLogging: stop writes every line, those of each thread in order") {
  const TempDirectory directory;
  AsyncLogging::Options options = optionsIn(directory);
  options.blockBytes = 4096;
  AsyncLogging log(options);
  log.start();
  constexpr int kLines = 10'000;
  produceInParallel(log, kLines);
  log.stop();
  const std::string text = directory.contents();
  for (const char* name : {"a", "b", "c", "d"})
    CHECK(firstDifference(linesOfProducer(text, name), numbered(name, kLines)) == "");
  CHECK(linesOf(text).size() == 4 * kLines);
  CHECK(log.droppedLines() == 0);
}

// muduo throws away all but two of its buffers when more than 25 are full.
TEST_CASE("AsyncLogging: producers faster than the disk wait for it, and lose nothing") {
  const TempDirectory directory;
  AsyncLogging::Options options = optionsIn(directory);
  options.blockBytes = 100;
  checkProducersWait(directory, options, 1000);  // 28,000 bytes
}

TEST_CASE("AsyncLogging: what is dropped is counted exactly, and the log says where") {
  const TempDirectory directory;
  AsyncLogging::Options options = optionsIn(directory);
  options.blockBytes = 100;
  checkDropsCounted(directory, options, 10'000);
}

TEST_CASE("AsyncLogging: several producers and an unsteady disk: kept and dropped make all") {
  const TempDirectory directory;
  AsyncLogging::Options options = optionsIn(directory);
  options.blockBytes = 200;
  options.whenFull = WhenFull::drop;
  AsyncLogging log(options);
  log.start();
  produceInParallel(log, 5000);
  log.stop();
  std::size_t kept = 0;
  std::uint64_t noted = 0;
  for (const std::string& line : linesOf(directory.contents())) {
    std::smatch notice;
    if (line.find("dropped") == line.npos) {
      ++kept;
    } else if (std::regex_search(line, notice, std::regex(R"(\b(\d+) [a-z ]*dropped)"))) {
      noted += std::stoull(notice[1]);
    }
  }
  CHECK(noted == log.droppedLines());
  CHECK(kept + noted == 20'000);
}

TEST_CASE("AsyncLogging: flush returns when the lines are out of the process") {
  const TempDirectory directory;
  AsyncLogging log(optionsIn(directory));
  log.start();
  produce(log, "line", 3);
  CHECK(directory.contents().empty());
  log.flush();
  CHECK(directory.contents() == numbered("line", 3));
  log.flush();  // nothing is left to do
  produce(log, "more", 1);
  log.flush();
  CHECK(directory.contents() == numbered("line", 3) + numbered("more", 1));
}

TEST_CASE("AsyncLogging: a few lines are written after the flush interval") {
  const TempDirectory directory;
  SlowDisk disk;
  AsyncLogging::Options options = optionsIn(directory);
  options.file.clock = disk.clock();
  options.flushInterval = std::chrono::milliseconds(1);
  AsyncLogging log(options);
  log.start();
  std::thread producer([&] { produce(log, "line", 1); });
  disk.waitForFirstWrite();  // the back-end comes by itself
  producer.join();
  log.stop();
  CHECK(directory.contents() == numbered("line", 1));
}

TEST_CASE("AsyncLogging: before start and after stop, a line is written by who logs it") {
  const TempDirectory directory;
  AsyncLogging log(optionsIn(directory));
  log.append("before\n");
  CHECK(directory.contents() == "before\n");
  log.flush();
  log.start();
  log.append("between\n");
  log.stop();
  log.append("after\n");
  CHECK(directory.contents() == "before\nbetween\nafter\n");
  log.stop();
}

TEST_CASE("AsyncLogging: can be started again") {
  const TempDirectory directory;
  AsyncLogging log(optionsIn(directory));
  for (int i = 0; i < 3; ++i) {
    log.start();
    produce(log, "line", 2);
    log.stop();
  }
  CHECK(linesOf(directory.contents()).size() == 6);
}

// The second stop() came back when the next back-end ran already, and stopped that one.
TEST_CASE("AsyncLogging: a stop that waits for another thread's does not stop the next start") {
  const TempDirectory directory;
  for (int i = 0; i < 10; ++i) {
    SlowDisk disk;
    AsyncLogging::Options options = optionsIn(directory);
    options.file.clock = disk.clock();
    AsyncLogging log(options);
    log.start();
    produce(log, "line", 1);
    disk.stall();
    std::atomic<pid_t> tids[2] = {0, 0};
    const auto sleeps = [&](int which) {
      while (tids[which].load() == 0)
        std::this_thread::yield();
      waitUntilAsleep(tids[which].load());
    };
    std::thread first([&] {
      tids[0].store(gettid());
      log.stop();
      log.start();
    });
    sleeps(0);
    std::thread second([&] {
      tids[1].store(gettid());
      log.stop();
    });
    sleeps(1);
    disk.goOn();
    first.join();
    second.join();
    const std::string before = directory.contents();
    produce(log, "later", 1);
    CHECK(directory.contents() == before);  // the back-end has it, which comes in an hour
  }
}

TEST_CASE("AsyncLogging: producers that do not end do not keep stop from ending") {
  const TempDirectory directory;
  AsyncLogging::Options options = optionsIn(directory);
  options.blockBytes = 100;
  AsyncLogging log(options);
  log.start();
  std::atomic<bool> enough{false};
  std::atomic<int> logged{0};
  std::thread producer([&] {
    while (!enough.load())
      log.append("line " + std::to_string(logged++) + '\n');
  });
  while (logged.load() < 1000)
    std::this_thread::yield();
  std::thread secondStop([&] { log.stop(); });
  log.stop();
  enough.store(true);
  producer.join();
  secondStop.join();
  CHECK(directory.contents() == numbered("line", logged.load()));
}

TEST_CASE("AsyncLogging: a line longer than a buffer is written whole") {
  const TempDirectory directory;
  AsyncLogging::Options options = optionsIn(directory);
  options.blockBytes = 10;
  AsyncLogging log(options);
  log.start();
  const std::string longLine = std::string(1000, 'x') + '\n';
  log.append("a\n");
  log.append(longLine);
  log.append("b\n");
  log.stop();
  CHECK(directory.contents() == "a\n" + longLine + "b\n");
}

TEST_CASE("AsyncLogging: a disk that takes nothing is told once, and holds nobody up") {
  const TempDirectory directory;
  const auto child = runInChild([&] {
    AsyncLogging::Options options = optionsIn(directory);
    options.file.baseName = directory / "missing/base";
    options.blockBytes = 100;
    AsyncLogging log(options);
    log.start();
    produce(log, "line", 1000);
    log.stop();
    _exit(log.lostLines() == 1000 ? 0 : 1);
  });
  CHECK(child.exitedWith(0));
  CHECK(linesOf(child.output).size() == 1);
  CHECK(child.says("missing/base"));
}

// The number of the last round was not kept, and no test noticed: only stop() showed it.
TEST_CASE("AsyncLogging: how many lines the disk did not take is known while it runs") {
  const TempDirectory directory;
  const auto child = runInChild([&] {
    AsyncLogging::Options options = optionsIn(directory);
    options.file.baseName = directory / "missing/base";
    AsyncLogging log(options);
    log.start();
    produce(log, "line", 3);
    log.flush();
    const bool isKnown = log.lostLines() == 3;
    log.stop();
    _exit(isKnown ? 0 : 1);
  });
  CHECK(child.exitedWith(0));
}

TEST_CASE("AsyncLogging: attached, it takes the Logger's lines until it is destroyed") {
  const TempDirectory directory;
  const auto child = runInChild([&] {
    {
      AsyncLogging log(optionsIn(directory));
      log.start();
      log.attach();
      LOG_INFO << "to the file";
    }
    LOG_INFO << "to stdout";
    AsyncLogging next(optionsIn(directory));
    next.attach();
    next.start();
    LOG_INFO << "to the next file";
  });
  CHECK(child.exitedWith(0));
  CHECK(child.says("to stdout - async_logging_test.cc:"));
  CHECK_FALSE(child.says("file"));
  const auto files = directory.files();
  REQUIRE(files.size() == 2);
  CHECK(rung::testing::contentsOf(files[0]).find("to the file - ") != std::string::npos);
  CHECK(rung::testing::contentsOf(files[1]).find("to the next file - ") != std::string::npos);
}

// The destructor brought stdout back, though the program had set an output of its own since.
TEST_CASE("AsyncLogging: destroyed, it leaves the output alone that was set after attach()") {
  const TempDirectory directory;
  const auto child = runInChild([&] {
    {
      AsyncLogging log(optionsIn(directory));
      log.start();
      log.attach();
      Logger::setOutput(
          [](std::string_view line) { Logger::writeToStdout("own: " + std::string(line)); });
    }
    LOG_INFO << "later";
  });
  CHECK(child.exitedWith(0));
  CHECK(child.output.starts_with("own: "));
  CHECK(child.says("later - async_logging_test.cc:"));
  CHECK(directory.contents().empty());
}

// Whichever comes first, the line is written.
TEST_CASE("AsyncLogging: exit() stops one that a thread destroys meanwhile") {
  const TempDirectory directory;
  for (int i = 0; i < 20; ++i) {
    const auto child = runInChild([&] {
      auto log = std::make_unique<AsyncLogging>(optionsIn(directory));
      log->start();
      log->attach();
      LOG_INFO << "once";
      std::atomic<bool> runs{false};
      std::thread([&] {
        runs.store(true);
        log.reset();
      }).detach();
      while (!runs.load())
        std::this_thread::yield();
      exit(0);
    });
    CHECK_MESSAGE(child.exitedWith(0), child.output);
    CHECK(child.output.empty());
  }
  CHECK(linesOf(directory.contents()).size() == 20);
}

// A thread that waited for room came back to an object that was gone: the destructor did not wait
// for it where exit() had stopped the back-end. AddressSanitizer sees it.
TEST_CASE("AsyncLogging: exit() stops one that a thread destroys, while others wait for room") {
  const TempDirectory directory;
  for (int i = 0; i < 20; ++i) {
    const auto child = runInChild([&] {
      AsyncLogging::Options options = optionsIn(directory);
      options.blockBytes = 200;
      auto log = std::make_unique<AsyncLogging>(options);
      log->start();
      log->attach();
      std::atomic<int> logged{0};
      for (int t = 0; t < 3; ++t) {
        std::thread([&] {
          for (;;)
            LOG_INFO << "line " << logged++;
        }).detach();
      }
      while (logged.load() < 100)
        std::this_thread::yield();
      std::thread([&] { log.reset(); }).detach();
      exit(0);
    });
    CHECK_MESSAGE(child.exitedWith(0), child.output);
  }
}

// The output is a function that any thread may be in at any time; its object may go meanwhile.
TEST_CASE("AsyncLogging: may be destroyed while threads log") {
  const TempDirectory directory;
  const auto child = runInChild([&] {
    std::atomic<bool> enough{false};
    std::atomic<int> logged{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 20; ++i) {
      AsyncLogging::Options options = optionsIn(directory);
      options.blockBytes = 200;  // so that some wait in there
      AsyncLogging log(options);
      log.start();
      log.attach();
      if (threads.empty()) {
        for (int t = 0; t < 3; ++t) {
          threads.emplace_back([&] {
            while (!enough.load())
              LOG_INFO << "line " << logged++;
          });
        }
      }
      const int target = logged.load() + 100;
      while (logged.load() < target)
        std::this_thread::yield();
    }
    enough.store(true);
    for (std::thread& thread : threads)
      thread.join();
    std::printf("logged %d\n", logged.load());
  });
  CHECK(child.exitedWith(0));
  const std::size_t lines = linesOf(directory.contents()).size() + linesOf(child.output).size() - 1;
  CHECK(child.says("logged " + std::to_string(lines) + "\n"));
}

template <class Change>
void checkRefused(const char* option, Change change) {
  AsyncLogging::Options options;
  change(options);
  CHECK_THROWS_WITH_AS(AsyncLogging{options}, doctest::Contains(option), std::invalid_argument);
}

// A flushInterval of 0 made the back-end spin; a block of 0 bytes, a block a line.
TEST_CASE("AsyncLogging: options that make no sense are refused by name") {
  using Options = AsyncLogging::Options;
  for (const int ms : {0, -1}) {
    checkRefused("flushInterval",
                 [ms](Options& options) { options.flushInterval = std::chrono::milliseconds(ms); });
  }
  for (const std::size_t bytes : {std::size_t{0}, (std::size_t{1} << 30) + 1, SIZE_MAX}) {
    checkRefused("blockBytes", [bytes](Options& options) { options.blockBytes = bytes; });
  }
  checkRefused("rollBytes", [](Options& options) { options.file.rollBytes = 0; });
  // What was refused has left nothing behind: another one may be made.
  AsyncLogging::Options least;
  least.blockBytes = 1;
  least.file.rollBytes = 1;
  least.flushInterval = std::chrono::milliseconds(1);
  const AsyncLogging log(least);
}

/// The kernel's id of the back-end's thread, by its name.
pid_t backEndThread() {
  for (;;) {
    for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
      if (rung::testing::contentsOf(task.path() / "comm") != "log\n") continue;
      return std::stoi(task.path().filename());
    }
    std::this_thread::yield();
  }
}

// The end of the wait was computed beyond the last moment of the clock, and lay in the past: the
// back-end never slept, 0.23 s of CPU time a second.
TEST_CASE("AsyncLogging: a flushInterval without end lets the back-end sleep") {
  const TempDirectory directory;
  const auto child = runInChild([&] {
    AsyncLogging::Options options = optionsIn(directory);
    options.flushInterval = std::chrono::milliseconds::max();
    AsyncLogging log(options);
    log.start();
    for (int i = 0; i < 100; ++i) {
      log.append("line\n");
      rung::testing::waitUntilAsleep(backEndThread());
      if (!directory.contents().empty()) _exit(1);  // nobody has asked for it
    }
    log.flush();
    _exit(linesOf(directory.contents()).size() == 100 ? 0 : 2);
  });
  CHECK(child.exitedWith(0));
}

TEST_CASE("AsyncLogging: a second one beside the first aborts with the message") {
  const TempDirectory directory;
  const auto child = runInChild([&] {
    const AsyncLogging first(optionsIn(directory));
    const AsyncLogging second(optionsIn(directory));
  });
  CHECK(child.aborted());
  CHECK(child.says("AsyncLogging"));
}

TEST_CASE("AsyncLogging: starting twice aborts with the message") {
  const TempDirectory directory;
  const auto child = runInChild([&] {
    AsyncLogging log(optionsIn(directory));
    log.start();
    produce(log, "line", 1);
    log.flush();  // the back-end is at work
    log.start();
  });
  CHECK(child.aborted());
  CHECK(child.says("AsyncLogging"));
}

}  // namespace
