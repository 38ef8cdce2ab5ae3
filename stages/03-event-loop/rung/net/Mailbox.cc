#include "rung/net/Mailbox.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>

#include "rung/base/Logging.h"

namespace rung {

namespace {

// A wish to quit is written to the eventfd as this number, a ring as 1: a read gives their sum. The
// kernel's counter has room for 65,535 wishes, and refuses more with EAGAIN; rings never reach it.
constexpr std::uint64_t kQuit = std::uint64_t{1} << 48;

}  // namespace

Mailbox::Mailbox(EventLoop* loop)
    : threadId_(CurrentThread::tid()),
      processId_(getpid()),
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
  if (sleeper != nullptr) sleeper->ring(1);
  return true;
}

// No lock, since a signal handler may have interrupted a thread that holds it. On another thread,
// one write both asks for the end and wakes the loop. It is the last use of the Mailbox: after it,
// the loop may end, and be destroyed with the last reference.
void Mailbox::requestQuit() {
  if (inForkedChild()) return;  // the eventfd is shared with the parent, whose loop would end
  if (gettid() != threadId_) {  // not CurrentThread::tid(), whose first call takes a lock
    ring(kQuit);
    return;
  }
  // In a callback, or in a signal handler, which may run right before the wait.
  quit_.store(true);
  if (asleep_.load()) ring(1);
}

void Mailbox::wakeup() {
  ring(1);
}

bool Mailbox::inForkedChild() const {
  return getpid() != processId_;
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
  if (attention_.load()) return next();
  // First set `asleep_`, then look at `attention_` a last time. A thread that posts does it in the
  // other order: it sets `attention_`, then looks at `asleep_`. So at least one of the two sees
  // what the other has set. This needs the single order of all sequentially consistent operations.
  asleep_.store(true);
  if (!attention_.load() && !quit_.load()) return Next::wait;
  asleep_.store(false);
  return next();
}

bool Mailbox::takeTasks(std::vector<Task>& batch) {
  if (!attention_.load()) return false;
  const MutexLock lock(mutex_);
  tasks_.swap(batch);
  attention_.store(false);
  return true;
}

void Mailbox::enterLoop() {
  const MutexLock lock(mutex_);
  looping_ = true;
}

void Mailbox::leaveLoop() {
  // Cleared when loop() ends and not when it begins, so that a quit before loop() is not lost.
  (void)drainWakeups();
  quit_.store(false);
  const MutexLock lock(mutex_);
  looping_ = false;
}

void Mailbox::close() {
  std::vector<Task> unrun;  // destroyed outside the lock: their captures may post
  const MutexLock lock(mutex_);
  loop_ = nullptr;
  tasks_.swap(unrun);
}

std::uint64_t Mailbox::drainWakeups() {
  std::uint64_t count = 0;
  if (read(wakeupFd_.get(), &count, sizeof count) != sizeof count) {
    if (errno != EAGAIN && errno != EINTR) LOG_SYSERR << "read from eventfd";
    return 0;
  }
  if (count >= kQuit) quit_.store(true);
  return count % kQuit;
}

std::shared_ptr<Mailbox> Mailbox::askForAttention() {
  // It is cleared only with the mutex held. So if it is set it stays set, and no cache line moves.
  if (!attention_.load(std::memory_order_relaxed)) attention_.store(true);
  if (!asleep_.load() || !asleep_.exchange(false)) return nullptr;
  // When the mutex is free, the loop may run the task, end, and be destroyed with its reference.
  return shared_from_this();
}

void Mailbox::ring(std::uint64_t count) {
  const int callersErrno = errno;  // a signal handler leaves it as it was
  ssize_t written = 0;
  do {
    written = write(wakeupFd_.get(), &count, sizeof count);
  } while (written < 0 && errno == EINTR);
  // EAGAIN would mean that the counter is at its limit: then the loop wakes up anyway.
  if (written < 0 && errno != EAGAIN) LOG_SYSERR << "write to eventfd";
  errno = callersErrno;
}

}  // namespace rung
