#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <latch>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "rung/base/AsyncLogging.h"
#include "rung/base/LogOutput.h"
#include "rung/base/Logging.h"

#include "tests/support/Allocations.h"
#include "tests/support/ChildProcess.h"
#include "tests/support/LoggedLines.h"
#include "tests/support/TempDirectory.h"

using rung::Logger;
using rung::LogOutput;
using rung::testing::runInChild;
using rung::testing::TempDirectory;

namespace {

/// Calls `onWrite` with each line. Tells when it is destroyed.
class Calls : public LogOutput {
 public:
  explicit Calls(std::function<void(std::string_view)> onWrite, std::atomic<int>* destroyed)
      : onWrite_(std::move(onWrite)), destroyed_(destroyed) {}
  ~Calls() override { ++*destroyed_; }
  void write(std::string_view line) override { onWrite_(line); }

 private:
  const std::function<void(std::string_view)> onWrite_;
  std::atomic<int>* const destroyed_;
};

/// Brings stdout back at the end of a test. Declare it after what the output refers to.
struct OutputRestored {
  OutputRestored() = default;
  OutputRestored(const OutputRestored&) = delete;
  OutputRestored& operator=(const OutputRestored&) = delete;
  ~OutputRestored() { Logger::setOutput(nullptr); }
};

TEST_CASE("LogOutput: gets each line whole, and is destroyed when another output is set") {
  std::atomic<int> destroyed{0};
  const OutputRestored restored;
  std::vector<std::string> one;
  std::vector<std::string> two;
  const auto into = [&destroyed](std::vector<std::string>& lines) {
    return std::make_shared<Calls>([&](std::string_view line) { lines.emplace_back(line); },
                                   &destroyed);
  };
  Logger::setOutput(into(one));
  LOG_INFO << "a " << 1;
  LOG_INFO << "b";
  CHECK(destroyed == 0);
  Logger::setOutput(into(two));
  CHECK(destroyed == 1);
  LOG_INFO << "c";
  Logger::setOutput([](std::string_view) {});
  CHECK(destroyed == 2);
  LOG_INFO << "nowhere";
  REQUIRE(one.size() == 2);
  CHECK(one[0].find(" INFO  a 1 - log_output_test.cc:") != std::string::npos);
  CHECK(one[0].ends_with('\n'));
  REQUIRE(two.size() == 1);
  CHECK(two[0].find(" c - ") != std::string::npos);
}

TEST_CASE("LogOutput: one that the caller keeps is only let go, and may be set again") {
  std::atomic<int> destroyed{0};
  const OutputRestored restored;
  int lines = 0;
  const auto output = std::make_shared<Calls>([&](std::string_view) { ++lines; }, &destroyed);
  for (int i = 0; i < 3; ++i) {
    Logger::setOutput(output);
    Logger::setOutput(output);
    LOG_INFO << "x";
    Logger::setOutput(nullptr);
    CHECK(output.use_count() == 1);
  }
  CHECK(lines == 3);
  CHECK(destroyed == 0);
}

TEST_CASE("LogOutput: an empty pointer brings stdout back") {
  const auto child = runInChild([] {
    std::atomic<int> destroyed{0};
    Logger::setOutput(std::make_shared<Calls>([](std::string_view) {}, &destroyed));
    LOG_INFO << "unseen";
    Logger::setOutput(std::shared_ptr<LogOutput>());
    LOG_INFO << "seen";
    _exit(destroyed);
  });
  CHECK(child.exitedWith(1));
  CHECK(child.says(" seen - "));
  CHECK_FALSE(child.says("unseen"));
}

// With a function one had to guess when the last thread had left it.
TEST_CASE("LogOutput: one that a thread is in stays, and that thread destroys it") {
  std::atomic<int> destroyed{0};
  const OutputRestored restored;
  std::latch isIn(1);
  std::latch isReplaced(1);
  Logger::setOutput(std::make_shared<Calls>(
      [&](std::string_view) {
        isIn.count_down();
        isReplaced.wait();
        CHECK(destroyed == 0);
      },
      &destroyed));
  std::thread thread([&] {
    LOG_INFO << "slow";
    CHECK(destroyed == 1);
  });
  isIn.wait();
  Logger::setOutput([](std::string_view) {});
  LOG_INFO << "does not wait for the slow one";
  CHECK(destroyed == 0);
  isReplaced.count_down();
  thread.join();
}

TEST_CASE("LogOutput: write may set another output") {
  std::atomic<int> destroyed{0};
  const OutputRestored restored;
  int lines = 0;
  const auto next = [&] {
    return std::make_shared<Calls>([&](std::string_view) { ++lines; }, &destroyed);
  };
  Logger::setOutput(std::make_shared<Calls>(
      [&](std::string_view) {
        Logger::setOutput(next());
        CHECK(destroyed == 0);
      },
      &destroyed));
  LOG_INFO << "one";
  CHECK(destroyed == 1);
  LOG_INFO << "two";
  CHECK(lines == 1);
}

TEST_CASE("LogOutput: any number of threads may be in write at once, then and again") {
  constexpr int kThreads = 20;
  std::atomic<int> destroyed{0};
  const OutputRestored restored;
  for (int round = 0; round < 2; ++round) {
    std::latch all(kThreads);
    Logger::setOutput(
        std::make_shared<Calls>([&](std::string_view) { all.arrive_and_wait(); }, &destroyed));
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i)
      threads.emplace_back([] { LOG_INFO << "x"; });
    for (std::thread& thread : threads)
      thread.join();
  }
  CHECK(destroyed == 1);
}

TEST_CASE("LogOutput: replaced by objects and functions while threads log, no line is lost") {
  constexpr int kThreads = 3;
  constexpr int kLines = 4000;
  static std::atomic<int> written;
  written = 0;
  std::atomic<int> destroyed{0};
  const OutputRestored restored;
  std::atomic<int> made{0};
  std::atomic<int> logged{0};
  std::atomic<int> byObjects{0};
  std::atomic<bool> logging{true};
  const auto count = [](std::string_view) { ++written; };
  const auto countOfObjects = [&](std::string_view) {
    ++written;
    ++byObjects;
  };
  const auto replace = [&] {
    while (logging) {
      ++made;
      Logger::setOutput(std::make_shared<Calls>(countOfObjects, &destroyed));
      Logger::setOutput(count);
    }
  };
  Logger::setOutput(count);
  std::vector<std::thread> replacing;
  for (int i = 0; i < 2; ++i)
    replacing.emplace_back(replace);
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      // Until objects have been at work, too, if the replacing threads come late.
      for (int line = 0; line < kLines || byObjects < kThreads; ++line) {
        LOG_INFO << line;
        ++logged;
      }
    });
  }
  for (std::thread& thread : threads)
    thread.join();
  logging = false;
  for (std::thread& thread : replacing)
    thread.join();
  Logger::setOutput(nullptr);
  CHECK(written == logged);
  CHECK(destroyed == made);
}

TEST_CASE("LogOutput: a line needs no memory from the heap") {
  std::atomic<int> destroyed{0};
  const OutputRestored restored;
  std::size_t bytes = 0;
  Logger::setOutput(
      std::make_shared<Calls>([&](std::string_view line) { bytes += line.size(); }, &destroyed));
  LOG_INFO << "the date of this second";
  const std::size_t before = bytes;
  {
    const rung::testing::NoMemory none;
    LOG_INFO << "x";
  }
  CHECK(bytes > before);
}

TEST_CASE("LogOutput: is flushed before a fatal line aborts the process") {
  class Held : public LogOutput {
   public:
    void write(std::string_view line) override { lines_ += line; }
    void flush() override { Logger::writeToStdout(lines_ + "flushed\n"); }

   private:
    std::string lines_;
  };
  const auto child = runInChild([] {
    Logger::setOutput(std::make_shared<Held>());
    LOG_ERROR << "one";
    LOG_FATAL << "two";
  });
  CHECK(child.aborted());
  CHECK(child.says(" ERROR one - "));
  CHECK(child.output.find(" FATAL two - ") < child.output.find("flushed\n"));
  CHECK(child.output.ends_with("flushed\n"));
}

TEST_CASE("LogOutput: one that is set after AsyncLogging outlives that one's attachment") {
  const TempDirectory directory;
  std::atomic<int> destroyed{0};
  const OutputRestored restored;
  int lines = 0;
  {
    rung::AsyncLogging log(rung::testing::optionsIn(directory));
    log.start();
    log.attach();
    LOG_INFO << "to the file";
    Logger::setOutput(std::make_shared<Calls>([&](std::string_view) { ++lines; }, &destroyed));
  }
  LOG_INFO << "to the object";
  CHECK(lines == 1);
  CHECK(directory.contents().find("to the file - ") != std::string::npos);
}

// One that was forked while the first output of the process was set waited for ever.
TEST_CASE("LogOutput: a child forked while threads set outputs may set one") {
  const auto child = runInChild([] {
    std::atomic<bool> stop{false};
    std::atomic<int> destroyed{0};
    std::thread setting([&] {
      while (!stop)
        Logger::setOutput(std::make_shared<Calls>([](std::string_view) {}, &destroyed));
    });
    bool fine = true;
    for (int i = 0; i < 50; ++i) {
      const pid_t grandchild = fork();
      if (grandchild == 0) {
        alarm(10);  // ends one that hangs
        Logger::setOutput([](std::string_view) {});
        _exit(0);
      }
      int status = 1;
      fine = waitpid(grandchild, &status, 0) == grandchild && status == 0 && fine;
    }
    stop = true;
    setting.join();
    _exit(fine ? 0 : 1);
  });
  CHECK(child.exitedWith(0));
}

}  // namespace
