// Timers of a loop: once, again and again, and not at all.

#include <chrono>
#include <cstdio>

#include "rung/net/EventLoop.h"

using namespace std::chrono_literals;

int main() {
  rung::EventLoop loop;
  int ticks = 0;
  rung::TimerId ticker = loop.runEvery(10ms, [&] {
    std::printf("tick %d\n", ++ticks);
    if (ticks == 3) loop.cancel(ticker);  // from its own callback, too
  });
  const rung::TimerId never = loop.runAfter(5ms, [] { std::printf("never printed\n"); });
  loop.cancel(never);
  loop.runAfter(100ms, [&] {
    std::printf("done\n");
    loop.quit();
  });
  loop.loop();
}
