#pragma once

#include <cstddef>
#include <string>

#include "rung/base/noncopyable.h"
#include "rung/net/Buffer.h"
#include "rung/net/EventLoop.h"
#include "rung/net/InetAddress.h"
#include "rung/net/TcpServer.h"

#include "kv/Channels.h"
#include "kv/Commands.h"
#include "kv/Store.h"

namespace kv {

/// A store behind a port. One thread does all, as in Redis: no command sees another half done, and
/// nothing is locked.
/// Thread: the loop's.
class Server : rung::noncopyable {
 public:
  /// From here on a client that asks and does not read is not read from.
  static constexpr std::size_t kHighWaterBytes = 1 << 20;

  Server(rung::EventLoop* loop, const rung::InetAddress& address, std::size_t maxMemory);
  ~Server();

  [[nodiscard]] rung::TcpServer& tcp() { return server_; }

 private:
  void onConnection(const rung::TcpConnectionPtr& connection);
  void onMessage(const rung::TcpConnectionPtr& connection, rung::Buffer& input);
  Commands::After runBatch(Client& client, rung::Buffer& input);
  void eraseDue();
  void setTime();

  rung::EventLoop* const loop_;
  Store store_;
  Channels channels_;
  Commands commands_;
  std::string out_;  // the replies of the batch that is under way
  rung::TimerId timer_;
  bool erasing_ = false;    // a task will go on with it
  rung::TcpServer server_;  // last, so that it goes first: its callbacks use the rest
};

}  // namespace kv
