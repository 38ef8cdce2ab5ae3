// ticker: every client gets the line "tick N" a hundred times a second. N grows by one each time.
//
// The main thread accepts, a second one sends. A client that is gone, or too slow to take a whole
// line, is closed.

#include <netinet/in.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;

constexpr std::size_t kMaxClients = 100;

int checked(int result, const char* call) {
  if (result >= 0) return result;
  std::perror(call);
  std::exit(1);
}

int listenOnLoopback() {
  const int fd = checked(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "socket");
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  auto* const general = reinterpret_cast<sockaddr*>(&address);
  checked(bind(fd, general, length), "bind");
  checked(listen(fd, SOMAXCONN), "listen");
  checked(getsockname(fd, general, &length), "getsockname");
  std::printf("listening on 127.0.0.1:%d\n", ntohs(address.sin_port));
  std::fflush(stdout);
  return fd;
}

// Becomes readable when SIGTERM comes. No thread is interrupted by these signals.
int endSignal() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  checked(sigprocmask(SIG_BLOCK, &signals, nullptr), "sigprocmask");
  return checked(signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC), "signalfd");
}

class Ticker {
 public:
  Ticker() {
    clients_.reserve(kMaxClients);
    sender_ = std::thread([this] { run(); });
  }

  ~Ticker() {
    stopping_ = true;
    sender_.join();
    for (const int fd : clients_)
      close(fd);
  }

  Ticker(const Ticker&) = delete;
  Ticker& operator=(const Ticker&) = delete;

  void add(int fd) {
    if (clients_.size() < kMaxClients) {
      clients_.push_back(fd);
    } else {
      close(fd);
    }
  }

 private:
  void run() {
    for (std::uint64_t number = 1; !stopping_; ++number) {
      sendToAll("tick " + std::to_string(number) + "\n");
      std::this_thread::sleep_for(10ms);
    }
  }

  void sendToAll(const std::string& line) {
    for (auto client = clients_.begin(); client != clients_.end();) {
      const ssize_t n = send(*client, line.data(), line.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (n == static_cast<ssize_t>(line.size())) {
        ++client;
      } else {
        close(*client);
        client = clients_.erase(client);
      }
    }
  }

  std::atomic<bool> stopping_{false};
  std::vector<int> clients_;
  std::thread sender_;
};

}  // namespace

int main() {
  const int end = endSignal();
  const int listener = listenOnLoopback();
  Ticker ticker;
  while (true) {
    pollfd ready[] = {{end, POLLIN, 0}, {listener, POLLIN, 0}};
    const int n = poll(ready, 2, -1);
    if (n < 0 && errno == EINTR) continue;
    checked(n, "poll");
    if (ready[0].revents != 0) break;
    if (ready[1].revents == 0) continue;
    const int fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) ticker.add(fd);
  }
  close(listener);
  close(end);
}
