// echo: a client gets back all bytes that it sends.
//
// One thread, and edge-triggered epoll(7). A client is not read from while it has bytes to take.

#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>

namespace {

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

// Becomes readable when SIGTERM comes.
int endSignal() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  checked(sigprocmask(SIG_BLOCK, &signals, nullptr), "sigprocmask");
  return checked(signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC), "signalfd");
}

void watch(int epoll, int fd, std::uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.fd = fd;
  checked(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
}

class EchoServer {
 public:
  EchoServer(int listener, int end) : listener_(listener), end_(end) {
    watch(epoll_, listener_, EPOLLIN | EPOLLET);
    watch(epoll_, end_, EPOLLIN);
  }

  void run() {
    std::array<epoll_event, 64> events;
    while (true) {
      const int n = epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), -1);
      if (n < 0 && errno == EINTR) continue;
      checked(n, "epoll_wait");
      for (int i = 0; i < n; ++i) {
        const int fd = events[static_cast<std::size_t>(i)].data.fd;
        if (fd == end_) return;
        if (fd == listener_) {
          acceptClient();
        } else if (clients_.count(fd) != 0 && !serve(fd, clients_[fd])) {
          clients_.erase(fd);
          close(fd);
        }
      }
    }
  }

 private:
  void acceptClient() {
    const int fd = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    if (clients_.size() < kMaxClients) {
      clients_.emplace(fd, std::string());
      watch(epoll_, fd, EPOLLIN | EPOLLOUT | EPOLLET);
    } else {
      close(fd);
    }
  }

  // Returns false when the connection is to be closed. `out` has the bytes that the client gets.
  bool serve(int fd, std::string& out) {
    if (!write(fd, out)) return false;
    if (!out.empty()) return true;  // EPOLLOUT will come
    char bytes[4096];
    const ssize_t n = recv(fd, bytes, sizeof bytes, 0);
    if (n <= 0) return n < 0 && errno == EAGAIN;
    out.assign(bytes, static_cast<std::size_t>(n));
    return write(fd, out);
  }

  static bool write(int fd, std::string& out) {
    while (!out.empty()) {
      const ssize_t n = send(fd, out.data(), out.size(), MSG_NOSIGNAL);
      if (n < 0) return errno == EAGAIN;
      out.erase(0, static_cast<std::size_t>(n));
    }
    return true;
  }

  const int epoll_ = checked(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
  const int listener_;
  const int end_;
  std::map<int, std::string> clients_;
};

}  // namespace

int main() {
  const int end = endSignal();
  EchoServer(listenOnLoopback(), end).run();
}
