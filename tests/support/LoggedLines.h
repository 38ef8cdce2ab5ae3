#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <regex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "rung/base/AsyncLogging.h"
#include "rung/base/CountDownLatch.h"
#include "rung/base/Logging.h"

#include "tests/support/TempDirectory.h"

namespace rung::testing {

/// Of a log that is written when the test says so, and not because of the time.
inline AsyncLogging::Options optionsIn(const TempDirectory& directory) {
  AsyncLogging::Options options;
  options.file.baseName = directory / "base";
  options.flushInterval = std::chrono::hours(1);
  return options;
}

constexpr int kLines = 1000;

inline void logLines(int count = kLines) {
  for (int i = 0; i < count; ++i)
    LOG_INFO << "line " << i << " end";
}

/// Whether `text` has lines 0 to count - 1, in order and whole.
inline bool hasLines(const std::string& text, int count = kLines) {
  std::size_t at = 0;
  for (int i = 0; i < count; ++i) {
    at = text.find(" line " + std::to_string(i) + " end - ", at);
    if (at == text.npos) return false;
  }
  return text.ends_with('\n');
}

/// A log whose back-end does `whileWriting` before its next write, once, as if the disk hung:
/// LogFile asks its clock before each write, on the thread that writes.
struct HookedLog {
  HookedLog(const TempDirectory& directory, std::function<void()> whileWriting,
            std::size_t blockBytes = 1 << 20)
      : work(std::move(whileWriting)), log(hooked(optionsIn(directory), blockBytes)) {
    log.start();
    log.attach();
    armed = true;
  }
  AsyncLogging::Options hooked(AsyncLogging::Options options, std::size_t blockBytes) {
    options.file.clock = [this] {
      if (armed.exchange(false)) {
        isWriting = true;
        work();
      }
      return Timestamp::now();
    };
    options.blockBytes = blockBytes;
    return options;
  }
  /// Has the back-end begin to write what was logged so far.
  void flushElsewhere() {
    std::thread([this] { log.flush(); }).detach();
    waitUntilWriting();
  }
  void waitUntilWriting() const {
    while (!isWriting)
      std::this_thread::yield();
  }

  std::atomic<bool> armed{false};
  std::atomic<bool> isWriting{false};
  const std::function<void()> work;
  AsyncLogging log;
};

/// A disk that stalls when the test wants it to: LogFile asks its clock before it writes.
class SlowDisk {
 public:
  [[nodiscard]] LogFile::Clock clock() {
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

inline std::string numbered(const std::string& name, int count) {
  std::string text;
  for (int i = 0; i < count; ++i)
    text += name + ' ' + std::to_string(i) + '\n';
  return text;
}

/// Appends the lines of numbered(name, count) one by one.
inline void produce(AsyncLogging& log, const std::string& name, int count) {
  for (int i = 0; i < count; ++i)
    log.append(name + ' ' + std::to_string(i) + '\n');
}

/// The lines of `text` that begin with `name`.
inline std::string linesOfProducer(const std::string& text, const std::string& name) {
  std::string found;
  for (const std::string& line : linesOf(text)) {
    if (line.starts_with(name + ' ')) found += line + '\n';
  }
  return found;
}

/// The first line of `text` that is not as in `wanted`, and the one that should stand there; empty
/// if there is none. So a test that fails shows one line and not thousands.
inline std::string firstDifference(const std::string& text, const std::string& wanted) {
  const std::vector<std::string> found = linesOf(text);
  const std::vector<std::string> should = linesOf(wanted);
  for (std::size_t i = 0; i < std::max(found.size(), should.size()); ++i) {
    const std::string is = i < found.size() ? found[i] : "the end";
    const std::string be = i < should.size() ? should[i] : "the end";
    if (is != be) return "line " + std::to_string(i) + " is " + is + ", and should be " + be;
  }
  return {};
}

/// Four producers that begin together.
inline void produceInParallel(AsyncLogging& log, int count) {
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

/// Producers that are faster than the disk wait for it, and lose nothing. `lines` of each of four
/// are more than `options` let wait.
inline void checkProducersWait(const TempDirectory& directory, AsyncLogging::Options options,
                               int lines) {
  SlowDisk disk;
  options.file.clock = disk.clock();
  AsyncLogging log(options);
  log.start();
  disk.stall();
  std::atomic<bool> done{false};
  std::thread producers([&] {
    produceInParallel(log, lines);
    done.store(true);
  });
  disk.waitForFirstWrite();
  CHECK_FALSE(done.load());
  disk.goOn();
  producers.join();
  log.stop();
  const std::string text = directory.contents();
  for (const char* name : {"a", "b", "c", "d"})
    CHECK(firstDifference(linesOfProducer(text, name), numbered(name, lines)) == "");
}

/// With WhenFull::drop, dropped lines are counted exactly, and the log says where they are missing.
/// `lines` are more than `options` let wait.
inline void checkDropsCounted(const TempDirectory& directory, AsyncLogging::Options options,
                              int lines) {
  SlowDisk disk;
  options.file.clock = disk.clock();
  options.whenFull = AsyncLogging::WhenFull::drop;
  AsyncLogging log(options);
  log.start();
  disk.stall();
  std::thread filler([&] { produce(log, "first", 20); });
  disk.waitForFirstWrite();
  filler.join();
  produce(log, "then", lines);  // nobody waits, although nothing is written
  log.append("two lines\nat once\n");
  const std::uint64_t dropped = log.droppedLines();
  CHECK(dropped > static_cast<std::uint64_t>(lines) / 2);
  disk.goOn();
  log.flush();
  produce(log, "after", 3);
  log.stop();

  const std::string text = directory.contents();
  std::smatch notice;
  REQUIRE(std::regex_search(text, notice, std::regex(R"(\b(\d+) [a-z ]*dropped)")));
  CHECK(std::stoull(notice[1]) == dropped);
  CHECK(log.droppedLines() == dropped);
  const std::size_t kept = linesOf(text).size() - 1;
  CHECK(kept + dropped == 20 + static_cast<std::size_t>(lines) + 2 + 3);
  CHECK(linesOfProducer(text, "after") == numbered("after", 3));
  CHECK(notice.suffix().str().find("after 0") != std::string::npos);
  CHECK(notice.prefix().str().find("after") == std::string::npos);
}

}  // namespace rung::testing
