#include <algorithm>
#include <list>
#include <utility>

#include "rung/base/Logging.h"
#include "rung/net/EventLoop.h"
#include "rung/net/TcpConnectionCalls.h"

// The timers of a TcpConnection. The loop's timer holds two pointers and no task: the connection
// owns the tasks, and so they end with it.

namespace rung {

TimerId TcpConnection::addTimer(std::chrono::steady_clock::duration delay, bool repeats,
                                Task&& task) {
  assertInLoopThread("runAfter() or runEvery()");
  if (!task) LOG_FATAL << "an empty task was given to a timer of " << name();
  if (!connected()) return {};
  std::list<Timer>& timers = extras().timers;
  const auto timer = timers.insert(timers.end(), {{}, repeats, std::move(task)});
  try {
    const auto run = [this, timer] { runTimer(timer); };
    timer->id = repeats ? loop()->runEvery(delay, run) : loop()->runAfter(delay, run);
  } catch (...) {
    timers.erase(timer);
    throw;
  }
  const TimerId id = timer->id;
  if (!id) timers.erase(timer);  // the loop is being destroyed
  return id;
}

/// The task may do anything: cancel its own timer, end the connection, destroy the server.
void TcpConnection::runTimer(std::list<Timer>::iterator timer) {
  const TcpConnectionPtr self = shared_from_this();
  Task task = std::move(timer->task);
  if (timer->repeats) {
    extras_->running = &*timer;
  } else {
    extras_->timers.erase(timer);
  }
  try {
    task();
  } catch (...) {
    callbackThrew("timer");
  }
  if (std::exchange(extras_->running, nullptr) != nullptr) timer->task = std::move(task);
}

bool TcpConnection::cancel(TimerId id) {
  assertInLoopThread("cancel()");
  if (!connected() || extras_ == nullptr) return false;
  std::list<Timer>& timers = extras_->timers;
  const auto found =
      std::find_if(timers.begin(), timers.end(), [&](const Timer& t) { return t.id == id; });
  if (found == timers.end()) return false;
  if (extras_->running == &*found) extras_->running = nullptr;
  std::list<Timer> ended;  // destroyed last: the captures may have timers of their own to end
  ended.splice(ended.end(), timers, found);
  (void)loop()->cancel(id);
  return true;
}

void TcpConnection::endTimers() {
  extras_->running = nullptr;
  const std::list<Timer> ended = std::exchange(extras_->timers, {});
  for (const Timer& timer : ended) {
    // A loop that is being destroyed takes its timers along.
    if (EventLoop* loop = profile_->mailbox->loop()) loop->cancel(timer.id);
  }
}

void TcpConnection::visit(const ConnectionCallback& callback) {
  if (connected()) call("forEachConnection", callback);
}

}  // namespace rung
