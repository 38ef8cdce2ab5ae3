// Answers each line with the sum of its digits, computed off the I/O threads.

#include <cstdio>
#include <string>

#include "rung/base/ThreadPool.h"
#include "rung/net/EventLoop.h"
#include "rung/net/TcpConnection.h"
#include "rung/net/TcpServer.h"

namespace {

int sumOfDigits(const std::string& text) {
  int sum = 0;
  for (const char c : text) {
    if (c >= '0' && c <= '9') sum += c - '0';
  }
  return sum;
}

}  // namespace

int main() {
  rung::EventLoop loop;
  rung::ThreadPool pool("compute");
  pool.setMaxQueueSize(1000);
  pool.start(2);

  rung::TcpServer server(&loop, rung::InetAddress("127.0.0.1", 0), "sums");
  server.setThreadNum(2);
  server.setMessageCallback(
      [&pool](const rung::TcpConnectionPtr& connection, rung::Buffer& buffer, rung::Timestamp) {
        for (std::size_t end; (end = buffer.view().find('\n')) != std::string_view::npos;) {
          const std::string line = buffer.retrieveAsString(end + 1);
          // The hold keeps the sending side open until the answer is sent, also if the peer has
          // half-closed by then. send() may be called on any thread.
          rung::Task work([hold = connection->hold(), line] {
            hold->send(std::to_string(sumOfDigits(line)) + "\n");
          });
          if (!pool.tryRun(std::move(work))) connection->send("busy\n");
        }
      });
  server.start();
  std::printf("listening on %s\n", server.listenAddress().toIpPort().c_str());
  std::fflush(stdout);
  loop.loop();
}
