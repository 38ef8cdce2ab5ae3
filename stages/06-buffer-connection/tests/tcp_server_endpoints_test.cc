// Servers that listen on a Unix-domain socket, or on a socket that listens already, and the
// hand-over from one process to the next.

#include <doctest/doctest.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "rung/net/UnixAddress.h"

#include "tests/support/Client.h"
#include "tests/support/Observed.h"
#include "tests/support/ServerThread.h"
#include "tests/support/Stop.h"
#include "tests/support/TempDirectory.h"
#include "tests/support/Thrown.h"

using namespace std::chrono_literals;
using rung::Buffer;
using rung::Endpoint;
using rung::EventLoop;
using rung::InetAddress;
using rung::TcpConnectionPtr;
using rung::TcpServer;
using rung::Timestamp;
using rung::UniqueFd;
using rung::UnixAddress;
using rung::testing::BlockedLoop;
using rung::testing::Client;
using rung::testing::connectClients;
using rung::testing::echo;
using rung::testing::eventually;
using rung::testing::mentions;
using rung::testing::ServerThread;
using rung::testing::Stop;
using rung::testing::TempDirectory;
using rung::testing::thrown;

namespace {

void setEcho(TcpServer& server) {
  server.setMessageCallback(echo);
}

TEST_CASE(
    "TcpServer: serves a Unix socket on all its loops, stops in order, and removes the file") {
  for (const int threads : {0, 2}) {
    const TempDirectory directory;
    const UnixAddress address(directory / "s");
    std::atomic<bool> named{true};
    ServerThread server(
        [&](TcpServer& s) {
          setEcho(s);
          s.setConnectionCallback([&](const TcpConnectionPtr& c) {
            if (c->name() != "test-unix:#" + std::to_string(c->id())) named = false;
          });
        },
        threads, address);
    CHECK(server.server().listenText() == address.toText());
    CHECK(server.server().listenAddress().toIpPort() == "unix:");
    const auto clients = connectClients(address, 6);
    CHECK(server.server().connectionCount() == 6);
    CHECK(named);
    Stop stop(server.server(), 30s);
    for (const auto& client : clients) {
      CHECK(client->receiveAll().empty());
      CHECK(client->lastError() == 0);
      client->close();
    }
    CHECK(stop.wait().drained == 6);
    CHECK(directory.files().empty());
  }
}

TEST_CASE("TcpServer: stop on a Unix socket serves who waits in the kernel's queue") {
  const TempDirectory directory;
  const UnixAddress address(directory / "s");
  ServerThread server(setEcho, 0, address);
  std::vector<std::unique_ptr<Client>> clients;
  {
    const BlockedLoop loop(server.loop(), [&] { server.server().stop(30s); });
    for (int i = 0; i < 10; ++i) {
      clients.push_back(std::make_unique<Client>(address));
      clients.back()->send("x");
    }
  }
  for (const auto& client : clients)
    CHECK(client->receive(1) == "x");
}

TEST_CASE(
    "TcpServer: a Unix socket that is in use throws from the constructor, and names the path") {
  const TempDirectory directory;
  const UnixAddress address(directory / "s");
  EventLoop loop;
  TcpServer first(&loop, address, "first");
  CHECK(mentions(thrown<std::system_error>([&] { TcpServer(&loop, address, "second"); }),
                 {"bind", address.toText()}));
}

TEST_CASE("TcpServer: serves a socket that listens already, and stop() leaves it to its others") {
  ServerThread first(setEcho);
  UniqueFd passedOn;
  const InetAddress address = first.address();
  const std::thread::id here = std::this_thread::get_id();
  std::jthread([&] {  // any thread
    CHECK(std::this_thread::get_id() != here);
    passedOn = first.server().listenFd();
  })
      .join();
  ServerThread second(setEcho, 1, std::move(passedOn));
  CHECK(second.address() == address);
  CHECK(second.server().listenText() == address.toIpPort());
  Stop stop(first.server(), 30s);
  CHECK(stop.wait().cut == 0);
  CHECK_FALSE(first.server().listenFd().valid());
  (void)connectClients(address, 5);
  second.server().stopAccepting();
  CHECK(eventually([&] { return !Client(address).connected(); }));
}

TEST_CASE("TcpServer: listenFd on other threads meets the end of accepting without harm") {
  for (int round = 0; round < 100; ++round) {
    ServerThread server(setEcho);
    std::jthread other([&] {
      while (server.server().listenFd().valid()) {
      }
    });
    server.server().stopAccepting();
  }
}

/// A process that gets a listening socket, serves it, and says so with one byte.
class Heir {
 public:
  Heir() {
    int ends[2];
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    pid_ = fork();
    if (pid_ == 0) {
      close(ends[0]);
      for (int signal : {SIGABRT, SIGSEGV, SIGTERM})
        std::signal(signal, SIG_DFL);
      alarm(60);
      serve(ends[1]);
      _exit(7);
    }
    close(ends[1]);
    end_ = UniqueFd(ends[0]);
  }
  ~Heir() {
    end_.reset();
    waitpid(pid_, nullptr, 0);
  }
  Heir(const Heir&) = delete;
  Heir& operator=(const Heir&) = delete;

  /// Sends the descriptor, and waits until it is served.
  void inherit(const UniqueFd& listening) {
    char byte = 'f';
    Message message(&byte);
    message.setDescriptor(listening.get());
    REQUIRE(sendmsg(end_.get(), &message.header, MSG_NOSIGNAL) == 1);
    REQUIRE(recv(end_.get(), &byte, 1, 0) == 1);
  }
  /// Ends it. Returns whether it ended in order.
  bool end() {
    end_.reset();
    int status = 0;
    return waitpid(pid_, &status, 0) == pid_ && WIFEXITED(status) && WEXITSTATUS(status) == 7;
  }

 private:
  /// One byte, and room for one descriptor: cmsg(3).
  struct Message {
    explicit Message(char* byte) : piece{byte, 1} {
      header.msg_iov = &piece;
      header.msg_iovlen = 1;
      header.msg_control = control;
      header.msg_controllen = sizeof control;
    }
    void setDescriptor(int fd) {
      cmsghdr* const part = CMSG_FIRSTHDR(&header);
      part->cmsg_level = SOL_SOCKET;
      part->cmsg_type = SCM_RIGHTS;
      part->cmsg_len = CMSG_LEN(sizeof fd);
      std::memcpy(CMSG_DATA(part), &fd, sizeof fd);
    }
    iovec piece;
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    msghdr header{};
  };

  static void serve(int end) {
    char byte = 0;
    Message message(&byte);
    if (recvmsg(end, &message.header, 0) != 1) _exit(2);
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message.header)), sizeof fd);
    ServerThread server(
        [](TcpServer& s) {
          s.setMessageCallback([](const TcpConnectionPtr& c, Buffer& buffer, Timestamp) {
            buffer.retrieveAll();
            c->send("new");
          });
        },
        1, UniqueFd(fd));
    (void)write(end, "r", 1);
    (void)read(end, &byte, 1);  // until the other process lets go
  }

  pid_t pid_ = -1;
  UniqueFd end_;
};

/// Connects again and again until it is destroyed, and counts who answers.
template <class Address>
class Visitor {
 public:
  explicit Visitor(const Address& address) : thread_([this, address] { visit(address); }) {}
  ~Visitor() { end(); }
  void end() {
    ended_ = true;
    if (thread_.joinable()) thread_.join();
  }

  std::atomic<int> byOld{0};
  std::atomic<int> byNew{0};
  std::atomic<int> lost{0};

 private:
  void visit(const Address& address) {
    while (!ended_) {
      Client client(address);
      client.send("x");
      const std::string answer = client.receive(3);
      ++(answer == "old" ? byOld : answer == "new" ? byNew : lost);
      client.reset();  // keeps no port in TIME_WAIT
    }
  }

  std::atomic<bool> ended_{false};
  std::thread thread_;
};

template <class Address>
void handOver(Endpoint endpoint, const std::optional<Address>& path = {}) {
  Heir heir;  // forked before there are threads
  auto old = std::make_unique<ServerThread>(
      [](TcpServer& s) {
        s.setMessageCallback([](const TcpConnectionPtr& c, Buffer& buffer, Timestamp) {
          buffer.retrieveAll();
          c->send("old");
        });
      },
      1, std::move(endpoint));
  Address address = [&] {
    if constexpr (std::is_same_v<Address, InetAddress>) {
      return path.value_or(old->address());
    } else {
      return *path;
    }
  }();
  Visitor one(address);
  Visitor two(address);
  CHECK(eventually([&] { return one.byOld > 20 && two.byOld > 20; }));
  heir.inherit(old->server().listenFd());
  CHECK(eventually([&] { return one.byNew > 20 && two.byNew > 20; }));  // both serve
  // Not stop() at once: it ends connections whose peer has sent no request yet.
  old->server().stopAccepting();
  old->inLoop([] {});
  CHECK_FALSE(old->server().listenFd().valid());
  CHECK(eventually([&] { return old->server().connectionCount() == 0; }));
  old.reset();
  const int before = one.byNew + two.byNew;
  CHECK(eventually([&] { return one.byNew + two.byNew > before + 100; }));
  one.end();
  two.end();
  CHECK(one.lost == 0);
  CHECK(two.lost == 0);
  CHECK(heir.end());
}

TEST_CASE("TcpServer: hands its port over to another process, and no connection is lost") {
  handOver<InetAddress>(InetAddress::loopback(0));
}

TEST_CASE("TcpServer: hands its Unix socket over, file and all, and no connection is lost") {
  const TempDirectory directory;
  const UnixAddress address(directory / "s");
  handOver<UnixAddress>(address, address);
  CHECK(directory.files().size() == 1);  // the heir has not made it: the next server replaces it
  EventLoop loop;
  CHECK_NOTHROW(TcpServer(&loop, address, "next"));
}

}  // namespace
