#pragma once

#include <unistd.h>

#include <cstdint>
#include <utility>
#include <vector>

#include "rung/base/UniqueFd.h"
#include "rung/net/Acceptor.h"
#include "rung/net/EventLoop.h"

namespace rung::testing {

/// An acceptor on a loop, and what it accepted.
struct AcceptorFixture {
  explicit AcceptorFixture(sa_family_t family = AF_INET, Acceptor::Options options = {})
      : AcceptorFixture(InetAddress::loopback(0, family), std::move(options)) {}
  explicit AcceptorFixture(Endpoint endpoint, Acceptor::Options options = {})
      : acceptor(&loop, std::move(endpoint), std::move(options)) {
    acceptor.setNewConnectionCallback([this](Socket socket, const InetAddress& peer) {
      sockets.push_back(std::move(socket));
      peers.push_back(peer);
      if (sockets.size() >= wanted) loop.quit();
    });
  }
  void runUntilAccepted(std::size_t count) {
    wanted = count;
    loop.loop();
  }
  void runFor(TimerFd::Clock::duration time) {
    span.arm(time);
    loop.loop();
  }

  EventLoop loop;
  TimerFd span{&loop, [this] { loop.quit(); }};  // made before a test uses up the descriptors
  Acceptor acceptor;
  std::vector<Socket> sockets;
  std::vector<InetAddress> peers;
  std::size_t wanted = SIZE_MAX;
};

/// Uses up all descriptors but `spare`.
inline std::vector<UniqueFd> exhaustDescriptors(int spare) {
  std::vector<UniqueFd> taken;
  for (int fd; (fd = dup(0)) >= 0;)
    taken.emplace_back(fd);
  for (int i = 0; i < spare; ++i)
    taken.pop_back();
  return taken;
}

}  // namespace rung::testing
