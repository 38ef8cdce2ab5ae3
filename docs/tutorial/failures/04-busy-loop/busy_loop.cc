// On stage 03: one connection asks for a computation, and another one waits for it.
//
// Alice's callback works for 300 ms on the loop's thread. Bob's byte arrives meanwhile, lies in the
// kernel, and is read when Alice has her answer.

#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>

#include "rung/net/Channel.h"
#include "rung/net/EventLoop.h"

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

namespace {

void readByte(int fd) {
  char byte;
  if (read(fd, &byte, 1) != 1) std::perror("read");
}

void writeByte(int fd) {
  if (write(fd, "x", 1) != 1) std::perror("write");
}

void compute() {
  const auto end = Clock::now() + 300ms;
  while (Clock::now() < end) {
  }
}

}  // namespace

int main() {
  int alices[2];
  int bobs[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, alices) != 0 ||
      socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, bobs) != 0) {
    std::perror("socketpair");
    return 2;
  }
  rung::EventLoop loop;
  rung::Channel alice(&loop, alices[0]);
  rung::Channel bob(&loop, bobs[0]);
  Clock::time_point sent;
  alice.setReadCallback([&](rung::Timestamp) {
    readByte(alices[0]);
    writeByte(bobs[1]);  // Bob's client sends at the worst moment
    sent = Clock::now();
    compute();
  });
  bob.setReadCallback([&](rung::Timestamp) {
    readByte(bobs[0]);
    const auto waited = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - sent);
    std::printf("bob's byte waited %lld ms\n", static_cast<long long>(waited.count()));
    loop.quit();
  });
  alice.enableReading();
  bob.enableReading();
  writeByte(alices[1]);
  loop.loop();

  alice.remove();
  bob.remove();
  for (const int fd : {alices[0], alices[1], bobs[0], bobs[1]})
    close(fd);
}
