// The file of a Unix-domain socket: whose it is, when it is replaced, and when it goes.

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "rung/net/Socket.h"
#include "rung/net/SocketFile.h"

#include "tests/support/AcceptorFixture.h"
#include "tests/support/ChildProcess.h"
#include "tests/support/Client.h"
#include "tests/support/TempDirectory.h"
#include "tests/support/Thrown.h"

using rung::Acceptor;
using rung::EventLoop;
using rung::Socket;
using rung::SocketFile;
using rung::UniqueFd;
using rung::UnixAddress;
using rung::testing::AcceptorFixture;
using rung::testing::Client;
using rung::testing::contentsOf;
using rung::testing::mentions;
using rung::testing::runInChild;
using rung::testing::TempDirectory;

namespace {

bool exists(const std::string& path) {
  return access(path.c_str(), F_OK) == 0;
}

mode_t modeOf(const std::string& path) {
  struct stat status {};
  stat(path.c_str(), &status);
  return status.st_mode & 07777;
}

/// A server as small as can be.
struct Server {
  explicit Server(const UnixAddress& address, std::optional<mode_t> mode = {}) {
    file.bind(socket, address, mode);
    socket.listen(64, address.toText());
  }
  SocketFile file;  // goes after the socket
  Socket socket = Socket::create(AF_UNIX);
};

/// What a server that was killed leaves.
void leaveFile(const UnixAddress& address) {
  const Socket socket = Socket::create(AF_UNIX);
  REQUIRE(bind(socket.fd(), address.data(), address.length()) == 0);
}

/// The text of the system_error that a second server gets; "" if it gets none.
std::string whyNot(const UnixAddress& address) {
  try {
    const Server second(address);
    return "";
  } catch (const std::system_error& e) {
    return e.what();
  }
}

/// Whether a second server is told that the address is in use, by its name.
bool inUse(const UnixAddress& address) {
  return mentions(whyNot(address), {"bind", address.toText(), "Address already in use"});
}

TEST_CASE("Acceptor: serves a Unix socket by path and by abstract name; the peer is \"unix:\"") {
  const TempDirectory directory;
  const std::string abstract = "@rung-test-" + std::to_string(getpid());
  for (const UnixAddress& address : {UnixAddress(directory / "s"), UnixAddress(abstract)}) {
    AcceptorFixture f(address);
    CHECK(f.acceptor.localAddress().toIpPort() == "unix:");
    CHECK(f.acceptor.addressText() == address.toText());
    CHECK_FALSE(Client(address).connected());  // it does not listen yet
    f.acceptor.listen();
    std::vector<std::unique_ptr<Client>> clients;
    for (int i = 0; i < 10; ++i)
      clients.push_back(std::make_unique<Client>(address));
    f.runUntilAccepted(10);
    CHECK(f.peers[9].toIpPort() == "unix:");
    CHECK(f.peers[9] == f.sockets[9].peerAddress());
    CHECK(f.sockets[9].localAddress() == f.acceptor.localAddress());
  }
  CHECK(directory.files().empty());  // no socket file, no lock
}

TEST_CASE(
    "Acceptor: on a Unix socket stopAccepting passes on all that wait, and removes the file") {
  const TempDirectory directory;
  const UnixAddress address(directory / "s");
  AcceptorFixture f(address, {.acceptsPerEvent = 3});
  f.acceptor.listen();
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 30; ++i)  // each has two descriptors here, and there may be 128
    clients.push_back(std::make_unique<Client>(address));
  f.runUntilAccepted(1);
  CHECK(f.sockets.size() == 3);
  f.acceptor.stopAccepting();
  CHECK(f.sockets.size() == 30);
  CHECK_FALSE(exists(address.path()));
  CHECK_FALSE(Client(address).connected());
}

TEST_CASE("SocketFile: one that a dead server has left is replaced") {
  const TempDirectory directory;
  const UnixAddress address(directory / "s");
  leaveFile(address);
  const Server server(address);
  CHECK(Client(address).connected());
  CHECK(directory.files().size() == 1);
}

TEST_CASE("SocketFile: behind which a server lives is in use, named, and undisturbed") {
  const TempDirectory directory;
  const UnixAddress address(directory / "s");
  {
    SocketFile file;
    Socket bound = Socket::create(AF_UNIX);
    file.bind(bound, address, {});
    CHECK(inUse(address));  // it does not even listen yet
  }
  Server first(address);
  CHECK(inUse(address));
  CHECK(first.socket.accept().error == EAGAIN);  // nobody has connected in order to find out
  CHECK(directory.files().size() == 1);
  const UnixAddress abstract("@rung-test-" + std::to_string(getpid()));
  const Server third(abstract);
  CHECK(inUse(abstract));
}

TEST_CASE("SocketFile: of a datagram socket that lives is in use, too") {
  const TempDirectory directory;
  const UnixAddress address(directory / "s");
  const UniqueFd other(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  REQUIRE(bind(other.get(), address.data(), address.length()) == 0);
  CHECK(inUse(address));
}

TEST_CASE("SocketFile: what is no socket is never removed: a file, a directory, a link") {
  const TempDirectory directory;
  std::ofstream(directory / "file") << "precious";
  REQUIRE(symlink("file", (directory / "link").c_str()) == 0);
  REQUIRE(symlink("nowhere", (directory / "dangling").c_str()) == 0);
  REQUIRE(mkdir((directory / "sub").c_str(), 0700) == 0);
  leaveFile(UnixAddress(directory / "dead"));
  REQUIRE(symlink("dead", (directory / "to-dead").c_str()) == 0);
  for (const char* name : {"file", "link", "dangling", "sub", "to-dead"}) {
    const UnixAddress address(directory / name);
    CHECK(inUse(address));
  }
  CHECK(contentsOf(directory / "file") == "precious");
  CHECK(directory.files().size() == 6);
}

TEST_CASE("SocketFile: a directory that is not there is an error that names the path") {
  CHECK(mentions(whyNot(UnixAddress("/nowhere/at/all")), {"bind", "unix:/nowhere/at/all"}));
}

TEST_CASE("SocketFile: has the mode that was asked for, whatever the umask, and never more") {
  const TempDirectory directory;
  const mode_t before = umask(027);
  {
    const Server server(UnixAddress(directory / "as-umask"));
    CHECK(modeOf(directory / "as-umask") == 0750);
  }
  for (const mode_t mode : {0600U, 0660U, 0666U, 0777U, 0U}) {
    const Server server(UnixAddress(directory / "s"), mode);
    CHECK(modeOf(directory / "s") == mode);
  }
  {
    EventLoop loop;
    const Acceptor acceptor(&loop, UnixAddress(directory / "a"), {.socketMode = 0640});
    CHECK(modeOf(directory / "a") == 0640);
  }
  umask(before);
}

// With the umask that gives the most, so that nothing but the mode of the socket itself can keep
// others out in the moment between bind(2) and a chmod(2).
TEST_CASE("SocketFile: with a mode there is no moment in which others may connect") {
  const TempDirectory directory;
  const mode_t before = umask(0);
  std::atomic<bool> ended{false};
  std::atomic<mode_t> seen{0};
  std::thread watcher([&] {
    while (!ended)
      seen |= modeOf(directory / "s");
  });
  for (int i = 0; i < 500; ++i) {
    struct stat status {};
    const Server server(UnixAddress(directory / "s"), 0600);
    stat((directory / "s").c_str(), &status);
    seen |= status.st_mode & 07777;
  }
  ended = true;
  watcher.join();
  umask(before);
  CHECK(seen == 0600);
}

TEST_CASE("SocketFile: of another server that has replaced it is not removed") {
  const TempDirectory directory;
  const UnixAddress address(directory / "s");
  auto first = std::make_unique<Server>(address);
  REQUIRE(unlink(address.path()) == 0);  // as many a server does that starts
  const Server second(address);
  first.reset();
  CHECK(Client(address).connected());
  // And by one that is dead by now: another inode, or the same number again.
  auto third = std::make_unique<Server>(UnixAddress(directory / "t"));
  REQUIRE(rename((directory / "t").c_str(), (directory / "old").c_str()) == 0);
  leaveFile(UnixAddress(directory / "t"));
  third.reset();
  CHECK(exists(directory / "t"));
  auto fourth = std::make_unique<Server>(UnixAddress(directory / "u"));
  REQUIRE(unlink((directory / "u").c_str()) == 0);
  fourth.reset();  // nothing to remove
}

TEST_CASE("SocketFile: is not removed in a forked child, nor while that has the socket") {
  const TempDirectory directory;
  const UnixAddress address(directory / "s");
  auto server = std::make_unique<Server>(address);
  const auto child = runInChild([&] {
    server.reset();
    _exit(exists(address.path()) ? 7 : 2);
  });
  CHECK(child.exitedWith(7));
  CHECK(Client(address).connected());
  UniqueFd passedOn = server->socket.duplicate();
  server.reset();
  CHECK(Client(address).connected());  // whoever has the other descriptor goes on
  CHECK(directory.files().size() == 1);
  passedOn.reset();
  CHECK(whyNot(address) == "");
  CHECK(directory.files().empty());
}

TEST_CASE("SocketFile: when accepted connections live on, it is removed all the same") {
  const TempDirectory directory;
  const UnixAddress address(directory / "s");
  auto server = std::make_unique<Server>(address);
  Client client(address);
  const Socket::Accepted accepted = server->socket.accept();
  REQUIRE(accepted.error == 0);
  server.reset();
  CHECK_FALSE(exists(address.path()));
  CHECK(client.send("still there"));
}

TEST_CASE("SocketFile: of servers that start at once over a dead file, one gets it") {
  const TempDirectory directory;
  const UnixAddress address(directory / "s");
  for (int round = 0; round < 40; ++round) {
    leaveFile(address);
    std::atomic<bool> go{false};
    std::vector<std::unique_ptr<Server>> servers(6);
    std::atomic<int> refused{0};
    {
      std::vector<std::jthread> threads;
      for (auto& server : servers) {
        threads.emplace_back([&] {
          while (!go) {
          }
          try {
            server = std::make_unique<Server>(address);
          } catch (const std::system_error& e) {
            if (e.code().value() == EADDRINUSE) ++refused;
          }
        });
      }
      go = true;
    }
    CHECK(refused == 5);
    CHECK(Client(address).connected());  // the file is that of the one which lives
    CHECK(directory.files().size() == 1);
    servers.clear();
    REQUIRE(directory.files().empty());
  }
}

TEST_CASE("SocketFile: a server that ends does not take the file of its successor along") {
  const TempDirectory directory;
  const UnixAddress address(directory / "s");
  for (int round = 0; round < 200; ++round) {
    auto old = std::make_unique<Server>(address);
    std::jthread ending([&] { old.reset(); });
    std::unique_ptr<Server> successor;
    while (successor == nullptr) {
      try {
        successor = std::make_unique<Server>(address);
      } catch (const std::system_error& e) {
        REQUIRE(e.code().value() == EADDRINUSE);
      }
    }
    ending.join();
    REQUIRE(Client(address).connected());
  }
}

/// How many descriptors of this process are for that file.
int openTimes(const std::string& path) {
  int times = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    if (std::filesystem::read_symlink(entry, gone) == path) ++times;
  }
  return times;
}

// The lock file is removed by whoever has it. Without a second look the next one has a lock that
// keeps nobody out.
TEST_CASE("SocketFile: who has waited for a lock file that is gone by then waits for the new one") {
  const TempDirectory directory;
  const UnixAddress address(directory / "s");
  const std::string path = directory / "s.lock";
  const auto hold = [&] {
    UniqueFd fd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    REQUIRE(flock(fd.get(), LOCK_EX) == 0);
    return fd;
  };
  leaveFile(address);
  UniqueFd first = hold();
  std::string why;
  std::thread starting([&] { why = whyNot(address); });
  while (openTimes(path) < 2)
    std::this_thread::yield();
  REQUIRE(unlink(path.c_str()) == 0);
  const UniqueFd second = hold();
  first.reset();
  starting.join();
  CHECK(mentions(why, {path}));
}

TEST_CASE("SocketFile: a lock that does not come free is an error that names it, after a second") {
  const TempDirectory directory;
  const UnixAddress address(directory / "s");
  leaveFile(address);
  std::ofstream(directory / "s.lock").flush();
  const UniqueFd holder(open((directory / "s.lock").c_str(), O_RDWR | O_CLOEXEC));
  REQUIRE(flock(holder.get(), LOCK_EX) == 0);
  CHECK(mentions(whyNot(address), {directory / "s.lock"}));
  REQUIRE(flock(holder.get(), LOCK_UN) == 0);
  CHECK(whyNot(address) == "");  // a lock file that was left behind does no harm
}

TEST_CASE(
    "SocketFile: without a lock, or a descriptor for it, the file stays, and can be replaced") {
  const TempDirectory directory;
  const UnixAddress address(directory / "s");
  {
    const Server server(address);
    REQUIRE(mkdir((directory / "s.lock").c_str(), 0700) == 0);
  }
  CHECK(exists(address.path()));
  CHECK(mentions(whyNot(address), {directory / "s.lock"}));
  REQUIRE(rmdir((directory / "s.lock").c_str()) == 0);
  const auto child = runInChild([&] {
    auto server = std::make_unique<Server>(address);
    const rlimit none{0, 64};
    setrlimit(RLIMIT_NOFILE, &none);
    server.reset();
    _exit(exists(address.path()) ? 7 : 2);
  });
  CHECK(child.exitedWith(7));
  CHECK(whyNot(address) == "");
  CHECK(directory.files().empty());
}

}  // namespace
