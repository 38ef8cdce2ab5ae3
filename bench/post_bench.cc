// What it costs to hand a task to a loop on another thread: build/release/bench/post-bench

#include <benchmark/benchmark.h>

#include <atomic>

#include "rung/base/CountDownLatch.h"
#include "rung/net/EventLoop.h"
#include "rung/net/EventLoopThread.h"

namespace {

/// Tasks a second, until all of them have run.
void postTasks(benchmark::State& state) {
  rung::EventLoopThread thread;
  rung::EventLoop* loop = thread.startLoop();
  std::atomic<std::int64_t> ran{0};
  std::int64_t posted = 0;
  for (auto _ : state) {
    for (int i = 0; i < 1000; ++i) {
      loop->queueInLoop([&ran] { ran.fetch_add(1, std::memory_order_relaxed); });
    }
    posted += 1000;
  }
  rung::CountDownLatch done(1);
  loop->queueInLoop([&done] { done.countDown(); });
  done.wait();
  state.SetItemsProcessed(posted);
}
BENCHMARK(postTasks)->UseRealTime();

/// From here to a loop that sleeps, and back.
void roundTrip(benchmark::State& state) {
  rung::EventLoopThread thread;
  rung::EventLoop* loop = thread.startLoop();
  for (auto _ : state) {
    rung::CountDownLatch done(1);
    loop->queueInLoop([&done] { done.countDown(); });
    done.wait();
  }
}
BENCHMARK(roundTrip)->UseRealTime();

}  // namespace

BENCHMARK_MAIN();
