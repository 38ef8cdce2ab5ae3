#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <queue>
#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

#include "rung/net/EventLoop.h"
#include "rung/net/TimerHeap.h"

#ifdef BENCH_ASIO
#include <asio.hpp>
#endif
#ifdef BENCH_LIBEVENT
#include <event2/event.h>
#include <event2/event_struct.h>
#endif
#ifdef BENCH_LIBUV
#include <uv.h>
#endif

// Ways to keep many timers, all with the same interface:
//   Timers(count)     for that many at a time, numbered [0, count)
//   add(i, delay)     timer i counts one up when it runs
//   cancel(i)
//   settle()          what cancelling has put off and must be done by somebody
//   runDue()          runs all that are due; how many have run so far
// The callback is the same everywhere: it captures one pointer.

namespace bench {

using Clock = std::chrono::steady_clock;
using Delay = std::chrono::milliseconds;

/// rung's data structure alone.
class RungHeap {
 public:
  explicit RungHeap(std::size_t count) : ids_(count) {}
  void add(std::size_t i, Delay delay) {
    ids_[i] = heap_.add(Clock::now() + delay, {}, rung::Task([this] { ++ran_; }));
  }
  void cancel(std::size_t i) { (void)heap_.remove(ids_[i]); }
  void settle() {}
  std::uint64_t runDue() {
    due_.clear();
    heap_.takeExpired(Clock::now(), due_);
    for (const rung::TimerHeap::Expired& expired : due_)
      heap_.start(expired.id)();
    return ran_;
  }

 private:
  rung::TimerHeap heap_;
  std::vector<rung::TimerId> ids_;
  std::vector<rung::TimerHeap::Expired> due_;
  std::uint64_t ran_ = 0;
};

/// rung as its users see it: with the lock, the timerfd and the loop.
class RungLoop {
 public:
  explicit RungLoop(std::size_t count) : ids_(count) {}
  void add(std::size_t i, Delay delay) {
    ids_[i] = loop_.runAfter(delay, [this] { ++ran_; });
  }
  void cancel(std::size_t i) { loop_.cancel(ids_[i]); }
  void settle() {}
  std::uint64_t runDue() {
    // Of equal deadline, the one that was added last runs last.
    loop_.runAfter(Delay(0), [this] { loop_.quit(); });
    loop_.loop();
    return ran_;
  }

 private:
  rung::EventLoop loop_;
  std::vector<rung::TimerId> ids_;
  std::uint64_t ran_ = 0;
};

/// A tree ordered by deadline.
class StdSet {
 public:
  explicit StdSet(std::size_t count) : deadlines_(count) {}
  void add(std::size_t i, Delay delay) {
    deadlines_[i] = Clock::now() + delay;
    timers_.insert({deadlines_[i], i, [this] { ++ran_; }});
  }
  void cancel(std::size_t i) { timers_.erase(timers_.find({deadlines_[i], i, {}})); }
  void settle() {}
  std::uint64_t runDue() {
    const Clock::time_point now = Clock::now();
    while (!timers_.empty() && timers_.begin()->deadline <= now)
      timers_.extract(timers_.begin()).value().callback();
    return ran_;
  }

 private:
  struct Timer {
    Clock::time_point deadline;
    std::size_t number;
    std::function<void()> callback;
    bool operator<(const Timer& other) const {
      return std::pair(deadline, number) < std::pair(other.deadline, other.number);
    }
  };
  std::set<Timer> timers_;
  std::vector<Clock::time_point> deadlines_;
  std::uint64_t ran_ = 0;
};

/// A heap of deadlines, and a map from a timer's number to its callback. Cancelling only erases
/// from the map: the entry in the heap stays until its deadline, unless settle() sweeps.
class HeapAndMap {
 public:
  explicit HeapAndMap(std::size_t count) : ids_(count) {}
  void add(std::size_t i, Delay delay) {
    ids_[i] = ++lastId_;
    heap_.emplace(Clock::now() + delay, lastId_);
    callbacks_.emplace(lastId_, [this] { ++ran_; });
  }
  void cancel(std::size_t i) { callbacks_.erase(ids_[i]); }
  void settle() {
    while (!heap_.empty() && !callbacks_.contains(heap_.top().second))
      heap_.pop();
  }
  std::uint64_t runDue() {
    const Clock::time_point now = Clock::now();
    while (!heap_.empty() && heap_.top().first <= now) {
      const auto found = callbacks_.extract(heap_.top().second);
      heap_.pop();
      if (!found.empty()) found.mapped()();
    }
    return ran_;
  }

 private:
  using Entry = std::pair<Clock::time_point, std::uint64_t>;
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> heap_;
  std::unordered_map<std::uint64_t, std::function<void()>> callbacks_;
  std::vector<std::uint64_t> ids_;
  std::uint64_t lastId_ = 0;
  std::uint64_t ran_ = 0;
};

#ifdef BENCH_ASIO
/// Cancelling completes the wait with an error, which is delivered by the context.
class Asio {
 public:
  explicit Asio(std::size_t count) {
    timers_.reserve(count);
    for (std::size_t i = 0; i < count; ++i)
      timers_.emplace_back(context_);
  }
  void add(std::size_t i, Delay delay) {
    timers_[i].expires_after(delay);
    timers_[i].async_wait([this](const asio::error_code& error) {
      if (!error) ++ran_;
    });
  }
  void cancel(std::size_t i) { timers_[i].cancel(); }
  void settle() {
    context_.restart();
    context_.poll();
  }
  std::uint64_t runDue() {
    settle();
    return ran_;
  }

 private:
  asio::io_context context_{1};
  std::vector<asio::steady_timer> timers_;
  std::uint64_t ran_ = 0;
};
#endif

#ifdef BENCH_LIBEVENT
class Libevent {
 public:
  explicit Libevent(std::size_t count) : events_(count) {
    const auto count_one = [](evutil_socket_t, short, void* self) {
      ++static_cast<Libevent*>(self)->ran_;
    };
    for (event& timer : events_)
      event_assign(&timer, base_, -1, 0, count_one, this);
  }
  ~Libevent() {
    for (event& timer : events_)
      event_del(&timer);
    event_base_free(base_);
  }
  Libevent(const Libevent&) = delete;
  Libevent& operator=(const Libevent&) = delete;

  void add(std::size_t i, Delay delay) {
    const timeval time{delay.count() / 1000, (delay.count() % 1000) * 1000};
    event_add(&events_[i], &time);
  }
  void cancel(std::size_t i) { event_del(&events_[i]); }
  void settle() {}
  std::uint64_t runDue() {
    event_base_loop(base_, EVLOOP_NONBLOCK);
    return ran_;
  }

 private:
  static event_base* makeBase() {
    event_config* config = event_config_new();
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
    event_base* base = event_base_new_with_config(config);
    event_config_free(config);
    return base;
  }

  event_base* const base_ = makeBase();
  std::vector<event> events_;
  std::uint64_t ran_ = 0;
};
#endif

#ifdef BENCH_LIBUV
class Libuv {
 public:
  explicit Libuv(std::size_t count) : timers_(count) {
    uv_loop_init(&loop_);
    for (uv_timer_t& timer : timers_) {
      uv_timer_init(&loop_, &timer);
      timer.data = this;
    }
  }
  ~Libuv() {
    for (uv_timer_t& timer : timers_)
      uv_close(reinterpret_cast<uv_handle_t*>(&timer), nullptr);
    uv_run(&loop_, UV_RUN_DEFAULT);
    uv_loop_close(&loop_);
  }
  Libuv(const Libuv&) = delete;
  Libuv& operator=(const Libuv&) = delete;

  void add(std::size_t i, Delay delay) {
    const auto count_one = [](uv_timer_t* timer) { ++static_cast<Libuv*>(timer->data)->ran_; };
    uv_timer_start(&timers_[i], count_one, static_cast<std::uint64_t>(delay.count()), 0);
  }
  void cancel(std::size_t i) { uv_timer_stop(&timers_[i]); }
  void settle() {}
  std::uint64_t runDue() {
    uv_run(&loop_, UV_RUN_NOWAIT);
    return ran_;
  }

 private:
  uv_loop_t loop_;
  std::vector<uv_timer_t> timers_;
  std::uint64_t ran_ = 0;
};
#endif

}  // namespace bench
