// One send() of what is in several places.

#include <doctest/doctest.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "rung/net/TcpConnection.h"

#include "tests/support/Allocations.h"
#include "tests/support/Alone.h"
#include "tests/support/Client.h"
#include "tests/support/OneConnection.h"
#include "tests/support/ServerThread.h"

using rung::CloseReason;
using rung::testing::Alone;
using rung::testing::eventually;
using rung::testing::NoMemory;
using rung::testing::OneConnection;
using rung::testing::pattern;

namespace {

/// Segments with data that the socket has sent.
std::uint32_t segmentsOf(int fd) {
  tcp_info info{};
  socklen_t size = sizeof info;
  REQUIRE(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0);
  return info.tcpi_data_segs_out;
}

/// `count` pieces of `text`, of 0 to 1999 bytes; the last one has the rest.
std::vector<std::string_view> cutUp(std::string_view text, std::size_t count) {
  std::vector<std::string_view> pieces;
  for (std::size_t i = 0; i + 1 < count; ++i) {
    pieces.push_back(text.substr(0, i * 37 % 2000));
    text.remove_prefix(pieces.back().size());
  }
  pieces.push_back(text);
  return pieces;
}

// With TCP_NODELAY, which a server sets, two sends are two segments.
TEST_CASE("TcpConnection pieces: a header and its body leave in one segment") {
  OneConnection f;
  const std::string_view parts[] = {"length 4\r\n", "", "body"};
  f.inLoop([&] {
    CHECK(f.connection->send(parts));
    CHECK(segmentsOf(f.connection->fd()) == 1);
    for (const std::string_view part : parts)
      CHECK(f.connection->send(part));
    CHECK(segmentsOf(f.connection->fd()) == 3);
  });
  CHECK(f.client.receive(28) == "length 4\r\nbodylength 4\r\nbody");
}

TEST_CASE("TcpConnection pieces: those that the kernel does not take go out later, in order") {
  OneConnection f;
  const std::string text = pattern(20 << 20);
  f.inLoop([&] {
    CHECK(f.connection->send(cutUp(text, 3000)));  // the kernel takes some of the last one
    const std::size_t waiting = f.connection->outputBytes();
    CHECK(waiting > 0);
    CHECK(f.connection->send(cutUp(text, 10)));  // nothing of these
    CHECK(f.connection->outputBytes() == waiting + text.size());
    f.connection->shutdown();
  });
  CHECK(f.client.receiveAll() == text + text);
  CHECK(f.connection->outputBytes() == 0);
}

TEST_CASE("TcpConnection pieces: more than one system call takes, to a peer that reads at once") {
  OneConnection f;
  const std::string text = pattern(200'000);
  f.inLoop([&] { CHECK(f.connection->send(cutUp(text, 200))); });
  CHECK(f.client.receive(text.size()) == text);
}

TEST_CASE("TcpConnection pieces: on another thread they keep their place among its sends") {
  OneConnection f;
  std::string all;
  std::thread other([&] {
    for (int i = 0; i < 100; ++i) {
      const std::string number = std::to_string(i);
      const std::string_view parts[] = {"<", number, ">"};
      CHECK(f.connection->send(parts));
      CHECK(f.connection->send("-"));
      all += '<' + number + ">-";
    }
    f.connection->shutdown();
    CHECK_FALSE(f.connection->send(std::array<std::string_view, 1>{"late"}));
  });
  other.join();
  CHECK(f.client.receiveAll() == all);
}

// As of a single string: the signal would end the process, and writev(2) has no flag against it.
TEST_CASE("TcpConnection pieces: to a peer that reads no more they fail, and raise no SIGPIPE") {
  Alone f;
  shutdown(f.pair.theirs.get(), SHUT_RD);
  CHECK_FALSE(f.connection->send(std::array<std::string_view, 2>{"two ", "pieces"}));
}

TEST_CASE("TcpConnection pieces: none, or empty ones, send no byte, and are refused like others") {
  OneConnection f;
  f.inLoop([&] {
    CHECK(f.connection->send(std::span<const std::string_view>()));
    CHECK(f.connection->send(std::array<std::string_view, 2>{}));
    CHECK(segmentsOf(f.connection->fd()) == 0);
    f.connection->shutdown();
    CHECK_FALSE(f.connection->send(std::span<const std::string_view>()));
  });
  CHECK(f.client.receiveAll().empty());
}

TEST_CASE("TcpConnection pieces: without memory for the rest the connection ends, and says so") {
  OneConnection f;
  const std::string text = pattern(20 << 20);
  const auto pieces = cutUp(text, 30);
  f.inLoop([&] {
    bool sent = true;
    {
      const NoMemory none;
      sent = f.connection->send(pieces);
    }
    CHECK_FALSE(sent);
  });
  CHECK(eventually([&] { return !f.connection->connected(); }));
  CHECK(f.connection->closeReason() == CloseReason::outOfMemory);
  CHECK(text.starts_with(f.client.receiveAll()));
}

TEST_CASE("TcpConnection: its descriptor can be asked and told, while it is up") {
  OneConnection f;
  f.inLoop([&] {
    const int on = 1;
    const int fd = f.connection->fd();
    CHECK(setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on) == 0);
    f.connection->forceClose();
  });
  CHECK(eventually([&] { return !f.connection->connected(); }));
  f.inLoop([&] { CHECK(f.connection->fd() == -1); });
}

}  // namespace
