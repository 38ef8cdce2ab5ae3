#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "rung/base/Timestamp.h"
#include "rung/net/Counters.h"

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
/// Bytes that are left while reading is stopped, or while outputBytes() is at the high-water mark
/// or above, are offered again on startRead(), or when output is back below, also without new
/// bytes.
using MessageCallback = std::function<void(const TcpConnectionPtr&, Buffer&, Timestamp)>;
/// All that was sent has been handed to the kernel.
using WriteCompleteCallback = std::function<void(const TcpConnectionPtr&)>;
/// The bytes that wait to be sent have reached the high-water mark, or are back at the low one.
using WaterMarkCallback = std::function<void(const TcpConnectionPtr&, std::size_t bytes)>;
/// The peer will send no more, but may still read.
using HalfCloseCallback = std::function<void(const TcpConnectionPtr&)>;
/// The server stops: finish what the connection owes, and end it with shutdown() or close().
using DrainCallback = std::function<void(const TcpConnectionPtr&)>;
/// For the owner of a connection: let go of it.
using CloseCallback = std::function<void(const TcpConnectionPtr&)>;
/// For the owner of a connection: cut it if it is still there after this time.
using LingerCallback =
    std::function<void(const TcpConnectionPtr&, std::chrono::steady_clock::duration)>;

/// Bounds the memory of a connection.
/// Units: bytes.
struct ConnectionLimits {
  /// From this much output on, the peer reads too slowly: the high-water callback is called and,
  /// with `pauseReading`, nothing more is read from that peer, until the output is down to `low`.
  std::size_t highWaterMark = 1 << 20;
  std::size_t lowWaterMark = 1 << 18;
  bool pauseReading = true;
  /// More input than this left unread by the message callback closes the connection: its peer sends
  /// something that will never be a message. A protocol with larger messages raises it. A thousand
  /// peers that never finish a message can fill a thousand times as much memory. nginx takes as
  /// much for the body of a request, by default.
  std::size_t maxInput = 1 << 20;
};

/// All that a connection calls back, and what bounds it: one set for any number of connections. A
/// set that is in use is never changed, only replaced: see TcpConnection::setCallbacks().
struct ConnectionCallbacks {
  ConnectionCallback connection;
  MessageCallback message;
  WriteCompleteCallback writeComplete;
  WaterMarkCallback highWaterMark;
  WaterMarkCallback lowWaterMark;
  HalfCloseCallback halfClose;
  DrainCallback drain;
  ConnectionLimits limits;
};

/// The common data of all connections of one server on one loop. They share one block, since a copy
/// in each connection would be most of its size.
struct ConnectionProfile {
  EventLoop* loop = nullptr;
  std::shared_ptr<Mailbox> mailbox;
  std::string serverName;
  ConnectionCallbacks callbacks;
  CloseCallback closeCallback;
  LingerCallback lingerCallback;
  /// The unit of idle time: a connection notes it when bytes move. Only the loop's thread uses it.
  mutable std::uint32_t ticks = 0;
  /// What its connections have done, in all.
  mutable LoopCounters counters;
};

}  // namespace rung
