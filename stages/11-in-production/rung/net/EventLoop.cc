#include "rung/net/EventLoop.h"

#include <sys/epoll.h>

#include <algorithm>
#include <climits>
#include <cstdlib>
#include <stdexcept>

#include "rung/base/CurrentThread.h"
#include "rung/base/Guarded.h"
#include "rung/base/Logging.h"
#include "rung/net/Mailbox.h"
#include "rung/net/TimerQueue.h"

namespace rung {

namespace {

constexpr std::chrono::milliseconds kForever{-1};
constexpr std::chrono::milliseconds kNoWait{0};
constexpr std::chrono::milliseconds kLongest{INT_MAX};  // of a wait of the kernel

// The memory of so many tasks is not large, and is kept for the next batches.
constexpr std::size_t kKeptTasks = 1024;
constexpr int kSmallBatchesUntilFreed = 100;

// True when the thread's variables with a destructor are gone: a loop with static storage is
// destroyed after them.
constinit thread_local bool threadHasEnded = false;

// The Mailbox and not the loop: a loop that is destroyed on another thread cannot clear this
// variable, but its Mailbox says that it is gone.
struct MailboxOfThread {
  std::shared_ptr<Mailbox> mailbox;
  ~MailboxOfThread() { threadHasEnded = true; }
};
thread_local MailboxOfThread ofThisThread;

}  // namespace

EventLoop::EventLoop(PollerKind kind)
    : poller_(Poller::create(kind)),
      mailbox_(std::make_shared<Mailbox>(this)),
      wakeupChannel_(this, mailbox_->wakeupFd()),
      timers_(std::make_unique<TimerQueue>(this)) {
  if (const EventLoop* other = ofCurrentThread()) {
    LOG_FATAL << "thread " << CurrentThread::tid() << " has an EventLoop already, at " << other;
  }
  activeChannels_.reserve(1);  // a round that finds no memory has room for one event
  wakeupChannel_.setReadCallback([this](Timestamp) { wakeups_ += mailbox_->drainWakeups(); });
  wakeupChannel_.enableReading();
  // Last: if the line above throws, this thread has no loop.
  if (!threadHasEnded) ofThisThread.mailbox = mailbox_;
}

EventLoop::~EventLoop() {
  if (mailbox_->looping()) LOG_FATAL << "EventLoop destroyed while loop() runs";
  // First the Channels learn that the loop is gone. Then the tasks and timers that will not run are
  // destroyed: their captures may own Channels.
  poller_.reset();
  mailbox_->close();
  timers_->close();
  if (!threadHasEnded && ofThisThread.mailbox == mailbox_) ofThisThread.mailbox.reset();
}

// Inline, as a round with nothing but one event is a hundred instructions.
[[gnu::always_inline]] inline void EventLoop::round(std::chrono::milliseconds timeout) {
  pollReturnTime_ = poller_->poll(timeout, activeChannels_);
  mailbox_->afterWait();
  rounds_.add(1);
  if (watch_.started()) return finishWatchedRound();
  dispatchActiveChannels();
  runQueuedTasks();
}

void EventLoop::loop() {
  enter("loop()");
  for (auto next = mailbox_->beforeWait(); next != Mailbox::Next::quit;
       next = mailbox_->beforeWait()) {
    round(next == Mailbox::Next::wait ? kForever : kNoWait);
  }
  finish();
}

bool EventLoop::runRound(std::chrono::nanoseconds timeout) {
  enter("runOnce()");
  const auto next = mailbox_->beforeWait();
  if (next != Mailbox::Next::quit) {
    const auto upTo = std::chrono::ceil<std::chrono::milliseconds>(timeout);
    round(next == Mailbox::Next::wait ? std::clamp(upTo, kNoWait, kLongest) : kNoWait);
    if (rest()) return true;
  }
  finish();
  (void)rest();  // should the caller begin anew
  return false;
}

// Between two rounds, while the thread does other things, the loop counts as asleep: each post
// writes to the eventfd, which the host sees. What was posted before, while it was awake, did not.
bool EventLoop::rest() {
  const auto next = mailbox_->beforeWait();
  if (next == Mailbox::Next::quit) return false;
  if (next == Mailbox::Next::poll) mailbox_->wakeup();
  mailbox_->restLoop();
  return true;
}

int EventLoop::pollFd() {
  assertInLoopThread();
  if (poller_->fd() < 0) throw std::logic_error("pollFd() of an EventLoop on poll(2)");
  if (!mailbox_->looping() && !rest()) mailbox_->wakeup();  // for a quit() that came before
  return poller_->fd();
}

void EventLoop::enter(const char* what) {
  assertInLoopThread();
  if (mailbox_->looping()) LOG_FATAL << what << " called from within loop() or runOnce()";
  mailbox_->enterLoop();
}

void EventLoop::finish() {
  runQueuedTasks();
  mailbox_->leaveLoop();
}

void EventLoop::dispatchActiveChannels() {
  for (nextActive_ = 0; nextActive_ < activeChannels_.size();) {
    Channel* channel = activeChannels_[nextActive_++];
    if (channel != nullptr) channel->handleEvent(pollReturnTime_);
  }
  activeChannels_.clear();
  nextActive_ = 0;
}

void EventLoop::finishWatchedRound() {
  watch_.roundBegins();
  for (nextActive_ = 0; nextActive_ < activeChannels_.size();) {
    Channel* channel = activeChannels_[nextActive_++];
    if (channel != nullptr) dispatchWatched(*channel);
  }
  activeChannels_.clear();
  nextActive_ = 0;
  runQueuedTasks();
  watch_.roundEnds();
}

// What is to be known of the Channel is asked before: its callback may end it.
void EventLoop::dispatchWatched(Channel& channel) {
  const int fd = channel.fd();
  const std::uint32_t happened = channel.revents();
  CallbackKind kind = CallbackKind::write;
  if ((happened & (EPOLLHUP | EPOLLERR)) != 0) kind = CallbackKind::close;
  if ((happened & (EPOLLIN | EPOLLPRI | EPOLLRDHUP)) != 0) kind = CallbackKind::read;
  if (fd == timers_->fd()) kind = CallbackKind::timer;
  channel.handleEvent(pollReturnTime_);
  watch_.ran(kind, fd);
}

void EventLoop::runQueuedTasks() {
  if (mailbox_->takeTasks(batch_)) runBatch();
}

void EventLoop::runBatch() {
  runGuarded(
      [this] {
        for (Task& task : batch_) {
          task();
          task.reset();  // destroys its captures now, not after the last task of the batch
          if (watch_.started()) watch_.ran(CallbackKind::task, -1);
        }
      },
      [] { return "a task of an EventLoop"; });
  const std::size_t count = batch_.size();
  tasksRun_.add(count);
  batch_.clear();
  if (batch_.capacity() > kKeptTasks) giveMemoryBack(count);
}

// Frees the memory of a burst of tasks, after many batches in a row have used a quarter of it at
// most. There are two vectors, which change places with each batch: the next batch frees the other
// one.
void EventLoop::giveMemoryBack(std::size_t usedTasks) {
  if (usedTasks > batch_.capacity() / 4) {
    smallBatches_ = 0;
  } else if (++smallBatches_ > kSmallBatchesUntilFreed) {
    std::vector<Task>().swap(batch_);
  }
}

// The loop may end, and be destroyed, before this returns: the Mailbox allows for that.
void EventLoop::quit() {
  mailbox_->requestQuit();
}

void EventLoop::runInLoop(Task task) {
  if (isInLoopThread()) {
    if (!task) LOG_FATAL << "an empty task was given to EventLoop::runInLoop()";
    task();
  } else {
    queueInLoop(std::move(task));
  }
}

void EventLoop::queueInLoop(Task task) {
  (void)mailbox_->post(std::move(task));
}

TimerId EventLoop::addTimerAt(std::chrono::steady_clock::time_point deadline, Task&& task) {
  return timers_->addAt(deadline, std::move(task));
}

TimerId EventLoop::addTimerAfter(std::chrono::steady_clock::duration delay, Task&& task) {
  return timers_->addAfter(delay, std::move(task));
}

TimerId EventLoop::addTimerEvery(std::chrono::steady_clock::duration interval, Task&& task) {
  return timers_->addEvery(interval, std::move(task));
}

bool EventLoop::cancel(TimerId id) {
  return timers_->cancel(id);
}

LoopStats EventLoop::stats() const {
  LoopStats stats;
  stats.rounds = rounds_.value();
  stats.tasksRun = tasksRun_.value();
  stats.tasksWaiting = mailbox_->waitingTasks();
  watch_.addTo(stats);
  return stats;
}

void EventLoop::wakeup() {
  mailbox_->wakeup();
}

bool EventLoop::isInLoopThread() const {
  return mailbox_->isInLoopThread();
}

EventLoop* EventLoop::ofCurrentThread() {
  if (threadHasEnded || ofThisThread.mailbox == nullptr) return nullptr;
  // In a child of fork(2) it is the parent's.
  return ofThisThread.mailbox->isInLoopThread() ? ofThisThread.mailbox->loop() : nullptr;
}

void EventLoop::abortNotInLoopThread() const {
  LOG_FATAL << "EventLoop " << this << " belongs to thread " << mailbox_->threadId()
            << " but was used from thread " << CurrentThread::tid()
            << (mailbox_->inForkedChild()
                    ? ", in a forked child: make the loop after fork() or daemon()"
                    : "");
  std::abort();  // not reached; LOG_FATAL cannot be declared [[noreturn]]
}

void EventLoop::updateChannel(Channel* channel) {
  assertInLoopThread();
  poller_->updateChannel(channel);
}

void EventLoop::removeChannel(Channel* channel) {
  assertInLoopThread();
  poller_->removeChannel(channel);
  // It may be ready in the current batch, and its owner may delete it right after this call.
  const auto rest = activeChannels_.begin() + static_cast<std::ptrdiff_t>(nextActive_);
  std::replace(rest, activeChannels_.end(), channel, static_cast<Channel*>(nullptr));
}

bool EventLoop::hasChannel(const Channel* channel) const {
  assertInLoopThread();
  return poller_->hasChannel(channel);
}

}  // namespace rung
