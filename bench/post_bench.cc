// What it costs to hand a task to a loop on another thread: build/bench/bench/post-bench

#include <benchmark/benchmark.h>
#include <sched.h>

#include <cstddef>
#include <cstdint>

#include "rung/base/CountDownLatch.h"
#include "rung/net/EventLoop.h"
#include "rung/net/EventLoopThread.h"

#ifdef BENCH_ASIO
#include <asio.hpp>
#include <thread>
#endif
#ifdef BENCH_LIBUV
#include <uv.h>

#include <functional>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>
#endif

namespace {

/// Keeps this thread on the first or the last core that the process may use. Left to itself, the
/// scheduler puts the two threads on one core in some runs, and the figures have two levels.
void stayOn(bool lastCore) {
  static const cpu_set_t allowed = [] {
    cpu_set_t cores;
    sched_getaffinity(0, sizeof cores, &cores);
    return cores;
  }();
  std::size_t core = CPU_SETSIZE;
  for (std::size_t i = 0; i < CPU_SETSIZE; ++i) {
    if (CPU_ISSET(i, &allowed) && (lastCore || core == CPU_SETSIZE)) core = i;
  }
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(core, &one);
  sched_setaffinity(0, sizeof one, &one);
}

template <class Peer>
void onTwoCores(Peer& peer) {
  stayOn(false);
  rung::CountDownLatch moved(1);
  peer.post([&moved] {
    stayOn(true);
    moved.countDown();
  });
  moved.wait();
}

/// Each peer: a loop that sleeps on a thread of its own, and post() for any other thread.
class Rung {
 public:
  template <class Task>
  void post(Task task) {
    loop_->queueInLoop(std::move(task));
  }

 private:
  rung::EventLoopThread thread_;
  rung::EventLoop* const loop_ = thread_.startLoop();
};

#ifdef BENCH_ASIO
class Asio {
 public:
  ~Asio() {
    guard_.reset();
    thread_.join();
  }
  template <class Task>
  void post(Task task) {
    asio::post(context_, std::move(task));
  }

 private:
  asio::io_context context_{1};
  asio::executor_work_guard<asio::io_context::executor_type> guard_ =
      asio::make_work_guard(context_);
  std::thread thread_{[this] { context_.run(); }};
};
#endif

#ifdef BENCH_LIBUV
/// libuv has a wake-up that any thread may call, and leaves the queue to its user.
class Libuv {
 public:
  Libuv() {
    uv_loop_init(&loop_);
    uv_async_init(&loop_, &wakeUp_,
                  [](uv_async_t* handle) { static_cast<Libuv*>(handle->data)->runTasks(); });
    wakeUp_.data = this;
    thread_ = std::thread([this] { uv_run(&loop_, UV_RUN_DEFAULT); });
  }
  ~Libuv() {
    post([this] { uv_close(reinterpret_cast<uv_handle_t*>(&wakeUp_), nullptr); });
    thread_.join();
    uv_loop_close(&loop_);
  }
  template <class Task>
  void post(Task task) {
    {
      const std::lock_guard lock(mutex_);
      tasks_.emplace_back(std::move(task));
    }
    uv_async_send(&wakeUp_);
  }

 private:
  void runTasks() {
    {
      const std::lock_guard lock(mutex_);
      batch_.swap(tasks_);
    }
    for (const auto& task : batch_)
      task();
    batch_.clear();
  }

  uv_loop_t loop_;
  uv_async_t wakeUp_;
  std::mutex mutex_;
  std::vector<std::function<void()>> tasks_;
  std::vector<std::function<void()>> batch_;
  std::thread thread_;
};
#endif

/// From the first post until the last task has run: a queue that only grows is not fast.
template <class Peer>
void post(benchmark::State& state) {
  constexpr std::int64_t kTasks = 100'000;
  Peer peer;
  onTwoCores(peer);
  std::int64_t ran = 0;  // the loop's; the latch hands it over
  const auto postAll = [&] {
    for (std::int64_t i = 0; i < kTasks; ++i)
      peer.post([&ran] { ++ran; });
    rung::CountDownLatch done(1);
    peer.post([&done] { done.countDown(); });
    done.wait();
  };
  // The queue grows once; what that costs is not what is asked here.
  constexpr int kWarmUp = 10;
  for (int i = 0; i < kWarmUp; ++i)
    postAll();
  for (auto _ : state)
    postAll();
  if (ran != (state.iterations() + kWarmUp) * kTasks) state.SkipWithError("tasks are missing");
  state.SetItemsProcessed(state.iterations() * kTasks);
}

/// From here to a loop that sleeps, and back.
template <class Peer>
void roundTrip(benchmark::State& state) {
  Peer peer;
  onTwoCores(peer);
  for (auto _ : state) {
    rung::CountDownLatch done(1);
    peer.post([&done] { done.countDown(); });
    done.wait();
  }
}

BENCHMARK(post<Rung>)->Name("post/rung")->UseRealTime();
BENCHMARK(roundTrip<Rung>)->Name("round-trip/rung")->UseRealTime();
#ifdef BENCH_ASIO
BENCHMARK(post<Asio>)->Name("post/asio")->UseRealTime();
BENCHMARK(roundTrip<Asio>)->Name("round-trip/asio")->UseRealTime();
#endif
#ifdef BENCH_LIBUV
BENCHMARK(post<Libuv>)->Name("post/libuv")->UseRealTime();
BENCHMARK(roundTrip<Libuv>)->Name("round-trip/libuv")->UseRealTime();
#endif

}  // namespace

BENCHMARK_MAIN();
