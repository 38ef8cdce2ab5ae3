#pragma once

#include <doctest/doctest.h>

#include <atomic>
#include <functional>
#include <optional>

#include "tests/support/Allocations.h"
#include "tests/support/Client.h"
#include "tests/support/ServerThread.h"

namespace rung::testing {

/// A client for which the server's loop gets memory `granted` times, and then once none, is closed
/// without having been up. The next one is served.
inline void checkUnluckyNewcomer(int granted, const std::function<void(TcpServer&)>& setUp = {}) {
  CAPTURE(granted);
  std::atomic<int> ups{0};
  ServerThread server([&](TcpServer& s) {
    s.setMessageCallback(echo);
    s.setConnectionCallback([&](const TcpConnectionPtr& c) { ups += c->connected(); });
    if (setUp) setUp(s);
  });
  std::optional<NoMemory> none;
  server.inLoop([&] { none.emplace(granted, 1); });
  Client unlucky(server.address());
  CHECK(unlucky.receiveAll().empty());
  CHECK(unlucky.lastError() == 0);
  server.inLoop([&] { none.reset(); });
  CHECK(ups == 0);
  CHECK(server.server().connectionCount() == 0);
  Client next(server.address());
  CHECK(next.send("x"));
  CHECK(next.receive(1) == "x");
  CHECK(ups == 1);
  CHECK(server.server().connectionCount() == 1);
}

}  // namespace rung::testing
