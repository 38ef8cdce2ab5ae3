// On stage 06: whoever reads the log takes a break, and the server stops serving.
//
// stderr is a pipe, as under systemd, in a container, or in `server 2>&1 | tee log`. A pipe holds
// so many bytes, and then write(2) waits for the reader. The thread that waits is the loop's.

#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <future>
#include <thread>

#include "ping_server.h"

using namespace std::chrono_literals;

namespace {

int runOutOfPatience(const rung::InetAddress& server) {
  PingClient client(server);
  constexpr int kMost = 10'000;
  for (int i = 1; i <= kMost; ++i) {
    if (!client.ask()) return 2;
    if (client.hasAnswer(500ms)) continue;
    std::printf("question %d has no answer after 500 ms\n", i);
    PingClient other(server);
    if (other.ask() && !other.hasAnswer(500ms)) std::printf("nor has that of another client\n");
    return 0;
  }
  std::printf("%d questions were answered\n", kMost);
  return 1;
}

}  // namespace

int main() {
  int log[2];
  if (pipe2(log, O_CLOEXEC) != 0 || dup2(log[1], STDERR_FILENO) < 0) {
    std::perror("pipe2");
    return 2;
  }
  close(log[1]);

  rung::EventLoop loop;
  PingServer server(&loop);
  int result = 2;
  std::thread client([&] {
    result = runOutOfPatience(server.address());
    loop.quit();
    // The reader is back. The loop gets out of write(2), and sees that it is to end.
    char lines[4096];
    while (read(log[0], lines, sizeof lines) > 0) {
    }
  });
  loop.loop();
  close(STDERR_FILENO);
  client.join();
  return result;
}
