#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "rung/base/Timestamp.h"

namespace rung {

class Buffer;
class EventLoop;
class Mailbox;
class TcpConnection;

using TcpConnectionPtr = std::shared_ptr<TcpConnection>;

/// A connection is up, or down; connection->connected() tells which. Each happens once.
using ConnectionCallback = std::function<void(const TcpConnectionPtr&)>;
/// Bytes have arrived. Retrieve from the Buffer what you can use; the rest stays and is there the
/// next time, with more behind it. The Buffer is lent for the length of the call.
using MessageCallback = std::function<void(const TcpConnectionPtr&, Buffer&, Timestamp)>;
/// All that was sent has been handed to the kernel.
using WriteCompleteCallback = std::function<void(const TcpConnectionPtr&)>;
/// For the owner of a connection: let go of it.
using CloseCallback = std::function<void(const TcpConnectionPtr&)>;

/// All that a connection calls back: one set for all connections of a server.
struct ConnectionCallbacks {
  ConnectionCallback connection;
  MessageCallback message;
  WriteCompleteCallback writeComplete;
};

/// The common data of all connections of one server on one loop. They share one block, since a copy
/// in each connection would be most of its size.
struct ConnectionProfile {
  EventLoop* loop = nullptr;
  std::shared_ptr<Mailbox> mailbox;
  std::string serverName;
  ConnectionCallbacks callbacks;
  CloseCallback closeCallback;
  /// The unit of idle time: a connection notes it when bytes move. Only the loop's thread uses it.
  mutable std::uint32_t ticks = 0;
};

}  // namespace rung
