#include "rung/net/Mailbox.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>

#include "rung/base/CurrentThread.h"
#include "rung/base/Logging.h"

namespace rung {

Mailbox::Mailbox(EventLoop* loop)
    : threadId_(CurrentThread::tid()),
      wakeupFd_(checkedFd(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), "eventfd")),
      loop_(loop) {}

bool Mailbox::post(Task task) {
  if (!task) LOG_FATAL << "an empty task was posted to an EventLoop";
  {
    const MutexLock lock(mutex_);
    if (loop_ == nullptr) return false;
    tasks_.push_back(std::move(task));
  }
  ringIfAsleep();
  return true;
}

void Mailbox::requestQuit() {
  {
    const MutexLock lock(mutex_);
    quit_ = true;
  }
  ringIfAsleep();
}

void Mailbox::wakeup() {
  ringIfAsleep();
}

bool Mailbox::isInLoopThread() const {
  return threadId_ == CurrentThread::tid();
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
  const MutexLock lock(mutex_);
  if (quit_) return Next::quit;
  if (!tasks_.empty()) return Next::poll;
  asleep_.store(true);
  return Next::wait;
}

void Mailbox::takeTasks(std::vector<Task>& batch) {
  const MutexLock lock(mutex_);
  tasks_.swap(batch);
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

void Mailbox::ringIfAsleep() {
  if (!asleep_.load() || !asleep_.exchange(false)) return;
  const std::uint64_t one = 1;
  // EAGAIN would mean a counter at its limit, and a loop that is woken anyway.
  ssize_t written = 0;
  do {
    written = write(wakeupFd_.get(), &one, sizeof one);
  } while (written < 0 && errno == EINTR);
  if (written < 0 && errno != EAGAIN) LOG_SYSERR << "write to eventfd";
}

}  // namespace rung
