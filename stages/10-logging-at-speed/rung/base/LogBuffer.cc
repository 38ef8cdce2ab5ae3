#include "rung/base/LogBuffer.h"

#include <unistd.h>

#include <cerrno>
#include <new>
#include <utility>

namespace rung {

namespace {

std::atomic<LogBuffer*> allBuffers{nullptr};
std::atomic<LogBuffer*> sharedBuffer{nullptr};
LogBuffer* abandonedBuffers = nullptr;  // still reachable, or leak checkers would report them

constinit thread_local LogBuffer* ownBuffer = nullptr;
constinit thread_local bool threadIsEnding = false;

}  // namespace

LogBuffer::~LogBuffer() {
  for (LogBlock* block = first_.load(); block != nullptr;)
    delete std::exchange(block, block->next.load());
}

LogBuffer* LogBuffer::ofThisThread() {
  struct HandBack {
    ~HandBack() {
      threadIsEnding = true;
      if (ownBuffer != nullptr) std::exchange(ownBuffer, nullptr)->inUse_.store(false);
    }
  };
  if (ownBuffer != nullptr) return ownBuffer;
  if (threadIsEnding) return acquireShared();
  static thread_local const HandBack handBack;
  ownBuffer = acquire();
  return ownBuffer;
}

LogBuffer* LogBuffer::acquire() {
  for (LogBuffer* buffer = first(); buffer != nullptr; buffer = buffer->next()) {
    if (!buffer->inUse_.load() && !buffer->inUse_.exchange(true)) return buffer;
  }
  auto* const buffer = new (std::nothrow) LogBuffer;
  if (buffer == nullptr) return nullptr;
  buffer->next_ = allBuffers.load();
  while (!allBuffers.compare_exchange_weak(buffer->next_, buffer)) {
  }
  return buffer;
}

LogBuffer* LogBuffer::acquireShared() {
  LogBuffer* shared = sharedBuffer.load();
  if (shared != nullptr) return shared;
  LogBuffer* const mine = acquire();
  if (mine == nullptr || sharedBuffer.compare_exchange_strong(shared, mine)) return mine;
  mine->inUse_.store(false);
  return shared;
}

bool LogBuffer::append(std::string_view lines) {
  const MutexLock lock(mutex_);
  if (!open_) return false;
  const std::size_t used = last_->used.load(std::memory_order_relaxed);
  if (lines.size() > last_->capacity - used) return false;
  lines.copy(last_->data.get() + used, lines.size());
  // Not before the lines are there: a signal handler writes all that `used` covers.
  last_->used.store(used + lines.size(), std::memory_order_release);
  return true;
}

void LogBuffer::addBlock(std::unique_ptr<LogBlock> block) {
  const MutexLock lock(mutex_);
  LogBlock* const before = last_;
  last_ = block.release();
  open_ = true;
  if (before == nullptr) {
    first_.store(last_);
  } else {
    before->next.store(last_);
  }
}

bool LogBuffer::hasBlock() const {
  const MutexLock lock(mutex_);
  return last_ != nullptr;
}

void LogBuffer::noteDropped(std::uint64_t lines) {
  const MutexLock lock(mutex_);
  last_->droppedAfter += lines;
}

LogBlock* LogBuffer::take(Then then) {
  const MutexLock lock(mutex_);
  if (then == Then::close) open_ = false;
  bool anything = false;
  for (LogBlock* block = first_.load(); block != nullptr; block = block->next.load()) {
    block->taken = block->used.load();
    block->droppedTaken = std::exchange(block->droppedAfter, 0);
    anything = anything || block->taken > block->written.load() || block->droppedTaken > 0;
  }
  return anything ? first_.load() : nullptr;
}

std::vector<std::unique_ptr<LogBlock>> LogBuffer::release() {
  const auto isWritten = [](const LogBlock& block) {
    return block.written.load() == block.used.load() && block.droppedAfter == 0;
  };
  std::vector<std::unique_ptr<LogBlock>> free;
  const MutexLock lock(mutex_);
  while (first_.load() != last_ && isWritten(*first_.load())) {
    free.emplace_back(first_.load());
    first_.store(free.back()->next.load());
  }
  if (last_ == nullptr || first_.load() != last_ || !isWritten(*last_)) return free;
  last_->clear();
  if (!open_) {
    free.emplace_back(std::exchange(last_, nullptr));
    first_.store(nullptr);
  }
  return free;
}

LogBuffer* LogBuffer::first() {
  return allBuffers.load();
}

void LogBuffer::abandonAll() {
  LogBuffer* const all = allBuffers.exchange(nullptr);
  sharedBuffer.store(nullptr);
  ownBuffer = nullptr;
  if (all == nullptr) return;
  LogBuffer* last = all;
  while (last->next_ != nullptr)
    last = last->next_;
  last->next_ = std::exchange(abandonedBuffers, all);
}

void LogBuffer::writeAll(int fd) noexcept {
  for (const LogBuffer* buffer = first(); buffer != nullptr; buffer = buffer->next()) {
    const LogBlock* block = buffer->first_.load();
    while (block != nullptr) {
      // First the next block, then what is in this one. The other way round, a thread that still
      // logs could add to this one meanwhile, go on to the next, and leave a gap.
      const LogBlock* const next = block->next.load();
      const std::size_t used = block->used.load();
      for (std::size_t at = block->written.load(); at < used;) {
        const ssize_t n = ::write(fd, block->data.get() + at, used - at);
        if (n > 0) {
          at += static_cast<std::size_t>(n);
        } else if (n == 0 || errno != EINTR) {
          return;
        }
      }
      block = next;
    }
  }
}

}  // namespace rung
