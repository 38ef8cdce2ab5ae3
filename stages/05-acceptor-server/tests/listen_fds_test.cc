// Each case is a child process, since it is the number of the process and its environment, and the
// descriptors from 3 on, that count.

#include <doctest/doctest.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <cstdio>
#include <exception>
#include <string>

#include "rung/net/ListenFds.h"
#include "rung/net/Socket.h"

#include "tests/support/AcceptorFixture.h"
#include "tests/support/ChildProcess.h"
#include "tests/support/Client.h"

using rung::InetAddress;
using rung::ListenFd;
using rung::listenFds;
using rung::Socket;
using rung::testing::AcceptorFixture;
using rung::testing::ChildResult;
using rung::testing::Client;
using rung::testing::runInChild;

namespace {

/// Puts listening sockets where systemd does, from 3 on. They are not close-on-exec.
void placeSockets(int count) {
  for (int fd = 3; fd < 64; ++fd)
    close(fd);
  for (int i = 0; i < count; ++i) {
    Socket socket = Socket::create(AF_INET);
    socket.bind(InetAddress::loopback(0));
    socket.listen(8, "loopback");
    const int elsewhere = fcntl(socket.fd(), F_DUPFD, 100);
    socket.close();
    dup2(elsewhere, 3 + i);
    close(elsewhere);
  }
}

/// In a child: what listenFds() returns, or throws, with these variables; nullptr leaves one out.
ChildResult taken(const char* fds, const char* names, const char* pid = "own", int sockets = 0) {
  return runInChild([=] {
    placeSockets(sockets);
    const std::string own = std::to_string(getpid());
    if (pid != nullptr) setenv("LISTEN_PID", *pid == 'o' ? own.c_str() : pid, 1);
    if (fds != nullptr) setenv("LISTEN_FDS", fds, 1);
    if (names != nullptr) setenv("LISTEN_FDNAMES", names, 1);
    setenv("LISTEN_PIDFDID", "1", 1);
    std::string result;
    try {
      for (const ListenFd& one : listenFds()) {
        result += one.name + "=" + std::to_string(one.fd.get());
        if ((fcntl(one.fd.get(), F_GETFD) & FD_CLOEXEC) == 0) result += " not close-on-exec";
        result += ";";
      }
      result += "end";
    } catch (const std::exception& e) {
      result = e.what();
    }
    for (const char* name : {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID"})
      if (getenv(name) != nullptr) result += std::string("; left over: ") + name;
    if (!listenFds().empty()) result += "; left over: descriptors";
    std::printf("<%s>\n", result.c_str());
  });
}

/// Whether it threw, named the variable, and left nothing behind.
bool refused(const ChildResult& child, const std::string& variable) {
  return child.says("<") && child.says(variable) && !child.says("end>") && !child.says("left over");
}

TEST_CASE("listenFds: takes the sockets and their names, once, close-on-exec, and unsets all") {
  CHECK(taken("2", "web:admin", "own", 2).says("<web=3;admin=4;end>"));
  CHECK(taken("1", "", "own", 1).says("<=3;end>"));
}

TEST_CASE("listenFds: without names each is called unknown") {
  CHECK(taken("2", nullptr, "own", 2).says("<unknown=3;unknown=4;end>"));
}

TEST_CASE("listenFds: none if nobody passed any, or to another process") {
  CHECK(taken(nullptr, nullptr, nullptr).says("<end>"));
  CHECK(taken("1", "web", "1", 1).says("<end>"));
  CHECK(taken("1", "web", nullptr, 1).says("<end>"));
  CHECK(taken(nullptr, "web", "own", 1).says("<end>"));
  CHECK(taken("0", "", "own").says("<end>"));
}

TEST_CASE("listenFds: what is wrong is refused, with the variable or the descriptor") {
  for (const char* count : {"two", "-1", "", "99999999999", "2147483647"}) {
    CAPTURE(count);
    CHECK(refused(taken(count, nullptr), "LISTEN_FDS"));
  }
  CHECK(refused(taken("1", nullptr, "12 "), "LISTEN_PID"));
  CHECK(refused(taken("2", "web", "own", 2), "LISTEN_FDNAMES"));
  CHECK(refused(taken("2", nullptr, "own", 1), "descriptor 4"));
}

TEST_CASE("listenFds: an Acceptor serves the socket that it got") {
  const auto child = runInChild([] {
    placeSockets(1);
    setenv("LISTEN_PID", std::to_string(getpid()).c_str(), 1);
    setenv("LISTEN_FDS", "1", 1);
    auto all = listenFds();
    AcceptorFixture f(rung::Endpoint(std::move(all.at(0).fd)));
    f.acceptor.listen();
    const Client client(f.acceptor.localAddress());
    f.runUntilAccepted(1);
    _exit(client.connected() && f.sockets.size() == 1 ? 7 : 2);
  });
  CHECK_MESSAGE(child.exitedWith(7), child.status << child.output);
}

}  // namespace
