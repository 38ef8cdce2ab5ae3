// Ten thousand connections at once, of which a thousand talk. The clients are a child process: the
// descriptors of one process would not do for both ends.

#include <doctest/doctest.h>
#include <poll.h>
#include <sys/wait.h>

#include <atomic>
#include <cerrno>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/Client.h"
#include "tests/support/Process.h"
#include "tests/support/ServerThread.h"
#include "tests/support/Sockets.h"

using namespace rung::testing;
using rung::UniqueFd;

namespace {

constexpr int kConnections = 10000;
constexpr int kActive = 1000;
constexpr rlim_t kDescriptors = kConnections + 200;

/// What the child does; each step ends with a byte to the parent and waits for one.
/// Returns its exit status: which step failed, or 0.
int clientSide(const rung::InetAddress& server, const UniqueFd& toParent, int fromParent) {
  const auto pause = [&](char step) {
    char byte = 0;
    return put(toParent, std::string(1, step)) && read(fromParent, &byte, 1) == 1;
  };
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < kConnections; ++i) {
    clients.push_back(std::make_unique<Client>(server));
    if (!clients.back()->connected()) return 1;
  }
  if (!pause('c')) return 2;
  for (int round = 0; round < 3; ++round) {
    const std::string message = pattern(100 + static_cast<std::size_t>(round) * 1000);
    for (int i = 0; i < kActive; ++i)
      if (!clients[static_cast<std::size_t>(i * 10)]->send(message)) return 3;
    for (int i = 0; i < kActive; ++i)
      if (clients[static_cast<std::size_t>(i * 10)]->receive(message.size()) != message) return 4;
  }
  if (!pause('a')) return 5;
  for (int i = 0; i < kConnections; ++i) {
    // Resets and orderly ends, mixed.
    auto& client = clients[static_cast<std::size_t>(i)];
    i % 3 == 0 ? client->reset() : client->close();
  }
  return pause('d') ? 0 : 6;
}

struct ChildSide {
  pid_t pid = -1;
  UniqueFd toChild;
  UniqueFd fromChild;

  /// The child has come to the end of `step`.
  bool reached(char step) const {
    pollfd readable{fromChild.get(), POLLIN, 0};
    char byte = 0;
    return poll(&readable, 1, 120'000) == 1 && read(fromChild.get(), &byte, 1) == 1 && byte == step;
  }
  bool goOn() const { return put(toChild, "g"); }
};

TEST_CASE("load: ten thousand connections, a thousand of them active, then all close") {
  if (!allowDescriptors(kDescriptors)) {
    MESSAGE("skipped: this process may not have " << kDescriptors << " descriptors");
    return;
  }
  // The fork comes before there is any thread.
  int down[2];
  int up[2];
  REQUIRE(pipe2(down, O_CLOEXEC) == 0);
  REQUIRE(pipe2(up, O_CLOEXEC) == 0);
  int port[2];
  REQUIRE(pipe2(port, O_CLOEXEC) == 0);
  const pid_t child = fork();
  if (child == 0) {
    for (const int end : {down[1], up[0], port[1]})
      close(end);
    std::uint16_t number = 0;
    if (read(port[0], &number, sizeof number) != sizeof number) _exit(7);
    _exit(clientSide(rung::InetAddress::loopback(number), UniqueFd(up[1]), down[0]));
  }
  REQUIRE(child > 0);
  for (const int end : {down[0], up[1], port[0]})
    close(end);
  const ChildSide clients{child, UniqueFd(down[1]), UniqueFd(up[0])};
  const UniqueFd portEnd(port[1]);
  const std::size_t before = descriptorCount();
  {
    std::atomic<int> ups{0};
    std::atomic<int> downs{0};
    ServerThread server(
        [&](rung::TcpServer& s) {
          s.setMessageCallback(echo);
          s.setConnectionCallback([&](const rung::TcpConnectionPtr& connection) {
            ++(connection->connected() ? ups : downs);
          });
        },
        1);
    const std::size_t idle = descriptorCount();
    const std::size_t memory = residentBytes();
    const std::uint16_t number = server.address().port();
    REQUIRE(write(portEnd.get(), &number, sizeof number) == sizeof number);
    REQUIRE(clients.reached('c'));
    CHECK(eventually([&] { return server.server().connectionCount() == kConnections; }));
    CHECK(descriptorCount() == idle + kConnections);
    const std::size_t connected = residentBytes();
    REQUIRE(clients.goOn());
    REQUIRE(clients.reached('a'));  // every byte came back, or the child would have ended
    CHECK(server.server().connectionCount() == kConnections);
    REQUIRE(clients.goOn());
    REQUIRE(clients.reached('d'));
    CHECK(eventually([&] { return server.server().connectionCount() == 0; }));
    CHECK(eventually([&] { return ups == kConnections && downs == kConnections; }));
    CHECK(eventually([&] { return descriptorCount() == idle; }));
    MESSAGE(kConnections << " connections: resident " << memory / 1024 << " KiB before, "
                         << connected / 1024 << " with them, " << residentBytes() / 1024
                         << " after");
    REQUIRE(clients.goOn());
  }
  int status = -1;
  REQUIRE(waitpid(child, &status, 0) == child);
  CAPTURE(status);
  CHECK((WIFEXITED(status) && WEXITSTATUS(status) == 0));
  CHECK(descriptorCount() == before);
}

}  // namespace
