#include "rung/base/AsyncLogging.h"

#include <algorithm>
#include <cstdlib>
#include <stdexcept>
#include <utility>

#include "rung/base/Deadline.h"
#include "rung/base/Logging.h"

namespace rung {

namespace {

constexpr std::size_t kNoticeBytes = 256;  // the line that tells of dropped ones is shorter

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
  return options;
}

}  // namespace

constinit Mutex AsyncLogging::mutex_;
constinit std::atomic<AsyncLogging*> AsyncLogging::instance_{nullptr};

AsyncLogging::AsyncLogging(Options options)
    : options_(checked(std::move(options))), file_(options_.file) {
  // It looks for the instance when its time comes, and so it need not be undone.
  static const int once = std::atexit(stopInstance);
  (void)once;
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
  bool startedTwice = false;
  {
    const MutexLock lock(mutex_);
    startedTwice = state_ != State::stopped;
    if (!startedTwice) {
      waitForWaiters();  // a stop() that waits for the end of the last one is not for this one
      file_.open();
      filling_.reserve(options_.blockBytes + kNoticeBytes);
      full_.reserve(options_.blockBytes + kNoticeBytes);
      backEnd_ = std::make_unique<Thread>([this] { runBackEnd(); }, "log");
      backEnd_->start();  // it waits for mutex_ next
      state_ = State::running;
    }
  }
  if (startedTwice) LOG_FATAL << "AsyncLogging started twice";
}

// Of stop() and of exit(). At exit() another thread may be in the destructor, so the instance is
// looked for under the lock, and the destructor waits for those who have found it.
void AsyncLogging::stopInstance() {
  AsyncLogging* log = nullptr;
  {
    const MutexLock lock(mutex_);
    log = instance_.load();
    if (log == nullptr) return;
    while (log->state_ == State::stopping)
      log->waitForProgress();  // for the one who came first
    if (log->state_ == State::stopped) return;
    log->state_ = State::stopping;
    log->wakeUp_.notifyOne();
  }
  log->backEnd_->join();
  const MutexLock lock(mutex_);
  log->state_ = State::stopped;
  log->progress_.notifyAll();
}

void AsyncLogging::attach() {
  Logger::setFlush(flushInstance);
  Logger::setOutput(appendToInstance);
}

std::uint64_t AsyncLogging::droppedLines() const {
  const MutexLock lock(mutex_);
  return droppedLines_;
}

std::uint64_t AsyncLogging::lostLines() const {
  const MutexLock lock(mutex_);
  return state_ == State::stopped ? file_.lostLines() : lostLines_;
}

void AsyncLogging::appendToInstance(std::string_view lines) {
  {
    const MutexLock lock(mutex_);
    if (AsyncLogging* const log = instance_.load()) return log->add(lines);
  }
  Logger::writeToStdout(lines);
}

void AsyncLogging::add(std::string_view lines) {
  while (state_ != State::stopped) {
    // Once stop() has begun nothing is added, or there might always be something to write.
    if (state_ == State::running) {
      if (!fits(lines) && !isFull_) {
        swap();
        wakeUp_.notifyOne();
      }
      if (fits(lines)) {
        tellDropped();
        filling_.append(lines);
        appendedBytes_ += lines.size();
        return;
      }
      if (options_.whenFull == WhenFull::drop && !Logger::aborting()) {
        const auto count = std::count(lines.begin(), lines.end(), '\n');
        droppedLines_ += static_cast<std::uint64_t>(count);
        droppedHere_ += static_cast<std::uint64_t>(count);
        return;
      }
    }
    waitForProgress();
  }
  file_.append(lines);
}

/// A line that is longer than a buffer has one to itself.
bool AsyncLogging::fits(std::string_view lines) const {
  return filling_.empty() || filling_.size() + lines.size() <= options_.blockBytes;
}

void AsyncLogging::tellDropped() {
  if (droppedHere_ == 0) return;
  const std::size_t before = filling_.size();
  filling_ += formatLogLine(Timestamp::now(), LogLevel::warn, __FILE__, __LINE__,
                            std::to_string(std::exchange(droppedHere_, 0)) +
                                " log lines dropped here: the buffers were full");
  appendedBytes_ += filling_.size() - before;
}

void AsyncLogging::swap() {
  tellDropped();
  filling_.swap(full_);
  isFull_ = !full_.empty();
}

void AsyncLogging::flushInstance() {
  const MutexLock lock(mutex_);
  AsyncLogging* const log = instance_.load();
  if (log == nullptr || log->state_ == State::stopped) return;
  const std::uint64_t all = log->appendedBytes_;
  log->flushUpTo_ = all;
  log->wakeUp_.notifyOne();
  while (log->state_ != State::stopped && log->writtenBytes_ < all)
    log->waitForProgress();
}

// They use this object until they are out of waitForProgress() and the lock is free again.
void AsyncLogging::waitForWaiters() {
  while (waiting_ > 0)
    progress_.wait(mutex_);
}

void AsyncLogging::waitForProgress() {
  ++waiting_;
  progress_.wait(mutex_);
  if (--waiting_ == 0) progress_.notifyAll();
}

void AsyncLogging::runBackEnd() {
  while (const std::string* const lines = waitForWork()) {
    file_.append(*lines);  // without the lock: the others go on
    const MutexLock lock(mutex_);
    lostLines_ = file_.lostLines();
    writtenBytes_ += full_.size();
    full_.clear();
    isFull_ = false;
    progress_.notifyAll();
  }
}

/// Returns what is to be written, or nullptr if stop() was called and nothing is left.
const std::string* AsyncLogging::waitForWork() {
  const MutexLock lock(mutex_);
  for (;;) {
    const auto deadline = deadlineAfter(options_.flushInterval);
    while (!isFull_ && state_ == State::running && flushUpTo_ <= writtenBytes_) {
      if (!wakeUp_.waitUntil(mutex_, deadline)) break;
    }
    if (!isFull_) swap();
    if (isFull_) return &full_;  // else it is not the back-end's
    if (state_ != State::running) return nullptr;
  }
}

}  // namespace rung
