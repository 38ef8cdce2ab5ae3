#include "rung/net/Mailbox.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>

#include "rung/base/Logging.h"

namespace rung {

Mailbox::Mailbox(EventLoop* loop)
    : threadId_(CurrentThread::tid()),
      wakeupFd_(checkedFd(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), "eventfd")),
      loop_(loop) {}

bool Mailbox::post(Task&& task) {
  if (!task) LOG_FATAL << "an empty task was posted to an EventLoop";
  std::shared_ptr<Mailbox> sleeper;
  {
    const MutexLock lock(mutex_);
    if (loop_ == nullptr) return false;
    tasks_.push_back(std::move(task));
    sleeper = askForAttention();
  }
  if (sleeper != nullptr) sleeper->ring();
  return true;
}

void Mailbox::requestQuit() {
  std::shared_ptr<Mailbox> sleeper;
  {
    const MutexLock lock(mutex_);
    quit_ = true;
    sleeper = askForAttention();
  }
  if (sleeper != nullptr) sleeper->ring();
}

void Mailbox::wakeup() {
  std::shared_ptr<Mailbox> sleeper;
  {
    const MutexLock lock(mutex_);
    sleeper = askForAttention();
  }
  if (sleeper != nullptr) sleeper->ring();
}

EventLoop* Mailbox::loop() const {
  const MutexLock lock(mutex_);
  return loop_;
}

bool Mailbox::looping() const {
  const MutexLock lock(mutex_);
  return looping_;
}

Mailbox::Next Mailbox::beforeWait() {
  if (attention_.load()) return nextUnderLock();
  // First the sign on the door, then the last look. Who posts does it the other way round: sets
  // `attention_`, then looks at the sign. Whichever is first, one of the two sees the other; this
  // takes the order that sequentially consistent atomics have among each other.
  asleep_.store(true);
  if (!attention_.load()) return Next::wait;
  asleep_.store(false);
  return nextUnderLock();
}

Mailbox::Next Mailbox::nextUnderLock() {
  const MutexLock lock(mutex_);
  return quit_ ? Next::quit : Next::poll;
}

void Mailbox::takeTasks(std::vector<Task>& batch) {
  if (!attention_.load()) return;
  const MutexLock lock(mutex_);
  tasks_.swap(batch);
  attention_.store(quit_);
}

void Mailbox::enterLoop() {
  const MutexLock lock(mutex_);
  looping_ = true;
}

void Mailbox::leaveLoop() {
  const MutexLock lock(mutex_);
  looping_ = false;
  // Cleared on the way out and not on the way in, so that a quit before loop() is not lost.
  quit_ = false;
  attention_.store(!tasks_.empty());
}

void Mailbox::close() {
  std::vector<Task> unrun;  // destroyed outside the lock: what they own may post
  const MutexLock lock(mutex_);
  loop_ = nullptr;
  tasks_.swap(unrun);
}

std::uint64_t Mailbox::drainWakeups() {
  std::uint64_t count = 0;
  if (read(wakeupFd_.get(), &count, sizeof count) == sizeof count) return count;
  if (errno != EAGAIN && errno != EINTR) LOG_SYSERR << "read from eventfd";
  return 0;
}

std::shared_ptr<Mailbox> Mailbox::askForAttention() {
  // Cleared with the mutex held only; so where it is set it stays, and no cache line has to move.
  if (!attention_.load(std::memory_order_relaxed)) attention_.store(true);
  if (!asleep_.load() || !asleep_.exchange(false)) return nullptr;
  // Once the mutex is free the loop may run the task, end, and be destroyed with its reference.
  return shared_from_this();
}

void Mailbox::ring() {
  const std::uint64_t one = 1;
  // EAGAIN would mean a counter at its limit, and a loop that is woken anyway.
  ssize_t written = 0;
  do {
    written = write(wakeupFd_.get(), &one, sizeof one);
  } while (written < 0 && errno == EINTR);
  if (written < 0 && errno != EAGAIN) LOG_SYSERR << "write to eventfd";
}

}  // namespace rung
