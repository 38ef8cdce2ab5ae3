#pragma once

#include <cstddef>
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
/// The bytes that wait to be sent have reached the high-water mark, or are back at the low one.
using WaterMarkCallback = std::function<void(const TcpConnectionPtr&, std::size_t bytes)>;
/// The peer will send no more, but may still read.
using HalfCloseCallback = std::function<void(const TcpConnectionPtr&)>;
/// For the owner of a connection: let go of it.
using CloseCallback = std::function<void(const TcpConnectionPtr&)>;

/// What bounds the memory of a connection. Units: bytes.
struct ConnectionLimits {
  /// From this much output on, the peer reads too slowly: the high-water callback is called and,
  /// with `pauseReading`, nothing more is read from that peer, until the output is down to `low`.
  std::size_t highWaterMark = 1 << 20;
  std::size_t lowWaterMark = 1 << 18;
  bool pauseReading = true;
  /// More input than this left unread by the message callback closes the connection: its peer sends
  /// something that will never be a message.
  std::size_t maxInput = 64 << 20;
};

/// What all connections of one server on one loop have in common: one block for all of them, where
/// a copy of each std::function in each connection would be most of its size.
struct ConnectionProfile {
  EventLoop* loop = nullptr;
  std::shared_ptr<Mailbox> mailbox;
  std::string serverName;
  ConnectionLimits limits;
  ConnectionCallback connectionCallback;
  MessageCallback messageCallback;
  WriteCompleteCallback writeCompleteCallback;
  WaterMarkCallback highWaterMarkCallback;
  WaterMarkCallback lowWaterMarkCallback;
  HalfCloseCallback halfCloseCallback;
  CloseCallback closeCallback;
};

}  // namespace rung
