#pragma once

#include <functional>
#include <future>

#include "rung/net/TcpConnection.h"
#include "rung/net/TcpServer.h"

#include "tests/support/Client.h"
#include "tests/support/ServerThread.h"

namespace rung::testing {

/// A server that hands its first connection to the test.
struct OneConnection {
  explicit OneConnection(const std::function<void(TcpServer&)>& setUp = {})
      : server([&](TcpServer& s) {
          s.setConnectionCallback([this](const TcpConnectionPtr& c) {
            if (c->connected()) up.set_value(c);
          });
          if (setUp) setUp(s);
        }),
        client(server.address(), 1 << 16),  // so that what is not read waits on our side
        connection(up.get_future().get()) {}

  void inLoop(const std::function<void()>& work) { server.inLoop(work); }

  std::promise<TcpConnectionPtr> up;
  ServerThread server;
  Client client;
  TcpConnectionPtr connection;
};

}  // namespace rung::testing
