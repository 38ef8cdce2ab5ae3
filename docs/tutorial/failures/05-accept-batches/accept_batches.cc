// Counts the system calls that a level-triggered listener needs for each connection, when it
// accepts one connection an event, when it accepts until EAGAIN, and when it asks after the first
// how many wait. No library: the calls alone.

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <vector>

#include "rung/base/UniqueFd.h"

using rung::checkedFd;
using rung::UniqueFd;

namespace {

constexpr int kConnections = 2000;

enum class Way { oneAnEvent, untilEagain, asks };

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
  Cost serve(int burst, Way way) const {
    Cost cost;
    std::vector<UniqueFd> accepted;
    const auto start = std::chrono::steady_clock::now();
    while (static_cast<int>(accepted.size()) < burst) {
      epoll_event event{};
      ++cost.calls;
      if (epoll_wait(epoll_.get(), &event, 1, 1000) != 1) break;
      const bool more = acceptOne(accepted, cost);
      if (way == Way::untilEagain && more) {
        while (acceptOne(accepted, cost)) {
        }
      } else if (way == Way::asks) {
        ++cost.calls;
        for (unsigned left = waiting(); left > 0 && acceptOne(accepted, cost); --left) {
        }
      }
    }
    cost.time = std::chrono::steady_clock::now() - start;
    return cost;
  }

 private:
  bool acceptOne(std::vector<UniqueFd>& accepted, Cost& cost) const {
    ++cost.calls;
    const int fd = accept4(socket_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) accepted.emplace_back(fd);
    return fd >= 0;
  }

  unsigned waiting() const {
    tcp_info info{};
    socklen_t length = sizeof info;
    return getsockopt(socket_.get(), IPPROTO_TCP, TCP_INFO, &info, &length) == 0 ? info.tcpi_unacked
                                                                                 : 0;
  }

  const UniqueFd socket_ =
      checkedFd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), "socket");
  const UniqueFd epoll_ = checkedFd(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
  sockaddr_in address_{};
};

void report(const Listener& listener, int burst, Way way, const char* name) {
  int calls = 0;
  std::vector<std::chrono::nanoseconds> times;
  for (int i = 0; i < kConnections / burst; ++i) {
    std::vector<UniqueFd> clients;
    for (int c = 0; c < burst; ++c)
      clients.push_back(listener.connectOne());
    const Cost cost = listener.serve(burst, way);
    calls += cost.calls;
    times.push_back(cost.time);
  }
  // The middle one, so that other programs on the machine do not count.
  const auto middle = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
  std::nth_element(times.begin(), middle, times.end());
  std::printf("%12d  %-13s  %16.2f  %15.1f\n", burst, name,
              static_cast<double>(calls) / kConnections,
              static_cast<double>(middle->count()) / burst / 1e3);
}

}  // namespace

int main() {
  const Listener listener;
  std::puts("at a time     accept         calls each        microseconds each");
  for (const int burst : {1, 2, 50}) {
    report(listener, burst, Way::oneAnEvent, "one an event");
    report(listener, burst, Way::untilEagain, "until EAGAIN");
    report(listener, burst, Way::asks, "asks");
  }
}
