// Counts the system calls that a level-triggered listener needs for each connection, when it
// accepts one connection an event, and when it accepts until EAGAIN. No library: the calls alone.

#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <chrono>
#include <cstdio>
#include <vector>

#include "rung/base/UniqueFd.h"

using rung::checkedFd;
using rung::UniqueFd;

namespace {

constexpr int kConnections = 2000;

struct Cost {
  int calls = 0;
  std::chrono::nanoseconds time{};
};

class Listener {
 public:
  Listener() {
    auto* const any = reinterpret_cast<sockaddr*>(&address_);
    address_.sin_family = AF_INET;
    address_.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address_;
    epoll_event event{};
    event.events = EPOLLIN;
    if (bind(socket_.get(), any, length) != 0 || listen(socket_.get(), SOMAXCONN) != 0 ||
        getsockname(socket_.get(), any, &length) != 0 ||
        epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, socket_.get(), &event) != 0) {
      std::perror("listen");
    }
  }

  UniqueFd connectOne() const {
    UniqueFd client = checkedFd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
    // It returns when the kernel has put the connection into the listener's queue.
    if (connect(client.get(), reinterpret_cast<const sockaddr*>(&address_), sizeof address_) != 0) {
      std::perror("connect");
    }
    return client;
  }

  /// Accepts what `burst` clients asked for, as a loop would.
  Cost serve(int burst, bool untilEagain) const {
    Cost cost;
    std::vector<UniqueFd> accepted;
    const auto start = std::chrono::steady_clock::now();
    while (static_cast<int>(accepted.size()) < burst) {
      epoll_event event{};
      ++cost.calls;
      if (epoll_wait(epoll_.get(), &event, 1, 1000) != 1) break;
      do {
        ++cost.calls;
        const int fd = accept4(socket_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) break;
        accepted.emplace_back(fd);
      } while (untilEagain);
    }
    cost.time = std::chrono::steady_clock::now() - start;
    return cost;
  }

 private:
  const UniqueFd socket_ =
      checkedFd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), "socket");
  const UniqueFd epoll_ = checkedFd(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
  sockaddr_in address_{};
};

void report(const Listener& listener, int burst, bool untilEagain) {
  Cost total;
  for (int i = 0; i < kConnections / burst; ++i) {
    std::vector<UniqueFd> clients;
    for (int c = 0; c < burst; ++c)
      clients.push_back(listener.connectOne());
    const Cost cost = listener.serve(burst, untilEagain);
    total.calls += cost.calls;
    total.time += cost.time;
  }
  std::printf("%12d  %-13s  %16.2f  %15.1f\n", burst, untilEagain ? "until EAGAIN" : "one an event",
              static_cast<double>(total.calls) / kConnections,
              static_cast<double>(total.time.count()) / kConnections / 1e3);
}

}  // namespace

int main() {
  const Listener listener;
  std::puts("at a time     accept         calls each        microseconds each");
  for (const int burst : {1, 2, 50}) {
    report(listener, burst, false);
    report(listener, burst, true);
  }
}
