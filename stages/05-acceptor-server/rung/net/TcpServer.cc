#include "rung/net/TcpServer.h"

#include "rung/net/EventLoop.h"

namespace rung {

TcpServer::TcpServer(EventLoop* loop, Endpoint endpoint, std::string name,
                     Acceptor::Options options)
    : name_(std::move(name)),
      acceptor_(loop, std::move(endpoint), std::move(options)),
      threadPool_(loop, name_) {
  acceptor_.setNewConnectionCallback(
      [this](Socket socket, const InetAddress& peer) { newConnection(std::move(socket), peer); });
}

TcpServer::~TcpServer() = default;

void TcpServer::start() {
  if (acceptor_.listening()) return;
  if (!threadPool_.started()) threadPool_.start(threadInit_);  // not if an earlier listen() threw
  acceptor_.listen();
}

void TcpServer::newConnection(Socket socket, const InetAddress& peer) {
  EventLoop* ioLoop = threadPool_.getNextLoop();
  // The task owns the socket: if the loop ends before it runs, the connection is closed and not
  // leaked. The callback is copied, because the server may be gone by then.
  ioLoop->runInLoop(
      [ioLoop, callback = newSocketCallback_, socket = std::move(socket), peer]() mutable {
        if (callback) callback(ioLoop, std::move(socket), peer);
      });
}

}  // namespace rung
