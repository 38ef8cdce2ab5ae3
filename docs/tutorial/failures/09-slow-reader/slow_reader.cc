// An echo server, and a client that sends up to 100 MiB and reads nothing. Who keeps the bytes?
// With stage 08, and with stage 09.

#include <poll.h>

#include <cerrno>
#include <cstdio>
#include <vector>

#include "../09-half-close/one_server.h"

namespace {

constexpr std::size_t kMiB = 1 << 20;
constexpr std::size_t kMostBytes = 100 * kMiB;

/// Before stage 09 a connection is always read from.
template <class Connection>
bool isRead(const Connection& connection) {
  if constexpr (requires { connection.isReading(); }) {
    return connection.isReading();
  } else {
    return true;
  }
}

}  // namespace

int main() {
  rung::TcpConnectionPtr connection;  // the loop's, as the next one
  std::size_t received = 0;
  OneServer server([&](rung::TcpServer& s) {
    s.setConnectionCallback([&](const rung::TcpConnectionPtr& c) { connection = c; });
    s.setMessageCallback(
        [&](const rung::TcpConnectionPtr& c, rung::Buffer& buffer, rung::Timestamp) {
          received += buffer.readableBytes();
          c->send(buffer);
        });
  });

  const rung::UniqueFd client = connectTo(server.address());
  if (!client.valid()) return 2;
  const std::vector<char> piece(kMiB, 'x');
  std::size_t sent = 0;
  std::size_t kept = 0;
  for (bool reads = true, over = false; reads && !over;) {
    if (sent < kMostBytes) {
      const ssize_t n = send(client.get(), piece.data(), piece.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
      if (n > 0) sent += static_cast<std::size_t>(n);
      if (n < 0 && errno != EAGAIN) return 2;
      if (n > 0) continue;
    }
    server.inLoop([&] {
      over = sent >= kMostBytes && received == sent;
      if (connection == nullptr) return;
      reads = isRead(*connection);
      kept = connection->outputBytes();
    });
    pollfd room{client.get(), POLLOUT, 0};
    (void)poll(&room, 1, 1);
  }
  std::printf("%s\n", sent >= kMostBytes
                          ? "the client has sent all of 100 MiB"
                          : "the client could not send 100 MiB: it is not read from");
  std::printf("the server keeps %zu MiB for it\n", kept / kMiB);
}
