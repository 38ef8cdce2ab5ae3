// The thundering herd: how many of four sleepers one new connection wakes.

#include <doctest/doctest.h>
#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <memory>
#include <vector>

#include "tests/facts/Kernel.h"
#include "tests/facts/Threads.h"

using namespace facts;

namespace {

constexpr int kSleepers = 4;

struct Woken {
  int threads = 0;     // whose epoll_wait returned with an event
  int accepted = 0;    // who then got the connection
  int forNothing = 0;  // who then got EAGAIN
};

/// Four threads sleep in epoll_wait, `epolls[i]` for each. One connection comes. Nobody accepts
/// until all have woken or given up, so that no quick one can spare the others the trouble.
Woken wakeWithOneConnection(const std::vector<std::shared_ptr<Epoll>>& epolls,
                            const std::vector<int>& listeners) {
  std::atomic<int> woken{0};
  std::array<std::atomic<bool>, kSleepers> hit{};
  {
    std::vector<std::unique_ptr<Watched>> threads;
    for (std::size_t i = 0; i < kSleepers; ++i) {
      threads.push_back(std::make_unique<Watched>([&, i] {
        if (epolls[i]->wait(2s) == 0) return;
        hit[i] = true;
        ++woken;
      }));
    }
    for (const auto& thread : threads)
      REQUIRE(thread->fallsAsleep());
    Fd client = connected(portOf(listeners[0]));
    for (auto& thread : threads)
      thread->join();
  }
  Woken result;
  result.threads = woken;
  for (std::size_t i = 0; i < kSleepers; ++i) {
    if (!hit[i]) continue;
    Fd server(accept4(listeners[i], nullptr, nullptr, SOCK_CLOEXEC));
    ++(server >= 0 ? result.accepted : result.forNothing);
  }
  return result;
}

/// One epoll that all share, or one for each, on one listening socket.
Woken wakeOnOneListener(bool shareEpoll, std::uint32_t mode) {
  Fd listening = listener(SOCK_NONBLOCK);
  std::vector<std::shared_ptr<Epoll>> epolls;
  for (int i = 0; i < kSleepers; ++i) {
    epolls.push_back(shareEpoll && i > 0 ? epolls[0]
                                         : std::make_shared<Epoll>(listening, EPOLLIN | mode));
  }
  return wakeWithOneConnection(epolls, std::vector<int>(kSleepers, listening));
}

}  // namespace

TEST_CASE("herd: epolls that watch one listener are all woken and non-blocking is no help") {
  const Woken woken = wakeOnOneListener(false, 0);
  CHECK(woken.threads == kSleepers);
  // The listener is non-blocking: so three do not get stuck in accept, but woken they were.
  CHECK(woken.accepted == 1);
  CHECK(woken.forNothing == kSleepers - 1);
}

TEST_CASE("herd: edge-triggered does not help epolls that watch one listener") {
  CHECK(wakeOnOneListener(false, EPOLLET).threads == kSleepers);
}

TEST_CASE("herd: EPOLLEXCLUSIVE wakes at least one and not all") {
  const Woken woken = wakeOnOneListener(false, EPOLLEXCLUSIVE);
  CHECK(woken.threads >= 1);
  CHECK(woken.threads < kSleepers);
  CHECK(woken.accepted == 1);
  MESSAGE("woken: " << woken.threads << " of " << kSleepers);
}

TEST_CASE("herd: EPOLLEXCLUSIVE gives nearly all connections to one of the sleepers") {
  Fd listening = listener(SOCK_NONBLOCK);
  std::vector<std::unique_ptr<Epoll>> epolls;
  for (int i = 0; i < kSleepers; ++i)
    epolls.push_back(std::make_unique<Epoll>(listening, EPOLLIN | EPOLLEXCLUSIVE));
  std::array<std::atomic<int>, kSleepers> served{};
  std::atomic<int> all{0};
  std::atomic<bool> end{false};
  constexpr int kConnections = 40;
  {
    std::vector<std::unique_ptr<Watched>> threads;
    for (std::size_t i = 0; i < kSleepers; ++i) {
      threads.push_back(std::make_unique<Watched>([&, i] {
        while (!end) {
          if (epolls[i]->wait(100ms) == 0) continue;
          Fd server(accept4(listening, nullptr, nullptr, SOCK_CLOEXEC));
          if (server < 0) continue;
          ++served[i];
          ++all;
        }
      }));
    }
    // One at a time, and all sleep again before the next: none is too busy to be woken.
    for (int n = 1; n <= kConnections; ++n) {
      for (const auto& thread : threads)
        REQUIRE(eventually([&] { return thread->isAsleep(); }));
      Fd client = connected(portOf(listening));
      REQUIRE(eventually([&] { return all == n; }));
    }
    end = true;
  }
  const int least = *std::min_element(served.begin(), served.end());
  const int most = *std::max_element(served.begin(), served.end());
  MESSAGE("of 40 connections, in the order of registration: "
          << served[0].load() << ", " << served[1].load() << ", " << served[2].load() << ", "
          << served[3].load());
  CHECK(most >= kConnections / 2);  // a fair share would be a quarter
  CHECK(least <= kConnections / 10);
}

TEST_CASE("herd: threads that share a level-triggered epoll are woken until somebody accepts") {
  CHECK(wakeOnOneListener(true, 0).threads == kSleepers);
}

TEST_CASE("herd: threads that share an edge-triggered epoll are woken one for an event") {
  CHECK(wakeOnOneListener(true, EPOLLET).threads == 1);
}

TEST_CASE("herd: SO_REUSEPORT gives each its own queue and wakes one") {
  std::vector<Fd> sockets;
  std::vector<int> listeners;
  std::vector<std::shared_ptr<Epoll>> epolls;
  for (int i = 0; i < kSleepers; ++i) {
    sockets.push_back(tcpSocket(SOCK_NONBLOCK));
    setOption(sockets.back(), SOL_SOCKET, SO_REUSEPORT, 1);
    must(bindTo(sockets.back(), i == 0 ? std::uint16_t{0} : portOf(sockets[0])), "bind");
    must(listen(sockets.back(), SOMAXCONN), "listen");
    listeners.push_back(sockets.back());
    epolls.push_back(std::make_shared<Epoll>(sockets.back(), EPOLLIN));
  }
  const Woken woken = wakeWithOneConnection(epolls, listeners);
  CHECK(woken.threads == 1);
  CHECK(woken.accepted == 1);
}

TEST_CASE("herd: of threads that block in accept one is woken and the others sleep on") {
  Fd listening = listener();
  const std::uint16_t port = portOf(listening);
  std::atomic<int> accepted{0};
  std::vector<std::unique_ptr<Watched>> threads;
  for (int i = 0; i < kSleepers; ++i) {
    threads.push_back(std::make_unique<Watched>([&] {
      Fd server(accept4(listening, nullptr, nullptr, SOCK_CLOEXEC));
      if (server >= 0) ++accepted;
    }));
  }
  std::vector<long> before;
  for (const auto& thread : threads) {
    REQUIRE(thread->fallsAsleep());
    before.push_back(thread->timesAsleep());
  }
  Fd client = connected(port);
  REQUIRE(eventually([&] { return accepted == 1; }));
  int sleptOn = 0;
  for (std::size_t i = 0; i < kSleepers; ++i) {
    // One that was woken in vain would have gone to sleep once more. The one that got the
    // connection is gone, or about to go.
    if (threads[i]->timesAsleep() == before[i]) ++sleptOn;
  }
  CHECK(sleptOn >= kSleepers - 1);
  std::vector<Fd> clients;
  for (int i = 1; i < kSleepers; ++i)
    clients.push_back(connected(port));
  for (auto& thread : threads)
    thread->join();
  CHECK(accepted == kSleepers);
}
