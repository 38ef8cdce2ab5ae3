// On stage 08: two ways to do something every 10 ms, a hundred times. What is done takes 2 ms.

#include <chrono>
#include <cstdio>
#include <functional>

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

/// How late the last run is, if the first one should begin after one interval.
void report(const char* how, Clock::time_point start) {
  const auto late = Clock::now() - (start + kRuns * kInterval);
  std::printf(
      "%-8s %lld ms late\n", how,
      static_cast<long long>(std::chrono::duration_cast<std::chrono::milliseconds>(late).count()));
}

void runAgain(rung::EventLoop& loop, Clock::time_point start, int runs) {
  loop.runAfter(kInterval, [&loop, start, runs] {
    if (runs == kRuns) {
      report("runAfter", start);
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
      report("runEvery", start);
      return loop.quit();
    }
    work();
  });
  loop.loop();
}
