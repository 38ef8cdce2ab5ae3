// A client that comes back: it says hello until it has an answer. Its argument says where.

#include <chrono>
#include <cstdio>
#include <stdexcept>
#include <string_view>

#include "rung/net/EventLoop.h"
#include "rung/net/TcpClient.h"
#include "rung/net/TcpConnection.h"

using namespace std::chrono_literals;

int main(int argc, char** argv) try {
  if (argc != 2) throw std::invalid_argument("usage: guide-client HOST:PORT");
  rung::EventLoop loop;
  rung::TcpClient client(&loop, rung::Target::parse(argv[1]), "hello",
                         {.attempt = {.timeout = 3s},  // over the lookup and all addresses
                          .reconnect = rung::Backoff::Options{.initial = 50ms, .cap = 5s}});
  client.setConnectionCallback([](const rung::TcpConnectionPtr& connection) {
    if (connection->connected()) {
      connection->send("hello\n");
    } else {
      std::printf("down\n");
    }
    std::fflush(stdout);
  });
  client.setFailureCallback([](const rung::ConnectFailure& failure, auto retryIn) {
    std::printf("%s; %s\n", failure.toText().c_str(), retryIn ? "again" : "the end");
    std::fflush(stdout);
  });
  client.setMessageCallback(
      [&](const rung::TcpConnectionPtr&, rung::Buffer& buffer, rung::Timestamp) {
        if (buffer.view().find('\n') == std::string_view::npos) return;
        std::printf("the answer: %s", buffer.retrieveAllAsString().c_str());
        client.stop(1s, [&loop](bool) { loop.quit(); });
      });
  client.connect();
  loop.loop();
} catch (const std::exception& e) {
  std::fprintf(stderr, "guide-client: %s\n", e.what());
  return 1;
}
