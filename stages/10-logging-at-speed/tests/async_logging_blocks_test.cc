// A block a thread: where its lines come to be among those of others, and what bounds the memory.

#include <doctest/doctest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <thread>

#include "rung/base/AsyncLogging.h"

#include "tests/support/Asleep.h"
#include "tests/support/ChildProcess.h"
#include "tests/support/LoggedLines.h"
#include "tests/support/TempDirectory.h"

using rung::AsyncLogging;
using rung::testing::checkDropsCounted;
using rung::testing::checkProducersWait;
using rung::testing::HookedLog;
using rung::testing::optionsIn;
using rung::testing::runInChild;
using rung::testing::TempDirectory;
using rung::testing::waitUntilAsleep;
using WhenFull = rung::AsyncLogging::WhenFull;

namespace {

TEST_CASE("AsyncLogging: the lines of several threads are in the order of their times") {
  const TempDirectory directory;
  AsyncLogging log(optionsIn(directory));
  log.start();
  const auto line = [](int i) {
    return "20261123 09:49:05." + std::to_string(100'000 + i) + "Z line\n";
  };
  std::string all;
  for (int i = 0; i < 100; ++i)
    all += line(i);
  log.append(line(1));  // first, or this thread might take over the buffer of one that has ended
  std::thread even([&] {
    for (int i = 0; i < 100; i += 2)
      log.append(line(i));
  });
  for (int i = 3; i < 100; i += 2)
    log.append(line(i));
  even.join();
  log.stop();
  CHECK(directory.contents() == all);
}

// The round that went on had passed the buffer already, and flush() returned when that one ended.
TEST_CASE("AsyncLogging: a flush in the middle of a round waits for the next one") {
  const TempDirectory directory;
  std::atomic<pid_t> flusher{0};
  HookedLog f(directory, [&] {
    while (flusher == 0)
      std::this_thread::yield();
    waitUntilAsleep(flusher);
    f.armed = true;  // the next round, too, writes only when this thread waits, or is done
  });
  f.log.append("of the round that goes on\n");
  std::thread other([&f] { f.log.flush(); });
  f.waitUntilWriting();
  f.log.append("of the next one\n");
  flusher = gettid();
  f.log.flush();
  CHECK(directory.contents() == "of the round that goes on\nof the next one\n");
  other.join();
}

// A block that was made for one long line was kept for the next thread, and was that large for
// good.
TEST_CASE("AsyncLogging: a block for a long line is not kept as a spare one") {
  const TempDirectory directory;
  AsyncLogging::Options options = optionsIn(directory);
  options.blockBytes = 100;
  options.maxBlocks = 0;
  options.whenFull = WhenFull::drop;
  AsyncLogging log(options);
  log.start();
  log.append(std::string(10'000, 'x') + '\n');
  log.stop();
  log.start();
  for (int i = 0; i < 20; ++i)
    log.append("ten bytes\n");
  CHECK(log.droppedLines() > 0);  // the eleventh, at the least
}

TEST_CASE("AsyncLogging: without memory for a block, a line is written by who logs it") {
  if (std::getenv("RUNG_SANITIZED") != nullptr) {
    MESSAGE("skipped: where memory is short a sanitizer ends the process");
    return;
  }
  const TempDirectory directory;
  const auto child = runInChild([&] {
    AsyncLogging::Options options = optionsIn(directory);
    options.blockBytes = std::size_t{1} << 30;
    options.maxBlocks = 1;
    AsyncLogging log(options);
    log.start();
    const rlimit halfAGibibyte{1 << 29, 1 << 29};
    setrlimit(RLIMIT_AS, &halfAGibibyte);
    log.append("line\n");
    _exit(directory.contents() == "line\n" ? 0 : 1);
  });
  CHECK(child.exitedWith(0));
}

// muduo throws away all but two of its buffers when more than 25 are full.
TEST_CASE(
    "AsyncLogging: maxBlocks bounds the memory: producers wait for the disk, and lose nothing") {
  const TempDirectory directory;
  AsyncLogging::Options options = optionsIn(directory);
  options.blockBytes = 100;
  options.maxBlocks = 3;
  checkProducersWait(directory, options, 200);  // 700 bytes wait at most, of more than 4,000
}

TEST_CASE("AsyncLogging: maxBlocks bounds the memory: or lines are dropped, and counted exactly") {
  const TempDirectory directory;
  AsyncLogging::Options options = optionsIn(directory);
  options.blockBytes = 100;
  options.maxBlocks = 3;
  checkDropsCounted(directory, options, 1000);
}

TEST_CASE("AsyncLogging: more blocks than memory can hold are refused by name") {
  AsyncLogging::Options options;
  options.maxBlocks = SIZE_MAX;
  CHECK_THROWS_WITH_AS(AsyncLogging{options}, doctest::Contains("maxBlocks"),
                       std::invalid_argument);
  options.maxBlocks = 0;
  const AsyncLogging log(options);
}

}  // namespace
