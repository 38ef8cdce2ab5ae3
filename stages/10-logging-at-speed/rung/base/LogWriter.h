#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "rung/base/LogBuffer.h"
#include "rung/base/LogFile.h"
#include "rung/base/LogMerge.h"
#include "rung/base/Mutex.h"
#include "rung/base/noncopyable.h"

namespace rung {

/// Brings lines to the LogFile: the buffers' for the back-end, in rounds; single ones for a thread
/// that logs while there is no back-end; and in the last moment of a process, what is left.
/// Thread: any, if nothing else is said.
class LogWriter : noncopyable {
 public:
  explicit LogWriter(LogFile::Options options);

  void open() RUNG_EXCLUDES(mutex_);
  void write(std::string_view lines) RUNG_EXCLUDES(mutex_);
  [[nodiscard]] std::uint64_t lostLines() const RUNG_EXCLUDES(mutex_);

  /// A merge whose lines go to this writer.
  [[nodiscard]] LogMerge newMerge();
  /// Writes what all buffers hold. Returns the blocks that are free now.
  /// Thread: the back-end.
  [[nodiscard]] std::vector<std::unique_ptr<LogBlock>> writeRound(LogMerge& merge,
                                                                  LogBuffer::Then then);

  /// Writes what all buffers hold, one thread's after the other's. The back-end writes nothing
  /// afterwards, so this is for a process that is about to end.
  /// Thread: any; calls only what a signal handler may.
  void rescue() noexcept;

  /// Around fork(2): held by the thread that calls it, the file is whole in the child, too.
  void lockForFork();
  void unlockInParent();
  /// The file is the parent's; the child begins one of its own.
  void unlockInChild();

 private:
  void writeForRound(std::string_view lines) RUNG_EXCLUDES(mutex_);
  void stopForRescue();

  const LogFile::Clock clock_;
  mutable Mutex mutex_;
  LogFile file_ RUNG_GUARDED_BY(mutex_);

  std::atomic<bool> busy_{false};  // a round goes on
  std::atomic<pid_t> backEnd_{0};
  std::atomic<bool> rescuing_{false};
  std::atomic<bool> rescued_{false};
};

}  // namespace rung
