#include <cstdio>
#include <exception>

#include "rung/net/EventLoop.h"
#include "rung/net/TcpConnection.h"
#include "rung/net/TcpServer.h"

int main() try {
  rung::EventLoop loop;
  rung::TcpServer server(&loop, rung::InetAddress("127.0.0.1", 0), "echo");
  server.setThreadNum(2);
  server.setMessageCallback([](const rung::TcpConnectionPtr& connection, rung::Buffer& buffer,
                               rung::Timestamp) { connection->send(buffer); });
  server.start();
  std::printf("listening on %s\n", server.listenAddress().toIpPort().c_str());
  std::fflush(stdout);
  loop.loop();
} catch (const std::exception& e) {
  std::fprintf(stderr, "minimal: %s\n", e.what());
  return 1;
}
