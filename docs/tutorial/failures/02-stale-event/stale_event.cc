// On stage 01: a loop on epoll(7) as one writes it the first time, with handlers in a map by
// descriptor. Alice and Bob speak at once. Alice's handler throws Bob out and lets Carol in, who is
// given Bob's number, and then Bob's event.

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <functional>
#include <map>

#include "rung/base/Logging.h"

namespace {

using Pair = std::array<int, 2>;

const int epollFd = epoll_create1(EPOLL_CLOEXEC);
std::map<int, std::function<void()>> handlers;

Pair connectedPair() {
  Pair ends;
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    LOG_SYSFATAL << "socketpair";
  }
  return ends;
}

void watch(int fd, std::function<void()> handler) {
  handlers[fd] = std::move(handler);
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = fd;
  if (epoll_ctl(epollFd, EPOLL_CTL_ADD, fd, &event) != 0) LOG_SYSFATAL << "epoll_ctl";
}

void disconnect(int fd) {
  handlers.erase(fd);
  close(fd);  // which takes it out of the epoll set, too
}

/// Bytes are ready, so a read that gives none is the end of the connection. Isn't it?
void serve(int fd, const char* name) {
  char text[64];
  if (read(fd, text, sizeof text) > 0) {
    LOG_INFO << name << " on descriptor " << fd << ": has spoken";
  } else {
    LOG_WARN << name << " on descriptor " << fd << ": disconnected";
    disconnect(fd);
  }
}

}  // namespace

int main() {
  const Pair alice = connectedPair();
  const Pair bob = connectedPair();
  watch(bob[0], [&] { serve(bob[0], "bob"); });
  watch(alice[0], [&] {
    serve(alice[0], "alice");
    LOG_INFO << "bob on descriptor " << bob[0] << ": thrown out";
    disconnect(bob[0]);
    const int carol = connectedPair()[0];
    LOG_INFO << "carol on descriptor " << carol << ": welcome";
    watch(carol, [carol] { serve(carol, "carol"); });
  });
  for (int fd : {alice[1], bob[1]}) {
    if (write(fd, "hello", 5) != 5) LOG_SYSFATAL << "write";
  }

  epoll_event events[8];
  const int count = epoll_wait(epollFd, events, 8, -1);
  for (int i = 0; i < count; ++i) {
    const auto handler = handlers.find(events[i].data.fd);
    if (handler != handlers.end()) std::function<void()>(handler->second)();
  }
}
