// A server on stage 05 that answers each request with 32 MiB in one write().
//
// A non-blocking write() takes what fits into the socket's send buffer and says how much that was.
// The server does not look, and closes. What did not fit was never sent.

#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <string>

#include "rung/base/CountDownLatch.h"
#include "rung/net/Channel.h"
#include "rung/net/EventLoop.h"
#include "rung/net/EventLoopThread.h"
#include "rung/net/TcpServer.h"

using rung::Channel;
using rung::CountDownLatch;
using rung::EventLoop;
using rung::InetAddress;
using rung::Socket;

namespace {

constexpr std::size_t kReplyBytes = std::size_t{32} << 20;

CountDownLatch replied(1);

struct Connection {
  Connection(EventLoop* loop, Socket accepted)
      : socket(std::move(accepted)), channel(loop, socket.fd()) {
    channel.setReadCallback([this](rung::Timestamp) { answer(); });
    channel.enableReading();
  }
  ~Connection() { channel.remove(); }

  void answer() {
    char request[100];
    if (read(socket.fd(), request, sizeof request) > 0) {
      const std::string reply(kReplyBytes, 'x');
      (void)!write(socket.fd(), reply.data(), reply.size());
    }
    channel.disableAll();
    socket.shutdownWrite();
    replied.countDown();
  }

  Socket socket;
  Channel channel;
};

/// A plain blocking client that is busy for a moment, and then reads to the end of the stream.
std::size_t ask(const InetAddress& server) {
  const rung::UniqueFd fd =
      rung::checkedFd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
  if (connect(fd.get(), server.data(), server.length()) != 0) return 0;
  if (write(fd.get(), "all of it, please", 17) != 17) return 0;
  replied.wait();
  std::string piece(1 << 16, '\0');
  std::size_t total = 0;
  for (ssize_t n; (n = read(fd.get(), piece.data(), piece.size())) > 0;)
    total += static_cast<std::size_t>(n);
  return total;
}

}  // namespace

int main() {
  rung::EventLoopThread serverThread;
  EventLoop* loop = serverThread.startLoop();
  std::unique_ptr<rung::TcpServer> server;
  std::unique_ptr<Connection> connection;
  CountDownLatch ready(1);
  loop->runInLoop([&] {
    server = std::make_unique<rung::TcpServer>(loop, InetAddress::loopback(0), "replies");
    server->setNewSocketCallback([&](EventLoop* ioLoop, Socket socket, const InetAddress&) {
      connection = std::make_unique<Connection>(ioLoop, std::move(socket));
    });
    server->start();
    ready.countDown();
  });
  ready.wait();

  const std::size_t got = ask(server->listenAddress());
  std::printf("sent a reply of %zu bytes; %s\n", kReplyBytes,
              got == kReplyBytes ? "all of it arrived" : "not all of it arrived");
  std::printf("missing: %zu bytes, without an error on either side\n", kReplyBytes - got);

  CountDownLatch done(1);
  loop->runInLoop([&] {
    connection.reset();
    server.reset();
    done.countDown();
  });
  done.wait();
}
