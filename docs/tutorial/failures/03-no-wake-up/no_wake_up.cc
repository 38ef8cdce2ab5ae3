// On stage 02: another thread leaves work for the loop, and the loop does not see it.
//
// The work lies in a list under a mutex, and the loop looks into the list each time it has handled
// an event. There is no data race, and no bug in the list. But the loop sleeps in epoll_wait(2),
// which knows nothing of lists: the work waits until a byte happens to arrive.

#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <functional>
#include <future>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "rung/net/Channel.h"
#include "rung/net/EventLoop.h"

using namespace std::chrono_literals;

namespace {

std::mutex mutex;
std::vector<std::function<void()>> waiting;  // guarded by mutex

void leaveWork(std::function<void()> work) {
  const std::lock_guard<std::mutex> lock(mutex);
  waiting.push_back(std::move(work));
}

void runWhatWaits() {
  std::vector<std::function<void()>> batch;
  {
    const std::lock_guard<std::mutex> lock(mutex);
    batch.swap(waiting);
  }
  for (const auto& work : batch)
    work();
}

}  // namespace

int main() {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0) {
    std::perror("socketpair");
    return 2;
  }
  rung::EventLoop loop;
  rung::Channel client(&loop, ends[0]);
  client.setReadCallback([&](rung::Timestamp) {
    char byte;
    if (read(ends[0], &byte, 1) < 0) std::perror("read");
    runWhatWaits();
    loop.quit();
  });
  client.enableReading();

  std::thread other([&] {
    std::promise<void> done;
    std::future<void> ran = done.get_future();
    leaveWork([&] { done.set_value(); });
    if (ran.wait_for(500ms) == std::future_status::timeout) {
      std::printf("after 500 ms the work has not been run\n");
    }
    if (write(ends[1], "x", 1) != 1) std::perror("write");
    ran.wait();
    std::printf("a byte arrived, and now it has\n");
  });
  loop.loop();
  other.join();

  client.remove();
  close(ends[0]);
  close(ends[1]);
  return 0;
}
