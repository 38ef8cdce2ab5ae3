// Not a failure but a measurement, on stage 04: a thread for each task against a pool of two.

#include <atomic>
#include <chrono>
#include <cstdio>
#include <thread>

#include "rung/base/ThreadPool.h"

namespace {

constexpr int kTasks = 20'000;
using Clock = std::chrono::steady_clock;

double microsecondsATask(Clock::time_point begin) {
  const std::chrono::duration<double, std::micro> took = Clock::now() - begin;
  return took.count() / kTasks;
}

}  // namespace

int main() {
  std::atomic<int> ran{0};
  auto begin = Clock::now();
  for (int i = 0; i < kTasks; ++i)
    std::thread([&] { ++ran; }).join();
  std::printf("a thread for each task: %5.2f us a task\n", microsecondsATask(begin));

  begin = Clock::now();
  rung::ThreadPool pool;
  pool.start(2);
  for (int i = 0; i < kTasks; ++i)
    pool.run([&] { ++ran; });
  pool.stop();
  std::printf("a pool of two threads:  %5.2f us a task\n", microsecondsATask(begin));
  return ran == 2 * kTasks ? 0 : 1;
}
