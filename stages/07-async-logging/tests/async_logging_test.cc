#include <doctest/doctest.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <regex>
#include <string>
#include <thread>
#include <vector>

#include "rung/base/AsyncLogging.h"
#include "rung/base/CountDownLatch.h"
#include "rung/base/Logging.h"

#include "tests/support/ChildProcess.h"
#include "tests/support/TempDirectory.h"

using rung::AsyncLogging;
using rung::CountDownLatch;
using rung::Logger;
using rung::Timestamp;
using rung::testing::linesOf;
using rung::testing::runInChild;
using rung::testing::TempDirectory;
using WhenFull = rung::AsyncLogging::WhenFull;

namespace {

/// A disk that stalls when the test wants it to: LogFile asks its clock before it writes.
class SlowDisk {
 public:
  [[nodiscard]] rung::LogFile::Clock clock() {
    return [this] {
      std::unique_lock<std::mutex> lock(mutex_);
      ++visits_;
      changed_.notify_all();
      changed_.wait(lock, [this] { return !stalled_; });
      return Timestamp::now();
    };
  }
  void stall() { set(true); }
  void goOn() { set(false); }
  /// Returns when the back-end is about to write for the first time; start() opened the file.
  void waitForFirstWrite() {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return visits_ >= 2; });
  }

 private:
  void set(bool stalled) {
    const std::lock_guard<std::mutex> lock(mutex_);
    stalled_ = stalled;
    changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  bool stalled_ = false;
  int visits_ = 0;
};

AsyncLogging::Options in(const TempDirectory& directory) {
  AsyncLogging::Options options;
  options.file.baseName = directory / "base";
  options.flushInterval = std::chrono::hours(1);  // the test says when
  return options;
}

std::string numbered(const std::string& name, int count) {
  std::string text;
  for (int i = 0; i < count; ++i)
    text += name + ' ' + std::to_string(i) + '\n';
  return text;
}

/// Appends the lines of numbered(name, count) one by one.
void produce(AsyncLogging& log, const std::string& name, int count) {
  for (int i = 0; i < count; ++i)
    log.append(name + ' ' + std::to_string(i) + '\n');
}

/// The lines of `text` that begin with `name`.
std::string linesOfProducer(const std::string& text, const std::string& name) {
  std::string found;
  for (const std::string& line : linesOf(text)) {
    if (line.starts_with(name + ' ')) found += line + '\n';
  }
  return found;
}

/// Four producers that begin together.
void produceInParallel(AsyncLogging& log, int count) {
  CountDownLatch begin(1);
  std::vector<std::thread> threads;
  for (const char* name : {"a", "b", "c", "d"}) {
    threads.emplace_back([&, name] {
      begin.wait();
      produce(log, name, count);
    });
  }
  begin.countDown();
  for (std::thread& thread : threads)
    thread.join();
}

TEST_CASE("AsyncLogging: stop writes every line, those of each thread in order") {
  const TempDirectory directory;
  AsyncLogging::Options options = in(directory);
  options.blockBytes = 4096;
  AsyncLogging log(options);
  log.start();
  constexpr int kLines = 10'000;
  produceInParallel(log, kLines);
  log.stop();
  const std::string text = directory.contents();
  for (const char* name : {"a", "b", "c", "d"})
    CHECK(linesOfProducer(text, name) == numbered(name, kLines));
  CHECK(linesOf(text).size() == 4 * kLines);
  CHECK(log.droppedLines() == 0);
}

// muduo throws away all but two of its buffers when more than 25 are full.
TEST_CASE("AsyncLogging: producers faster than the disk wait for it, and lose nothing") {
  const TempDirectory directory;
  SlowDisk disk;
  AsyncLogging::Options options = in(directory);
  options.file.clock = disk.clock();
  options.blockBytes = 100;
  options.maxBlocks = 3;
  AsyncLogging log(options);
  log.start();
  disk.stall();
  std::atomic<bool> done{false};
  std::thread producers([&] {
    produceInParallel(log, 200);
    done.store(true);
  });
  disk.waitForFirstWrite();
  CHECK_FALSE(done.load());  // 700 bytes are in memory at most, of more than 4,000
  disk.goOn();
  producers.join();
  log.stop();
  const std::string text = directory.contents();
  for (const char* name : {"a", "b", "c", "d"})
    CHECK(linesOfProducer(text, name) == numbered(name, 200));
}

TEST_CASE("AsyncLogging: what is dropped is counted exactly, and the log says where") {
  const TempDirectory directory;
  SlowDisk disk;
  AsyncLogging::Options options = in(directory);
  options.file.clock = disk.clock();
  options.blockBytes = 100;
  options.maxBlocks = 3;
  options.whenFull = WhenFull::drop;
  AsyncLogging log(options);
  log.start();
  disk.stall();
  std::thread filler([&] { produce(log, "first", 20); });
  disk.waitForFirstWrite();
  filler.join();
  produce(log, "then", 1000);  // nobody waits, although nothing is written
  log.append("two lines\nat once\n");
  const std::uint64_t dropped = log.droppedLines();
  CHECK(dropped > 900);
  disk.goOn();
  log.flush();
  produce(log, "after", 3);
  log.stop();

  const std::string text = directory.contents();
  std::smatch notice;
  REQUIRE(std::regex_search(
      text, notice,
      std::regex(
          R"(Z \d+ WARN  (\d+) log lines dropped here: the buffers were full - LogWriter)")));
  CHECK(std::stoull(notice[1]) == dropped);
  CHECK(log.droppedLines() == dropped);
  const std::size_t kept = linesOf(text).size() - 1;
  CHECK(kept + dropped == 20 + 1000 + 2 + 3);
  CHECK(linesOfProducer(text, "after") == numbered("after", 3));
  CHECK(notice.suffix().str().find("after 0") != std::string::npos);
  CHECK(notice.prefix().str().find("after") == std::string::npos);
}

TEST_CASE("AsyncLogging: several producers and an unsteady disk: kept and dropped make all") {
  const TempDirectory directory;
  AsyncLogging::Options options = in(directory);
  options.blockBytes = 200;
  options.maxBlocks = 2;
  options.whenFull = WhenFull::drop;
  AsyncLogging log(options);
  log.start();
  produceInParallel(log, 5000);
  log.stop();
  std::size_t kept = 0;
  std::uint64_t noted = 0;
  for (const std::string& line : linesOf(directory.contents())) {
    std::smatch notice;
    if (std::regex_search(line, notice, std::regex(R"(WARN  (\d+) log lines dropped)"))) {
      noted += std::stoull(notice[1]);
    } else {
      ++kept;
    }
  }
  CHECK(noted == log.droppedLines());
  CHECK(kept + noted == 20'000);
}

TEST_CASE("AsyncLogging: flush returns when the lines are out of the process") {
  const TempDirectory directory;
  AsyncLogging log(in(directory));
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
  AsyncLogging::Options options = in(directory);
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
  AsyncLogging log(in(directory));
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
  AsyncLogging log(in(directory));
  for (int i = 0; i < 3; ++i) {
    log.start();
    produce(log, "line", 2);
    log.stop();
  }
  CHECK(linesOf(directory.contents()).size() == 6);
}

TEST_CASE("AsyncLogging: producers that do not end do not keep stop from ending") {
  const TempDirectory directory;
  AsyncLogging::Options options = in(directory);
  options.blockBytes = 100;
  options.maxBlocks = 2;
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

TEST_CASE("AsyncLogging: the lines of several threads are in the order of their times") {
  const TempDirectory directory;
  AsyncLogging log(in(directory));
  log.start();
  const auto line = [](int i) {
    return "20261123 09:49:05." + std::to_string(100'000 + i) + "Z line\n";
  };
  std::string all;
  for (int i = 0; i < 100; ++i)
    all += line(i);
  std::thread even([&] {
    for (int i = 0; i < 100; i += 2)
      log.append(line(i));
  });
  for (int i = 1; i < 100; i += 2)
    log.append(line(i));
  even.join();
  log.stop();
  CHECK(directory.contents() == all);
}

TEST_CASE("AsyncLogging: a line longer than a buffer is written whole") {
  const TempDirectory directory;
  AsyncLogging::Options options = in(directory);
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
    AsyncLogging::Options options = in(directory);
    options.file.baseName = directory / "missing/base";
    options.blockBytes = 100;
    options.maxBlocks = 2;
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

TEST_CASE("AsyncLogging: attached, it takes the Logger's lines until it is destroyed") {
  const TempDirectory directory;
  const auto child = runInChild([&] {
    {
      AsyncLogging log(in(directory));
      log.start();
      log.attach();
      LOG_INFO << "to the file";
    }
    LOG_INFO << "to stdout";
    AsyncLogging next(in(directory));
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

// The output is a function that any thread may be in at any time; its object may go meanwhile.
TEST_CASE("AsyncLogging: may be destroyed while threads log") {
  const TempDirectory directory;
  const auto child = runInChild([&] {
    std::atomic<bool> enough{false};
    std::atomic<int> logged{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 20; ++i) {
      AsyncLogging::Options options = in(directory);
      options.blockBytes = 200;
      options.maxBlocks = 2;  // so that some wait in there
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

TEST_CASE("AsyncLogging: a second one beside the first aborts with the message") {
  const TempDirectory directory;
  const auto child = runInChild([&] {
    const AsyncLogging first(in(directory));
    const AsyncLogging second(in(directory));
  });
  CHECK(child.aborted());
  CHECK(child.says("a second AsyncLogging"));
}

TEST_CASE("AsyncLogging: starting twice aborts with the message") {
  const TempDirectory directory;
  const auto child = runInChild([&] {
    AsyncLogging log(in(directory));
    log.start();
    log.start();
  });
  CHECK(child.aborted());
  CHECK(child.says("AsyncLogging started twice"));
}

}  // namespace
