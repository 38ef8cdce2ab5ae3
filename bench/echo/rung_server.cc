// The echo server on rung.

#include <signal.h>

#include <exception>

#include "rung/net/EventLoop.h"
#include "rung/net/SignalFd.h"
#include "rung/net/TcpConnection.h"
#include "rung/net/TcpServer.h"

#include "bench/echo/echo_server.h"

int main(int argc, char** argv) {
  const bench::ServerOptions options = bench::parseServerOptions(argc, argv);
  try {
    bench::Accounting accounting;
    rung::EventLoop loop;
    rung::TcpServer server(&loop, rung::InetAddress::loopback(options.port), "echo");
    const rung::SignalFd signals(&loop, {SIGTERM, SIGUSR1}, [&](int signal) {
      signal == SIGTERM ? loop.quit() : accounting.print();
    });
    server.setConnectionCallback([&](const rung::TcpConnectionPtr& connection) {
      if (connection->connected()) ++accounting.connections;
    });
    server.setMessageCallback(
        [&](const rung::TcpConnectionPtr& connection, rung::Buffer& buffer, rung::Timestamp) {
          accounting.readDone(buffer.readableBytes());
          connection->send(buffer);
        });
    server.start();
    std::printf("listening on %s\n", server.listenAddress().toIpPort().c_str());
    std::fflush(stdout);
    loop.loop();
    return 0;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s: %s\n", argv[0], e.what());
    return 1;
  }
}
