#pragma once

#include <functional>

#include "tests/support/Observed.h"

namespace rung::testing {

/// A server with one client, whose connection is up.
struct OneConnection : Observed {
  explicit OneConnection(const std::function<void(TcpServer&)>& setUp = {})
      : Observed(setUp), connection(Observed::connection()) {}

  void inLoop(const std::function<void()>& work) { server.inLoop(work); }

  TcpConnectionPtr connection;
};

}  // namespace rung::testing
