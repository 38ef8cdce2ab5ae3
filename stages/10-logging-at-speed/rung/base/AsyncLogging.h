#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "rung/base/LogBuffer.h"
#include "rung/base/LogFile.h"
#include "rung/base/LogMerge.h"
#include "rung/base/LogWriter.h"
#include "rung/base/Mutex.h"
#include "rung/base/Thread.h"
#include "rung/base/noncopyable.h"

namespace rung {

/// Takes the lines of all threads, the front-ends, and writes them to a LogFile on a thread of its
/// own, the back-end, so that no I/O thread ever waits for a disk. The front-ends leave their lines
/// in a LogBuffer each; the back-end comes when a block of one is full, or after a while, and
/// writes what all of them hold.
///
///     rung::AsyncLogging log({.file = {.baseName = "/var/log/server"}});
///     log.start();
///     log.attach();
///
/// Thread: any. The lines of one thread keep their order; those of several are put into the order
/// of their times, as far as they are written together.
/// Lifetime: one at a time in a process; a second one aborts. The destructor stops it. Threads may
/// log through the Logger meanwhile and later; who calls append() and flush() must be done.
/// Errors: those of LogFile: told on stderr, counted, survived.
/// Fork: a child has the thread that forked and no other, so it has no back-end. It writes each
/// line at once, to a file with its own pid, until it calls start(). The lines that wait are the
/// parent's to write. Do not fork while another thread is in exit(): the C library has dropped what
/// makes this safe, and the child may wait for ever when it logs.
/// Source: muduo base/AsyncLogging.h.
class AsyncLogging : noncopyable {
 public:
  /// What a thread that logs does when the disk is slower than it for so long that the memory is
  /// used up: wait, so that nothing is lost, or go on and lose the line. What is dropped is
  /// counted, and the log says how many lines at the place where they are missing.
  enum class WhenFull { block, drop };

  struct Options {
    LogFile::Options file;
    std::size_t blockBytes = std::size_t{1} << 20;  // each thread that logs has a block
    std::size_t maxBlocks = 64;                     // what they may have besides, all together
    WhenFull whenFull = WhenFull::block;
    /// Lines are out of the process after this time, however few there are. With max() only a full
    /// block, flush() and stop() write any.
    std::chrono::milliseconds flushInterval{3000};
  };

  /// Errors: throws std::invalid_argument, which names the option, if flushInterval is not above 0;
  /// if blockBytes is 0 or more than 1 GiB; if maxBlocks of them are more than memory can be; and
  /// as LogFile does.
  explicit AsyncLogging(Options options);
  ~AsyncLogging();

  /// Before it, and after stop(), each line is written by the thread that logs it.
  /// Errors: throws std::system_error if the system gives no thread.
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
  [[nodiscard]] std::uint64_t lostLines() const { return writer_.lostLines(); }

  /// Writes what is in memory, one thread's lines after the other's. For the handler of a signal
  /// that ends the process, see installLogCrashHandler(): the back-end writes nothing afterwards.
  /// The handler must block SIGPIPE and SIGXFSZ, which a write may bring.
  /// Thread: any; calls only what a signal handler may.
  static void rescue() noexcept;

 private:
  /// What a back-end has. It stays when that has ended, for those who wait. In a forked child it is
  /// not destroyed but abandoned: its conditions remember waiters that do not exist there, and
  /// would wait for them.
  struct BackEnd {
    explicit BackEnd(AsyncLogging& log);

    Condition wakeUp;    // a block is full, or flush() or stop() asks
    Condition progress;  // a round of writing is done, or the back-end has ended
    int waitingForProgress = 0;
    bool blockIsFull = false;
    bool stopping = false;
    bool ended = false;
    LogMerge merge;  // the back-end thread's
    Thread thread;
  };
  using Blocks = std::vector<std::unique_ptr<LogBlock>>;

  static void appendToInstance(std::string_view lines) RUNG_EXCLUDES(mutex_);
  static void flushInstance() RUNG_EXCLUDES(mutex_);
  static void stopInstance() RUNG_EXCLUDES(mutex_);
  static void beforeFork();
  static void afterForkInParent();
  static void afterForkInChild();

  void appendSlowly(LogBuffer* own, std::string_view lines) RUNG_REQUIRES(mutex_);
  bool appendWithNewBlock(LogBuffer& own, std::string_view lines) RUNG_REQUIRES(mutex_);
  std::unique_ptr<LogBlock> newBlock(std::size_t size) RUNG_REQUIRES(mutex_);
  [[nodiscard]] bool runs() const RUNG_REQUIRES(mutex_);
  void waitForProgress() RUNG_REQUIRES(mutex_);
  void waitForWaiters() RUNG_REQUIRES(mutex_);

  void runBackEnd(BackEnd& backEnd) RUNG_EXCLUDES(mutex_);
  LogBuffer::Then beginRound(BackEnd& backEnd) RUNG_EXCLUDES(mutex_);
  void endRound(BackEnd& backEnd, LogBuffer::Then then, Blocks freeBlocks) RUNG_EXCLUDES(mutex_);

  // Static, since it must be there for a thread that logs while the instance goes away.
  static Mutex mutex_;
  static std::atomic<AsyncLogging*> instance_;  // changed with mutex_ held; rescue() only reads

  const Options options_;
  std::unique_ptr<BackEnd> backEnd_ RUNG_GUARDED_BY(mutex_);
  std::uint64_t roundsWanted_ RUNG_GUARDED_BY(mutex_) = 0;  // a round writes what all buffers hold
  std::uint64_t roundsBegun_ RUNG_GUARDED_BY(mutex_) = 0;
  std::uint64_t roundsDone_ RUNG_GUARDED_BY(mutex_) = 0;
  Blocks spareBlocks_ RUNG_GUARDED_BY(mutex_);
  std::size_t extraBlocks_ RUNG_GUARDED_BY(mutex_) = 0;  // beyond one for each thread
  std::uint64_t droppedLines_ RUNG_GUARDED_BY(mutex_) = 0;

  LogWriter writer_;  // has a mutex of its own, taken after this one if both are
};

}  // namespace rung
