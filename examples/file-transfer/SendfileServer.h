#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <unordered_set>

#include "rung/base/noncopyable.h"
#include "rung/net/Acceptor.h"
#include "rung/net/EventLoop.h"
#include "rung/net/EventLoopThreadPool.h"

#include "file-transfer/Source.h"

namespace transfer {

/// Sends the file with sendfile(2): from the page cache to the socket, and through no memory of
/// this process. TcpConnection keeps its descriptor to itself, so this is a server made of the
/// library's smaller parts: an Acceptor, loops, and a Channel for each client.
/// Thread: the base loop's.
/// Lifetime: made and destroyed on the base loop's thread, while that loop does not run.
/// Errors: the process must ignore SIGPIPE, for sendfile(2) has no flag against it.
class SendfileServer : rung::noncopyable {
 public:
  /// A client that takes nothing for `stall` is cut.
  SendfileServer(rung::EventLoop* loop, const rung::InetAddress& address, int threads,
                 std::chrono::seconds stall, const Source& source);
  ~SendfileServer();

  void start();
  [[nodiscard]] rung::InetAddress listenAddress() const { return acceptor_.localAddress(); }
  /// Accepts no more; calls `done` when every client has its file, or after `deadline`.
  void stop(std::chrono::seconds deadline, std::function<void()> done);

 private:
  class Client;
  using Clients = std::unordered_set<std::shared_ptr<Client>>;  // of one loop, on its thread

  void add(rung::Socket socket);
  void remove(const std::shared_ptr<Client>& client);

  rung::EventLoop* const loop_;
  const std::chrono::seconds stall_;
  const Source& source_;
  rung::Acceptor acceptor_;
  std::size_t count_ = 0;  // of clients, as far as the base loop has heard
  std::function<void()> whenEmpty_;
  std::map<rung::EventLoop*, Clients> clients_;  // the map does not change after start()
  std::unique_ptr<rung::EventLoopThreadPool> threads_;
};

}  // namespace transfer
