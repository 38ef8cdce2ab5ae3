// A client sends its request, says with a FIN that this was all, and waits for an answer of 16 MiB:
// `nc -N`, a batch job, HTTP/1.0. With stage 08, and with stage 09.

#include <cstdio>
#include <string>

#include "one_server.h"

namespace {

constexpr std::size_t kAnswerBytes = std::size_t{16} << 20;

}  // namespace

int main() {
  rung::CountDownLatch down(1);
  int error = 0;
  std::size_t unsent = 0;
  OneServer server([&](rung::TcpServer& s) {
    s.setMessageCallback(
        [](const rung::TcpConnectionPtr& connection, rung::Buffer& buffer, rung::Timestamp) {
          buffer.retrieveAll();
          connection->send(std::string(kAnswerBytes, 'x'));
        });
    s.setConnectionCallback([&](const rung::TcpConnectionPtr& connection) {
      if (connection->connected()) return;
      error = connection->error();
      unsent = connection->outputBytes();
      down.countDown();
    });
  });

  const rung::UniqueFd client = connectTo(server.address());
  if (!client.valid() || send(client.get(), "?", 1, MSG_NOSIGNAL) != 1) return 2;
  shutdown(client.get(), SHUT_WR);
  const std::size_t got = readAll(client.get());
  std::printf("an answer of %zu bytes; %zu arrived, and then an orderly end\n", kAnswerBytes, got);
  down.wait();
  std::printf("the server's connection: error %d, %zu bytes unsent\n", error, unsent);
}
