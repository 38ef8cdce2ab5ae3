// An echo server that closes connections which have been silent for too long, and tells on stderr
// how each of them fares. What to look at: setIdleTimeout() is all that it takes; the rest of this
// file is for showing it.

#include <algorithm>
#include <any>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <string>
#include <utility>

#include "common/Program.h"

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

/// When a connection was last heard of, kept as its context.
Clock::time_point& lastOf(const rung::TcpConnectionPtr& connection) {
  return *std::any_cast<Clock::time_point>(&connection->context());
}

std::string seconds(Clock::duration time) {
  char text[32];
  (void)std::snprintf(text, sizeof text, "%.1f s", std::chrono::duration<double>(time).count());
  return text;
}

std::string howItEnded(const rung::TcpConnectionPtr& connection) {
  const std::string silence = seconds(Clock::now() - lastOf(connection)) + " of silence";
  switch (connection->closeReason()) {
    case rung::CloseReason::peer:
      return "left after " + silence;
    case rung::CloseReason::idle:
      return "kicked after " + silence;
    case rung::CloseReason::local:
    case rung::CloseReason::stopped:
      return "sent away after " + silence + ", the server ends";
    default:
      return std::string("lost: ") + std::strerror(connection->error());
  }
}

void run(const common::ServerOptions& options, milliseconds timeout) {
  rung::EventLoop loop;
  rung::TcpServer server(&loop, rung::InetAddress(options.address, options.port), "idle");
  server.setThreadNum(options.threads);

  // How finely the wheel turns is how late a connection may go: a tenth of the timeout, and not
  // more than a second.
  server.setIdleTimeout(timeout, std::clamp(timeout / 10, milliseconds(1), milliseconds(1000)));

  server.setConnectionCallback([](const rung::TcpConnectionPtr& connection) {
    const std::string peer = connection->peerAddress().toIpPort();
    if (connection->connected()) {
      connection->setContext(Clock::now());
      LOG_INFO << peer << " up";
    } else {
      LOG_INFO << peer << " " << howItEnded(connection);
    }
  });
  server.setMessageCallback(
      [timeout](const rung::TcpConnectionPtr& connection, rung::Buffer& buffer, rung::Timestamp) {
        const Clock::time_point now = Clock::now();
        const Clock::duration silence = now - std::exchange(lastOf(connection), now);
        // Only what breaks a silence is worth a line: a peer must not fill the log by talking much.
        if (silence >= timeout / 4) {
          LOG_INFO << connection->peerAddress().toIpPort() << " active after " << seconds(silence)
                   << " of silence";
        }
        connection->send(buffer);
      });

  common::serve(loop, {&server});
}

}  // namespace

int main(int argc, char** argv) {
  double timeout = 8;
  common::ServerOptions options("idle", "An echo server that closes idle connections.");
  options.add("timeout", "SECONDS", "how long a connection may be silent", timeout, 0.01, 86400);
  options.parse(argc, argv);
  return common::run(options, [&] {
    run(options, std::chrono::round<milliseconds>(std::chrono::duration<double>(timeout)));
  });
}
