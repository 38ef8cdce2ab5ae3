// On stage 08: two ways to do something every 10 ms, a hundred times. The work takes 2 ms.

#include <chrono>
#include <cstdio>

#include "rung/net/EventLoop.h"

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

namespace {

constexpr int kRuns = 100;
constexpr Clock::duration kInterval = 10ms;

void work() {
  for (const Clock::time_point end = Clock::now() + 2ms; Clock::now() < end;) {
  }
}

long long inMilliseconds(Clock::duration time) {
  return static_cast<long long>(
      std::chrono::duration_cast<std::chrono::milliseconds>(time).count());
}

/// How late the last run is. The first one should begin after one interval.
void reportLateness(Clock::time_point start) {
  const auto late = Clock::now() - (start + kRuns * kInterval);
  std::printf("runAfter: %lld ms late\n", inMilliseconds(late));
}

/// How far the last run is from the grid: the moments `start` plus a multiple of the interval. On a
/// busy machine the loop may miss some of them, and a repeating timer leaves those out.
void reportDistance(Clock::time_point start) {
  const auto past = Clock::now() - start;
  std::printf("runEvery: %lld ms off the grid, %lld intervals left out\n",
              inMilliseconds(past % kInterval), static_cast<long long>(past / kInterval) - kRuns);
}

void runAgain(rung::EventLoop& loop, Clock::time_point start, int runs) {
  loop.runAfter(kInterval, [&loop, start, runs] {
    if (runs == kRuns) {
      reportLateness(start);
      return loop.quit();
    }
    work();
    runAgain(loop, start, runs + 1);
  });
}

}  // namespace

int main() {
  rung::EventLoop loop;
  runAgain(loop, Clock::now(), 1);
  loop.loop();

  int runs = 0;
  const Clock::time_point start = Clock::now();
  loop.runEvery(kInterval, [&] {
    if (++runs == kRuns) {
      reportDistance(start);
      return loop.quit();
    }
    work();
  });
  loop.loop();
}
