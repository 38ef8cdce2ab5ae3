// An echo server. What to look at: callbacks, back-pressure, and a clean end on a signal. It
// listens on an IP address, on a Unix-domain socket, or on the socket that systemd has passed to
// it.
//
// A client that sends and does not read its echo is held back: at --high-water bytes of output the
// library stops reading from it, and goes on when it has caught up.

#include <any>
#include <atomic>
#include <stdexcept>
#include <string>
#include <utility>

#include "rung/net/ListenFds.h"

#include "common/Program.h"

namespace {

thread_local int loopNumber = 0;  // 0 is the base loop, the others count from 1

void onConnection(const rung::TcpConnectionPtr& connection) {
  const std::string peer = connection->peerAddress().toIpPort();
  if (connection->connected()) {
    connection->setContext(std::size_t{0});
    LOG_DEBUG << peer << " up on loop " << loopNumber;
  } else {
    LOG_DEBUG << peer << " down after " << std::any_cast<std::size_t>(connection->context())
              << " bytes on loop " << loopNumber;
  }
}

void onMessage(const rung::TcpConnectionPtr& connection, rung::Buffer& buffer, rung::Timestamp) {
  *std::any_cast<std::size_t>(&connection->context()) += buffer.readableBytes();
  connection->send(buffer);
}

/// The socket that was passed to this process, or else `listen`, or else --address and --port.
rung::Endpoint endpoint(const common::ServerOptions& options, const std::string& listen) {
  auto passed = rung::listenFds();
  if (passed.size() > 1) throw std::invalid_argument("LISTEN_FDS: more than one socket to serve");
  if (!passed.empty() && !listen.empty()) {
    throw std::invalid_argument("--listen " + listen + " beside the socket of LISTEN_FDS");
  }
  if (!passed.empty()) return std::move(passed[0].fd);
  if (!listen.empty()) return rung::Endpoint::parse(listen);
  return rung::InetAddress(options.address, options.port);
}

void run(const common::ServerOptions& options, const std::string& listen, std::size_t highWater) {
  rung::EventLoop loop;
  rung::TcpServer server(&loop, endpoint(options, listen), "echo");

  std::atomic<int> loops{0};
  server.setThreadNum(options.threads);
  server.setThreadInitCallback([&](rung::EventLoop* started) {
    if (started != &loop) loopNumber = ++loops;
  });
  server.setLimits({.highWaterMark = highWater, .lowWaterMark = highWater / 4});
  server.setConnectionCallback(onConnection);
  server.setMessageCallback(onMessage);
  common::serve(loop, {&server});
}

}  // namespace

int main(int argc, char** argv) {
  std::size_t highWater = 1 << 20;
  std::string listen;
  common::ServerOptions options("echo", "Sends back what it gets.");
  options.add("listen", "ADDRESS",
              "in place of --address and --port: 127.0.0.1:80, unix:/run/x.sock or unix:@name",
              listen);
  options.add("high-water", "BYTES",
              "output waiting for a client from which on it is not read from", highWater, 1,
              1UL << 40);
  options.parse(argc, argv);
  return common::run(options, [&] { run(options, listen, highWater); });
}
