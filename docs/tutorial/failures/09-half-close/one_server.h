// A server on a thread of its own, and a plain blocking client with a small receive buffer.
#pragma once

#include <sys/socket.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "rung/base/CountDownLatch.h"
#include "rung/base/UniqueFd.h"
#include "rung/net/EventLoop.h"
#include "rung/net/EventLoopThread.h"
#include "rung/net/TcpConnection.h"
#include "rung/net/TcpServer.h"

class OneServer {
 public:
  explicit OneServer(const std::function<void(rung::TcpServer&)>& configure)
      : loop_(thread_.startLoop()) {
    inLoop([&] {
      server_ = std::make_unique<rung::TcpServer>(loop_, rung::InetAddress::loopback(0), "one");
      configure(*server_);
      server_->start();
      address_ = server_->listenAddress();
    });
  }
  ~OneServer() {
    inLoop([this] { server_.reset(); });
  }

  [[nodiscard]] rung::EventLoop* loop() const { return loop_; }
  [[nodiscard]] const rung::InetAddress& address() const { return address_; }

  /// Returns when `work` has run.
  void inLoop(const std::function<void()>& work) {
    rung::CountDownLatch done(1);
    loop_->runInLoop([&] {
      work();
      done.countDown();
    });
    done.wait();
  }

 private:
  rung::EventLoopThread thread_;
  rung::EventLoop* const loop_;
  std::unique_ptr<rung::TcpServer> server_;
  rung::InetAddress address_;
};

inline rung::UniqueFd connectTo(const rung::InetAddress& server) {
  rung::UniqueFd fd = rung::checkedFd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
  const int size = 1 << 16;  // or the kernel takes many megabytes for a client that does not read
  setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
  if (connect(fd.get(), server.data(), server.length()) != 0) fd.reset();
  return fd;
}

/// The number of bytes up to the end of the stream.
inline std::size_t readAll(int fd) {
  std::vector<char> piece(1 << 16);
  std::size_t total = 0;
  for (ssize_t n; (n = recv(fd, piece.data(), piece.size(), 0)) > 0;)
    total += static_cast<std::size_t>(n);
  return total;
}
