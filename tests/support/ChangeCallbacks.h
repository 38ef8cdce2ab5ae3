#pragma once

#include <memory>
#include <utility>

#include "rung/net/TcpConnection.h"

namespace rung::testing {

/// Gives `connection` a set of its own that differs from the one it has by `change`.
/// Thread: the connection's loop.
template <class Change>
void changeCallbacks(TcpConnection& connection, Change change) {
  auto own = std::make_shared<ConnectionCallbacks>(connection.callbacks());
  change(*own);
  connection.setCallbacks(std::move(own));
}

}  // namespace rung::testing
