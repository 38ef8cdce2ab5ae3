// A server that logs each message before it answers, and a client that wants its answers soon.
#pragma once

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>

#include "rung/base/Logging.h"
#include "rung/base/UniqueFd.h"
#include "rung/net/EventLoop.h"
#include "rung/net/TcpConnection.h"
#include "rung/net/TcpServer.h"

class PingServer {
 public:
  explicit PingServer(rung::EventLoop* loop)
      : server_(loop, rung::InetAddress::loopback(0), "pings") {
    server_.setMessageCallback(
        [](const rung::TcpConnectionPtr& connection, rung::Buffer& buffer, rung::Timestamp) {
          LOG_INFO << "connection " << connection->id() << " sent " << buffer.readableBytes();
          connection->send(buffer);
        });
    server_.start();
  }

  [[nodiscard]] rung::InetAddress address() const { return server_.listenAddress(); }

 private:
  rung::TcpServer server_;
};

class PingClient {
 public:
  explicit PingClient(const rung::InetAddress& server)
      : fd_(socket(server.family(), SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    connected_ = connect(fd_.get(), server.data(), server.length()) == 0;
  }

  bool ask() { return connected_ && send(fd_.get(), "?", 1, MSG_NOSIGNAL) == 1; }
  bool hasAnswer(std::chrono::milliseconds within) {
    pollfd answer{fd_.get(), POLLIN, 0};
    char byte;
    return poll(&answer, 1, static_cast<int>(within.count())) == 1 &&
           recv(fd_.get(), &byte, 1, 0) == 1;
  }

 private:
  rung::UniqueFd fd_;
  bool connected_ = false;
};
