// A listening socket on a Channel of stage 04, in a process that runs out of descriptors.
//
// accept() fails, so the connection stays in the queue, so the socket stays readable, so the loop
// is woken again at once, for as long as the connection waits.

#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <thread>
#include <vector>

#include "rung/base/UniqueFd.h"
#include "rung/net/Channel.h"
#include "rung/net/EventLoop.h"

using rung::checkedFd;
using rung::UniqueFd;

namespace {

constexpr std::chrono::milliseconds kRunTime{100};

UniqueFd tcpSocket(int flags) {
  return checkedFd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0), "socket");
}

double processorSeconds() {
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  const auto seconds = [](timeval t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  return seconds(used.ru_utime) + seconds(used.ru_stime);
}

}  // namespace

int main() {
  const rlimit few{32, 32};
  setrlimit(RLIMIT_NOFILE, &few);

  rung::EventLoop loop;
  const UniqueFd listener = tcpSocket(SOCK_NONBLOCK);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  auto* const anyAddress = reinterpret_cast<sockaddr*>(&address);
  if (bind(listener.get(), anyAddress, length) != 0 || listen(listener.get(), SOMAXCONN) != 0 ||
      getsockname(listener.get(), anyAddress, &length) != 0) {
    std::perror("listen");
    return 1;
  }

  std::vector<UniqueFd> connections;
  int failures = 0;
  int lastError = 0;
  rung::Channel channel(&loop, listener.get());
  channel.setReadCallback([&](rung::Timestamp) {
    UniqueFd accepted(accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (accepted.valid()) {
      connections.push_back(std::move(accepted));
    } else {
      lastError = errno;
      ++failures;  // and try again at the next event
    }
  });
  channel.enableReading();

  // One client, and not one descriptor left to serve it with.
  const UniqueFd client = tcpSocket(0);
  std::vector<UniqueFd> taken;
  for (int fd; (fd = dup(client.get())) >= 0;)
    taken.emplace_back(fd);
  if (connect(client.get(), anyAddress, length) != 0) {
    std::perror("connect");
    return 1;
  }

  const double before = processorSeconds();
  std::jthread stopper([&loop] {
    std::this_thread::sleep_for(kRunTime);
    loop.quit();
  });
  loop.loop();
  const double used = processorSeconds() - before;

  std::printf("one client waits; accept: %s\n", std::strerror(lastError));
  std::printf("accepted %zu, failed %d times in %lld ms, using %.0f ms of a processor\n",
              connections.size(), failures, static_cast<long long>(kRunTime.count()), used * 1e3);
  channel.remove();
}
