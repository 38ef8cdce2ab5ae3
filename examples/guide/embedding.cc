// A server within a program whose loop is its own: here poll(2), which also waits for a command.

#include <poll.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>

#include "rung/net/EventLoop.h"
#include "rung/net/TcpConnection.h"
#include "rung/net/TcpServer.h"

using namespace std::chrono_literals;

int main() {
  rung::EventLoop loop;
  rung::TcpServer server(&loop, rung::InetAddress("127.0.0.1", 0), "embedded");
  server.setMaxConnections(1000);
  server.setMessageCallback([](const rung::TcpConnectionPtr& connection, rung::Buffer& buffer,
                               rung::Timestamp) { connection->send(buffer); });
  server.setConnectionCallback([](const rung::TcpConnectionPtr& connection) {
    if (!connection->connected()) return;
    connection->runAfter(1h, [connection] { connection->shutdown(); });
  });
  server.start();
  std::printf("listening on %s\n", server.listenAddress().toIpPort().c_str());
  std::fflush(stdout);

  pollfd watched[] = {{STDIN_FILENO, POLLIN, 0}, {loop.pollFd(), POLLIN, 0}};
  for (bool again = true; again;) {
    if (poll(watched, 2, -1) <= 0) continue;  // a signal
    if (watched[0].revents != 0) {            // any command ends it
      watched[0].fd = -1;
      server.forEachConnection([](const rung::TcpConnectionPtr& connection) {
        connection->send("bye\n");
        connection->shutdown();
      });
      server.stop(1s, [&loop](rung::TcpServer::StopResult) { loop.quit(); });
    }
    if (watched[1].revents != 0) again = loop.runOnce(0s);
  }
  const rung::ServerStats stats = server.stats();
  std::printf("%llu accepted, %llu ended by this side\n",
              static_cast<unsigned long long>(stats.accepted),
              static_cast<unsigned long long>(stats.endedBy(rung::CloseReason::local)));
}
