// A server with few descriptors, clients that connect and say nothing, and one that asks.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <vector>

#include "rung/base/Logging.h"
#include "rung/base/UniqueFd.h"
#include "rung/net/EventLoop.h"
#include "rung/net/TcpConnection.h"
#include "rung/net/TcpServer.h"

constexpr int kDescriptors = 32;
constexpr int kSilentClients = 40;

/// In a process of its own, since a limit on descriptors holds for the whole process.
template <class Configure>
[[noreturn]] void serve(int tellPort, Configure configure) {
  const rlimit few{kDescriptors, kDescriptors};
  if (setrlimit(RLIMIT_NOFILE, &few) != 0) _exit(2);
  rung::Logger::setLevel(rung::LogLevel::fatal);
  rung::EventLoop loop;
  rung::TcpServer server(&loop, rung::InetAddress::loopback(0), "echo");
  server.setMessageCallback([](const rung::TcpConnectionPtr& connection, rung::Buffer& buffer,
                               rung::Timestamp) { connection->send(buffer); });
  configure(server);
  server.start();
  const std::uint16_t port = server.listenAddress().port();
  if (write(tellPort, &port, sizeof port) != sizeof port) _exit(2);
  loop.loop();
  _exit(0);
}

inline rung::UniqueFd connectTo(const rung::InetAddress& server) {
  rung::UniqueFd fd(socket(server.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (connect(fd.get(), server.data(), server.length()) != 0) fd.reset();
  return fd;
}

/// Whether a new client that asks gets an answer.
inline bool isServed(const rung::InetAddress& server) {
  const rung::UniqueFd fd = connectTo(server);
  if (!fd.valid() || send(fd.get(), "?", 1, MSG_NOSIGNAL) != 1) return false;
  pollfd answer{fd.get(), POLLIN, 0};
  char byte;
  return poll(&answer, 1, 1000) == 1 && recv(fd.get(), &byte, 1, 0) == 1;
}

/// Tries for two seconds, or until it is served.
inline void tryToBeServed(const rung::InetAddress& server) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point end = Clock::now() + std::chrono::seconds(2);
  bool refused = false;
  while (Clock::now() < end) {
    if (isServed(server)) {
      std::printf("a new client was served%s\n", refused ? " in the end" : "");
      return;
    }
    if (!refused) std::printf("a new client was turned away\n");
    refused = true;
    (void)poll(nullptr, 0, 50);  // and then it tries again, as clients do
  }
  std::printf("two seconds later, still no service\n");
}

template <class Configure>
int runSilentClients(Configure configure) {
  int tellPort[2];
  if (pipe2(tellPort, O_CLOEXEC) != 0) return 2;
  const pid_t child = fork();
  if (child < 0) return 2;
  if (child == 0) serve(tellPort[1], configure);
  std::uint16_t port = 0;
  if (read(tellPort[0], &port, sizeof port) == sizeof port) {
    const rung::InetAddress server = rung::InetAddress::loopback(port);
    std::vector<rung::UniqueFd> silent;
    for (int i = 0; i < kSilentClients; ++i)
      silent.push_back(connectTo(server));
    tryToBeServed(server);
  }
  kill(child, SIGKILL);
  return waitpid(child, nullptr, 0) == child && port != 0 ? 0 : 2;
}
