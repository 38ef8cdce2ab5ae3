#pragma once

#include <memory>
#include <string>
#include <utility>

#include "rung/net/EventLoop.h"
#include "rung/net/TcpConnection.h"

#include "tests/support/Sockets.h"

namespace rung::testing {

/// More than the kernel takes at once.
inline const std::string kMuch(4 << 20, 'x');

/// A connection without a server, on the loop of the test, which plays its owner and its peer.
struct Alone {
  /// `socket`, if it is given, takes the place of one end of the pair.
  explicit Alone(ConnectionProfile profile = {}, Socket socket = {}) {
    if (!socket.valid()) socket = Socket(std::move(pair.ours));
    fd = socket.fd();
    profile.loop = &loop;
    profile.mailbox = loop.mailbox();
    connection = std::make_shared<TcpConnection>(
        std::make_shared<const ConnectionProfile>(std::move(profile)), 1, std::move(socket),
        InetAddress());
    connection->connectEstablished();
  }
  ~Alone() { connection->connectDestroyed(); }

  EventLoop loop;
  SocketPair pair;
  int fd = -1;
  TcpConnectionPtr connection;
};

}  // namespace rung::testing
