// An echo server that closes connections which have been silent for too long, and tells on stderr
// how each of them fares. What to look at: setIdleTimeout() is all that it takes; the rest of this
// file is for showing it.

#include <algorithm>
#include <any>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <string>
#include <utility>

#include "common/Program.h"

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

/// What is known about a connection, kept as its context.
struct Activity {
  Clock::time_point last = Clock::now();
  bool left = false;  // it was the peer that ended it
};

Activity& activityOf(const rung::TcpConnectionPtr& connection) {
  return *std::any_cast<Activity>(&connection->context());
}

std::string seconds(Clock::duration time) {
  char text[32];
  (void)std::snprintf(text, sizeof text, "%.1f s", std::chrono::duration<double>(time).count());
  return text;
}

std::string howItEnded(const rung::TcpConnectionPtr& connection, bool stopping) {
  const Activity& activity = activityOf(connection);
  const std::string silence = seconds(Clock::now() - activity.last) + " of silence";
  if (connection->error() != 0) return std::string("lost: ") + std::strerror(connection->error());
  if (activity.left) return "left after " + silence;
  if (stopping) return "sent away after " + silence + ", the server ends";
  return "kicked after " + silence;
}

void run(const common::ServerOptions& options, milliseconds timeout) {
  rung::EventLoop loop;
  rung::TcpServer server(&loop, rung::InetAddress(options.address, options.port), "idle");
  server.setThreadNum(options.threads);

  // How finely the wheel turns is how late a connection may go: a tenth of the timeout, and not
  // more than a second.
  server.setIdleTimeout(timeout, std::clamp(timeout / 10, milliseconds(1), milliseconds(1000)));

  std::atomic<bool> stopping{false};
  server.setConnectionCallback([&](const rung::TcpConnectionPtr& connection) {
    const std::string peer = connection->peerAddress().toIpPort();
    if (connection->connected()) {
      connection->setContext(Activity());
      LOG_INFO << peer << " up";
    } else {
      LOG_INFO << peer << " " << howItEnded(connection, stopping);
    }
  });
  server.setMessageCallback(
      [timeout](const rung::TcpConnectionPtr& connection, rung::Buffer& buffer, rung::Timestamp) {
        const Clock::time_point now = Clock::now();
        const Clock::duration silence = now - std::exchange(activityOf(connection).last, now);
        // Only what breaks a silence is worth a line: a peer must not fill the log by talking much.
        if (silence >= timeout / 4) {
          LOG_INFO << connection->peerAddress().toIpPort() << " active after " << seconds(silence)
                   << " of silence";
        }
        connection->send(buffer);
      });
  server.setHalfCloseCallback([](const rung::TcpConnectionPtr& connection) {
    activityOf(connection).left = true;
    connection->shutdown();
  });

  common::serve(loop, {&server}, [&](const std::function<void()>& stop) {
    stopping = true;
    stop();
  });
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
