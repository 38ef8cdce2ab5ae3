#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "rung/base/LogFile.h"
#include "rung/base/Mutex.h"
#include "rung/base/Thread.h"
#include "rung/base/noncopyable.h"

namespace rung {

/// Takes the lines of all threads, the front-ends, and writes them to a LogFile on a thread of its
/// own, the back-end, so that no I/O thread ever waits for a disk. Two buffers: the front-ends fill
/// one, the back-end writes the other. When the first is full, or after a while, they are swapped.
///
///     rung::AsyncLogging log({.file = {.baseName = "/var/log/server"}});
///     log.start();
///     log.attach();
///
/// Thread: any. The file has the lines in the order in which append() took them.
/// Lifetime: one at a time in a process; a second one aborts. The destructor stops it. Threads may
/// log through the Logger meanwhile and later; who calls append() and flush() must be done.
/// Errors: those of LogFile: told on stderr, counted, survived.
/// Fork: a child has no back-end, though it looks as if it had. It must not log through this.
/// Source: muduo base/AsyncLogging.h.
class AsyncLogging : noncopyable {
 public:
  /// What a thread that logs does when the disk is slower than it for so long that both buffers are
  /// full: wait, so that nothing is lost, or go on and lose the line. What is dropped is counted,
  /// and the log says how many lines at the place where they are missing.
  enum class WhenFull { block, drop };

  struct Options {
    LogFile::Options file;
    std::size_t blockBytes = std::size_t{4} << 20;  // of each of the two buffers
    WhenFull whenFull = WhenFull::block;
    /// Lines are out of the process after this time, however few there are. With max() only a full
    /// buffer, flush() and stop() write any.
    std::chrono::milliseconds flushInterval{3000};
  };

  /// Errors: throws std::invalid_argument, which names the option, if flushInterval is not above 0,
  /// or if blockBytes is 0 or more than 1 GiB; and as LogFile does.
  explicit AsyncLogging(Options options);
  ~AsyncLogging();

  /// Before it, and after stop(), each line is written by the thread that logs it.
  /// Errors: throws std::system_error if the system gives no thread; aborts if it is started.
  void start() RUNG_EXCLUDES(mutex_);
  /// Returns when all lines are written and the back-end has ended. Twice is fine; so is start()
  /// again.
  void stop() RUNG_EXCLUDES(mutex_) { stopInstance(); }

  /// Makes this the Logger's output, until it is destroyed. A process that calls exit() or returns
  /// from main() loses nothing, since stop() is called for it, nor does one that ends by LOG_FATAL.
  void attach();

  /// `lines` are whole lines, each with its newline.
  void append(std::string_view lines) RUNG_EXCLUDES(mutex_) { appendToInstance(lines); }
  /// Returns when the kernel has all that was appended before. It survives the process then, not a
  /// power failure.
  void flush() RUNG_EXCLUDES(mutex_) { flushInstance(); }

  [[nodiscard]] std::uint64_t droppedLines() const RUNG_EXCLUDES(mutex_);
  /// How many the disk did not take.
  [[nodiscard]] std::uint64_t lostLines() const RUNG_EXCLUDES(mutex_);

 private:
  enum class State { stopped, running, stopping };

  static void appendToInstance(std::string_view lines) RUNG_EXCLUDES(mutex_);
  static void flushInstance() RUNG_EXCLUDES(mutex_);
  static void stopInstance() RUNG_EXCLUDES(mutex_);

  void add(std::string_view lines) RUNG_REQUIRES(mutex_);
  [[nodiscard]] bool fits(std::string_view lines) const RUNG_REQUIRES(mutex_);
  void tellDropped() RUNG_REQUIRES(mutex_);
  void swap() RUNG_REQUIRES(mutex_);
  void waitForProgress() RUNG_REQUIRES(mutex_);
  void waitForWaiters() RUNG_REQUIRES(mutex_);

  void runBackEnd() RUNG_EXCLUDES(mutex_);
  [[nodiscard]] const std::string* waitForWork() RUNG_EXCLUDES(mutex_);

  // Static, since it must be there for a thread that logs while the instance goes away.
  static Mutex mutex_;
  static std::atomic<AsyncLogging*> instance_;  // changed with mutex_ held

  const Options options_;
  State state_ RUNG_GUARDED_BY(mutex_) = State::stopped;
  Condition wakeUp_;                         // a buffer is full, or flush() or stop() asks
  Condition progress_;                       // a buffer is written, or the back-end has ended
  int waiting_ RUNG_GUARDED_BY(mutex_) = 0;  // for progress
  std::string filling_ RUNG_GUARDED_BY(mutex_);
  // Guarded also where the back-end writes it: that one has it from waitForWork(), or not at all.
  std::string full_ RUNG_GUARDED_BY(mutex_);
  bool isFull_ RUNG_GUARDED_BY(mutex_) = false;
  std::uint64_t appendedBytes_ RUNG_GUARDED_BY(mutex_) = 0;
  std::uint64_t writtenBytes_ RUNG_GUARDED_BY(mutex_) = 0;
  std::uint64_t flushUpTo_ RUNG_GUARDED_BY(mutex_) = 0;
  std::uint64_t droppedLines_ RUNG_GUARDED_BY(mutex_) = 0;
  std::uint64_t droppedHere_ RUNG_GUARDED_BY(mutex_) = 0;  // behind what is in `filling_`
  std::uint64_t lostLines_ RUNG_GUARDED_BY(mutex_) = 0;    // as of the last round
  LogFile file_;  // the back-end's alone while there is one, else guarded by mutex_
  std::unique_ptr<Thread> backEnd_;
};

}  // namespace rung
