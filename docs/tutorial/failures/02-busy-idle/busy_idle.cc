// On stage 01: the reads do not block, so no client waits for another. But how does the server wait
// for all of them? It does not: with two clients that say nothing, it works as hard as it can.

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <ctime>

#include "rung/base/Logging.h"

using namespace std::chrono_literals;

int main() {
  int alice[2];
  int bob[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, alice) != 0 ||
      socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, bob) != 0) {
    LOG_SYSFATAL << "socketpair";
  }

  long reads = 0;
  const std::clock_t cpuBefore = std::clock();
  const auto end = std::chrono::steady_clock::now() + 500ms;
  while (std::chrono::steady_clock::now() < end) {
    for (int fd : {alice[0], bob[0]}) {
      char byte;
      ++reads;
      if (read(fd, &byte, 1) < 0 && errno == EAGAIN) continue;
      LOG_FATAL << "nobody has said anything";
    }
  }
  const auto cpu = (std::clock() - cpuBefore) * 1000 / CLOCKS_PER_SEC;
  std::printf("500 ms of silence: %ld reads, all in vain, %ld ms of CPU\n", reads, cpu);

  for (int fd : {alice[0], alice[1], bob[0], bob[1]})
    close(fd);
}
