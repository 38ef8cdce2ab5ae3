#include "rung/base/AsyncLogging.h"

#include <pthread.h>

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>

#include "rung/base/Deadline.h"
#include "rung/base/Logging.h"

namespace rung {

namespace {

constexpr std::size_t kSpareBlocks = 4;

AsyncLogging::Options checked(AsyncLogging::Options options) {
  constexpr std::size_t kMostBytes = std::size_t{1} << 30;
  const auto refuse = [](const char* rule, auto value) {
    throw std::invalid_argument(std::string("AsyncLogging: ") + rule + ", and is " +
                                std::to_string(value));
  };
  if (options.flushInterval <= std::chrono::milliseconds::zero()) {
    refuse("flushInterval, in ms, must be above 0", options.flushInterval.count());
  }
  if (options.blockBytes == 0 || options.blockBytes > kMostBytes) {
    refuse("blockBytes must be from 1 to 1 GiB", options.blockBytes);
  }
  constexpr std::size_t kAllMemory = std::numeric_limits<std::ptrdiff_t>::max();
  if (options.maxBlocks > kAllMemory / options.blockBytes) {
    refuse("maxBlocks must not be more than memory can hold", options.maxBlocks);
  }
  return options;
}

}  // namespace

constinit Mutex AsyncLogging::mutex_;
constinit std::atomic<AsyncLogging*> AsyncLogging::instance_{nullptr};

AsyncLogging::BackEnd::BackEnd(AsyncLogging& log)
    : merge(log.writer_.newMerge()), thread([&log, this] { log.runBackEnd(*this); }, "log") {}

AsyncLogging::AsyncLogging(Options options)
    : options_(checked(std::move(options))), writer_(options_.file) {
  // Neither can be undone, nor needs to be: they look for the instance when their time comes. Not
  // by the initialiser of a static: a child that is forked amid that would wait for its end for
  // ever.
  static std::atomic<bool> registered{false};
  if (!registered.exchange(true)) {
    (void)pthread_atfork(beforeFork, afterForkInParent, afterForkInChild);
    (void)std::atexit(stopInstance);
  }
  AsyncLogging* other = nullptr;
  {
    const MutexLock lock(mutex_);
    (void)instance_.compare_exchange_strong(other, this);
  }
  if (other != nullptr) LOG_FATAL << "a second AsyncLogging, beside the one at " << other;
}

AsyncLogging::~AsyncLogging() {
  stop();
  Logger::unsetOutput(appendToInstance);
  const MutexLock lock(mutex_);
  waitForWaiters();
  instance_.store(nullptr);
}

void AsyncLogging::start() {
  writer_.open();
  bool startedTwice = false;
  {
    const MutexLock lock(mutex_);
    startedTwice = runs();
    if (!startedTwice) {
      waitForWaiters();  // a stop() that waits for the end of the last one is not for this one
      auto backEnd = std::make_unique<BackEnd>(*this);
      backEnd->thread.start();  // it waits for mutex_ next
      backEnd_ = std::move(backEnd);
    }
  }
  if (startedTwice) LOG_FATAL << "AsyncLogging started twice";
}

// Of stop() and of exit(). At exit() another thread may be in the destructor, so the instance is
// looked for under the lock, and the destructor waits for those who have found it.
void AsyncLogging::stopInstance() {
  AsyncLogging* log = nullptr;
  Thread* thread = nullptr;
  {
    const MutexLock lock(mutex_);
    log = instance_.load();
    if (log == nullptr || !log->runs()) return;
    if (!log->backEnd_->stopping) {
      log->backEnd_->stopping = true;
      log->backEnd_->wakeUp.notifyOne();
      thread = &log->backEnd_->thread;
    }
    while (thread == nullptr && log->runs())
      log->waitForProgress();  // for the one who came first
  }
  if (thread == nullptr) return;
  thread->join();
  const MutexLock lock(mutex_);
  log->backEnd_->ended = true;
  log->backEnd_->progress.notifyAll();
}

void AsyncLogging::attach() {
  Logger::setFlush(flushInstance);
  Logger::setOutput(appendToInstance);
}

std::uint64_t AsyncLogging::droppedLines() const {
  const MutexLock lock(mutex_);
  return droppedLines_;
}

void AsyncLogging::appendToInstance(std::string_view lines) {
  // A buffer is only open while a back-end will come to fetch what is in it.
  LogBuffer* const own = LogBuffer::ofThisThread();
  if (own != nullptr && own->append(lines)) return;
  {
    const MutexLock lock(mutex_);
    if (AsyncLogging* const log = instance_.load()) return log->appendSlowly(own, lines);
  }
  Logger::writeToStdout(lines);
}

void AsyncLogging::appendSlowly(LogBuffer* own, std::string_view lines) {
  while (runs() && own != nullptr) {
    // Once stop() has begun, nobody opens a buffer, or there might always be one to write.
    if (!backEnd_->stopping) {
      if (own->append(lines) || appendWithNewBlock(*own, lines)) return;
      if (!own->hasBlock()) break;  // there is no memory
      if (options_.whenFull == WhenFull::drop && !Logger::aborting()) {
        const auto count = std::count(lines.begin(), lines.end(), '\n');
        own->noteDropped(static_cast<std::uint64_t>(count));
        droppedLines_ += static_cast<std::uint64_t>(count);
        return;
      }
    }
    waitForProgress();
  }
  writer_.write(lines);
}

bool AsyncLogging::appendWithNewBlock(LogBuffer& own, std::string_view lines) {
  const bool isExtra = own.hasBlock();
  if (isExtra) {
    backEnd_->blockIsFull = true;
    backEnd_->wakeUp.notifyOne();
    if (extraBlocks_ >= options_.maxBlocks) return false;
  }
  std::unique_ptr<LogBlock> block = newBlock(lines.size());
  if (block == nullptr) return false;
  if (isExtra) ++extraBlocks_;
  own.addBlock(std::move(block));
  return own.append(lines);
}

std::unique_ptr<LogBlock> AsyncLogging::newBlock(std::size_t size) {
  if (size <= options_.blockBytes && !spareBlocks_.empty()) {
    std::unique_ptr<LogBlock> block = std::move(spareBlocks_.back());
    spareBlocks_.pop_back();
    return block;
  }
  try {
    return std::make_unique<LogBlock>(std::max(size, options_.blockBytes));
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

void AsyncLogging::flushInstance() {
  const MutexLock lock(mutex_);
  AsyncLogging* const log = instance_.load();
  if (log == nullptr || !log->runs()) return;
  // A round that has begun may have passed the buffer in question.
  const std::uint64_t round = log->roundsBegun_ + 1;
  log->roundsWanted_ = round;
  log->backEnd_->wakeUp.notifyOne();
  while (log->runs() && log->roundsDone_ < round)
    log->waitForProgress();
}

bool AsyncLogging::runs() const {
  return backEnd_ != nullptr && !backEnd_->ended;
}

// They use this object, and the back-end that has ended, until they are out of waitForProgress()
// and the lock is free again.
void AsyncLogging::waitForWaiters() {
  while (backEnd_ != nullptr && backEnd_->waitingForProgress > 0)
    backEnd_->progress.wait(mutex_);
}

void AsyncLogging::waitForProgress() {
  BackEnd& backEnd = *backEnd_;
  ++backEnd.waitingForProgress;
  backEnd.progress.wait(mutex_);
  if (--backEnd.waitingForProgress == 0) backEnd.progress.notifyAll();
}

void AsyncLogging::runBackEnd(BackEnd& backEnd) {
  auto then = LogBuffer::Then::stayOpen;
  while (then == LogBuffer::Then::stayOpen) {
    then = beginRound(backEnd);
    endRound(backEnd, then, writer_.writeRound(backEnd.merge, then));
  }
}

LogBuffer::Then AsyncLogging::beginRound(BackEnd& backEnd) {
  const auto deadline = deadlineAfter(options_.flushInterval);
  const MutexLock lock(mutex_);
  while (!backEnd.blockIsFull && !backEnd.stopping && roundsWanted_ <= roundsBegun_) {
    if (!backEnd.wakeUp.waitUntil(mutex_, deadline)) break;
  }
  backEnd.blockIsFull = false;
  ++roundsBegun_;
  return backEnd.stopping ? LogBuffer::Then::close : LogBuffer::Then::stayOpen;
}

void AsyncLogging::endRound(BackEnd& backEnd, LogBuffer::Then then, Blocks freeBlocks) {
  const MutexLock lock(mutex_);
  extraBlocks_ = then == LogBuffer::Then::close ? 0 : extraBlocks_ - freeBlocks.size();
  for (std::unique_ptr<LogBlock>& block : freeBlocks) {
    if (block->capacity == options_.blockBytes && spareBlocks_.size() < kSpareBlocks) {
      block->clear();
      spareBlocks_.push_back(std::move(block));
    }
  }
  ++roundsDone_;
  backEnd.progress.notifyAll();
}

// A child of fork() gets a copy of the memory and only the thread that called. A mutex that another
// thread held at that moment would stay locked there for ever, and what it guards half-changed. So
// the thread that forks holds them, which makes it wait for a write that is under way.
RUNG_THREAD_ATTRIBUTE(no_thread_safety_analysis)
void AsyncLogging::beforeFork() {
  mutex_.lock();
  if (AsyncLogging* const log = instance_.load()) log->writer_.lockForFork();
}

RUNG_THREAD_ATTRIBUTE(no_thread_safety_analysis)
void AsyncLogging::afterForkInParent() {
  if (AsyncLogging* const log = instance_.load()) log->writer_.unlockInParent();
  mutex_.unlock();
}

RUNG_THREAD_ATTRIBUTE(no_thread_safety_analysis)
void AsyncLogging::afterForkInChild() {
  LogBuffer::abandonAll();
  if (AsyncLogging* const log = instance_.load()) {
    static BackEnd* abandoned = nullptr;  // still reachable, or leak checkers would report it
    if (log->backEnd_ != nullptr) abandoned = log->backEnd_.release();
    (void)abandoned;
    log->extraBlocks_ = 0;
    log->roundsDone_ = log->roundsBegun_;  // the one that went on is the parent's to end
    log->writer_.unlockInChild();
  }
  mutex_.unlock();
}

void AsyncLogging::rescue() noexcept {
  if (AsyncLogging* const log = instance_.load()) log->writer_.rescue();
}

}  // namespace rung
