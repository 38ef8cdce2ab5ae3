// Closes idle connections, and ends in an orderly way on SIGINT or SIGTERM.

#include <signal.h>

#include <chrono>
#include <cstdio>

#include "rung/net/EventLoop.h"
#include "rung/net/SignalFd.h"
#include "rung/net/TcpConnection.h"
#include "rung/net/TcpServer.h"

using namespace std::chrono_literals;

int main() {
  rung::EventLoop loop;
  rung::TcpServer server(&loop, rung::InetAddress("127.0.0.1", 0), "stop");
  server.setThreadNum(1);
  server.setIdleTimeout(300ms, 100ms);
  server.setMessageCallback([](const rung::TcpConnectionPtr& connection, rung::Buffer& buffer,
                               rung::Timestamp) { connection->send(buffer); });

  // Before threads of your own, which inherit the blocked signals. Those of rung block them anyway.
  const rung::SignalFd signals(&loop, {SIGINT, SIGTERM}, [&](int) {
    server.stop(2s, [&](rung::TcpServer::StopResult result) {
      std::printf("%zu drained, %zu cut\n", result.drained, result.cut);
      loop.quit();
    });
  });

  server.start();
  std::printf("listening on %s\n", server.listenAddress().toIpPort().c_str());
  std::fflush(stdout);
  loop.loop();
}
