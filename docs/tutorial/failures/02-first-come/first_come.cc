// On stage 01: one thread, two clients, and reads that block. The server asks one client after the
// other. The first one has nothing to say, so the second one is not heard.

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>

#include "rung/base/Logging.h"

namespace {

void answer(int fd, const char* name) {
  char byte;
  if (read(fd, &byte, 1) != 1) LOG_SYSFATAL << "read from " << name;
  LOG_INFO << "server: " << name << " is served";
  if (write(fd, &byte, 1) != 1) LOG_SYSFATAL << "write to " << name;
}

void send(int fd) {
  if (write(fd, "x", 1) != 1) LOG_SYSFATAL << "write";
}

}  // namespace

int main() {
  int alice[2];
  int bob[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, alice) != 0 ||
      socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, bob) != 0) {
    LOG_SYSFATAL << "socketpair";
  }

  std::thread clients([&] {
    send(bob[1]);
    LOG_INFO << "bob: asks, and waits";
    pollfd reply{bob[1], POLLIN, 0};
    if (poll(&reply, 1, 500) == 0) LOG_WARN << "bob: no answer in 500 ms";
    send(alice[1]);
    LOG_INFO << "alice: asks";
  });
  answer(alice[0], "alice");
  answer(bob[0], "bob");
  clients.join();

  for (int fd : {alice[0], alice[1], bob[0], bob[1]})
    close(fd);
}
