// On stage 02: another thread asks the loop to quit, and the loop sleeps on.
//
// The flag is set, and no thread looks at it: the loop's thread is in epoll_wait(2). This program
// is ended from outside.

#include <chrono>
#include <cstdio>
#include <thread>

#include "rung/net/EventLoop.h"

using namespace std::chrono_literals;

int main() {
  rung::EventLoop loop;
  std::thread other([&] {
    std::this_thread::sleep_for(100ms);  // the loop is asleep by now
    loop.quit();
    std::puts("quit() has returned");
    std::fflush(stdout);
  });
  loop.loop();
  std::puts("the loop has ended");
  other.join();
}
