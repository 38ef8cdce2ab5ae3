// An echo server. What to look at: callbacks, back-pressure, and a clean end on a signal.
//
// A client that sends and does not read its echo is held back: at --high-water bytes of output the
// library stops reading from it, and goes on when it has caught up.

#include <any>
#include <atomic>
#include <string>

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

void run(const common::ServerOptions& options, std::size_t highWater) {
  rung::EventLoop loop;
  rung::TcpServer server(&loop, rung::InetAddress(options.address, options.port), "echo");

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
  common::ServerOptions options("echo", "Sends back what it gets.");
  options.add("high-water", "BYTES",
              "output waiting for a client from which on it is not read from", highWater, 1,
              1UL << 40);
  options.parse(argc, argv);
  return common::run(options, [&] { run(options, highWater); });
}
