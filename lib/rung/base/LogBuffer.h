#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "rung/base/Mutex.h"
#include "rung/base/noncopyable.h"

namespace rung {

/// A piece of a LogBuffer. Its lines are [0, used), of which [0, written) are in the file.
struct LogBlock : noncopyable {
  explicit LogBlock(std::size_t size)
      : data(std::make_unique_for_overwrite<char[]>(size)), capacity(size) {}
  void clear() {
    // In this order, since a signal handler writes [written, used).
    used.store(0);
    written.store(0);
    next.store(nullptr);
    taken = 0;
  }

  const std::unique_ptr<char[]> data;
  const std::size_t capacity;
  // Atomic because a signal handler may look at any time; it must see whole lines.
  std::atomic<std::size_t> used{0};
  std::atomic<std::size_t> written{0};
  std::atomic<LogBlock*> next{nullptr};
  std::uint64_t droppedAfter = 0;  // lines that came after these and were not taken

  // The back-end's, set by take(): up to where it writes this time.
  std::size_t taken = 0;
  std::uint64_t droppedTaken = 0;
};

/// The lines of one thread that wait for the disk. One buffer for all would be simpler, but two
/// threads that take turns at a lock, and at the memory behind it, wait for each other's caches
/// longer than it takes to format a line. Here a thread has its lock to itself, but for the moments
/// when the back-end looks in.
/// It is a chain of blocks: the thread fills the last one, the back-end writes from the first. Two
/// of them are the classical double buffer; a block that is written in time is used again alone.
/// Thread: any. Of the back-end's calls, only one thread at a time.
/// Lifetime: those of threads are never destroyed. When a thread ends, the next one takes over.
class alignas(64) LogBuffer : noncopyable {
 public:
  LogBuffer() = default;
  ~LogBuffer();

  /// The calling thread's, or nullptr if there is no memory for one. Threads that log after the end
  /// of their thread-local variables share one.
  [[nodiscard]] static LogBuffer* ofThisThread();

  /// Copies `lines`.
  /// Errors: returns false if they do not fit, or if the buffer is closed.
  [[nodiscard]] bool append(std::string_view lines) RUNG_EXCLUDES(mutex_);

  /// Lines go here from now on. Opens the buffer.
  void addBlock(std::unique_ptr<LogBlock> block) RUNG_EXCLUDES(mutex_);
  [[nodiscard]] bool hasBlock() const RUNG_EXCLUDES(mutex_);
  /// Notes, at this place among the lines, that some were not taken.
  void noteDropped(std::uint64_t lines) RUNG_EXCLUDES(mutex_);

  enum class Then { stayOpen, close };
  /// For the back-end: sets `taken` in each block to what is in it now. Returns the first block, or
  /// nullptr if there is nothing to write. What is taken is written without the lock.
  [[nodiscard]] LogBlock* take(Then then) RUNG_EXCLUDES(mutex_);
  /// For the back-end, when all that it took is written. Returns the blocks that are free now. One
  /// is kept, unless the buffer is closed.
  [[nodiscard]] std::vector<std::unique_ptr<LogBlock>> release() RUNG_EXCLUDES(mutex_);

  /// All buffers of threads: `for (auto* b = LogBuffer::first(); b != nullptr; b = b->next())`.
  [[nodiscard]] static LogBuffer* first();
  [[nodiscard]] LogBuffer* next() const { return next_; }

  /// For a forked child: the buffers are as the parent's threads left them, locked perhaps. Nobody
  /// uses them again.
  static void abandonAll();

  /// Writes what all buffers hold. Calls only what a signal handler may.
  /// Thread: any, provided that nobody writes what was taken, or releases it.
  static void writeAll(int fd) noexcept;

 private:
  static LogBuffer* acquire();
  static LogBuffer* acquireShared();

  mutable Mutex mutex_;
  LogBlock* last_ RUNG_GUARDED_BY(mutex_) = nullptr;
  bool open_ RUNG_GUARDED_BY(mutex_) = false;
  std::atomic<LogBlock*> first_{nullptr};  // changed with mutex_ held; writeAll() only reads

  std::atomic<bool> inUse_{true};
  LogBuffer* next_ = nullptr;
};

}  // namespace rung
