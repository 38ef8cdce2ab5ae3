// The echo server on epoll itself: the limit that a library can come close to. No objects, no
// callbacks, one buffer for all; correct all the same: what the kernel does not take is kept, and
// nothing more is read from a peer that does not read.

#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <vector>

#include "bench/echo/echo_server.h"

namespace {

/// What a connection has when its peer does not keep up; else it is empty.
struct Unsent {
  std::string bytes;
  std::size_t sent = 0;
};

class Server {
 public:
  explicit Server(const bench::ServerOptions& options)
      : edgeTriggered_(options.edgeTriggered),
        epoll_(epoll_create1(EPOLL_CLOEXEC)),
        listener_(bench::listenOn(options.port)),
        signals_(makeSignalFd()) {
    if (epoll_ < 0) bench::fail("epoll_create1");
    watch(EPOLL_CTL_ADD, listener_, EPOLLIN);
    watch(EPOLL_CTL_ADD, signals_, EPOLLIN);
  }

  void run() {
    bench::announce(listener_);
    epoll_event events[1024];
    while (!done_) {
      const int count = epoll_wait(epoll_, events, 1024, -1);
      if (count < 0 && errno != EINTR) bench::fail("epoll_wait");
      ++accounting_.waits;
      for (int i = 0; i < count; ++i)
        handle(events[i].data.fd, events[i].events);
    }
  }

 private:
  static int makeSignalFd() {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGUSR1);
    if (sigprocmask(SIG_BLOCK, &set, nullptr) != 0) bench::fail("sigprocmask");
    const int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (fd < 0) bench::fail("signalfd");
    return fd;
  }

  void watch(int operation, int fd, std::uint32_t events) {
    epoll_event event{};
    event.events = events;
    event.data.fd = fd;
    if (epoll_ctl(epoll_, operation, fd, &event) != 0) bench::fail("epoll_ctl");
  }

  void handle(int fd, std::uint32_t events) {
    if (fd == listener_) return accept();
    if (fd == signals_) return takeSignal();
    Unsent& unsent = unsent_[static_cast<std::size_t>(fd)];
    if (!unsent.bytes.empty() && !flush(fd, unsent)) return;
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0 || edgeTriggered_) echo(fd, unsent);
  }

  void accept() {
    for (;;) {
      const int fd = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd < 0) {
        if (errno == EINTR || errno == ECONNABORTED) continue;
        if (errno == EAGAIN) return;
        bench::fail("accept4");
      }
      ++accounting_.connections;
      if (unsent_.size() <= static_cast<std::size_t>(fd))
        unsent_.resize(static_cast<std::size_t>(fd) + 1);
      watch(EPOLL_CTL_ADD, fd, edgeTriggered_ ? EPOLLIN | EPOLLOUT | EPOLLET : EPOLLIN);
    }
  }

  void takeSignal() {
    signalfd_siginfo info;
    while (read(signals_, &info, sizeof info) == sizeof info) {
      if (info.ssi_signo == SIGTERM) done_ = true;
      if (info.ssi_signo == SIGUSR1) accounting_.print();
    }
  }

  void echo(int fd, Unsent& unsent) {
    for (;;) {
      const ssize_t got = recv(fd, buffer_, sizeof buffer_, 0);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0 && errno == EAGAIN) return;
      if (got <= 0) return close(fd);
      const auto size = static_cast<std::size_t>(got);
      accounting_.readDone(size);
      const ssize_t put = send(fd, buffer_, size, MSG_NOSIGNAL);
      if (put < 0 && errno != EAGAIN && errno != EINTR) return close(fd);
      const std::size_t taken = put < 0 ? 0 : static_cast<std::size_t>(put);
      if (taken < size) return keep(fd, unsent, taken, size);
      // The last bytes of a stream are followed by its end, which is an event of its own; so a read
      // that did not fill the buffer has emptied the socket. With ET, only then may one stop.
      if (!edgeTriggered_ || size < sizeof buffer_) return;
    }
  }

  void keep(int fd, Unsent& unsent, std::size_t from, std::size_t size) {
    unsent.bytes.assign(buffer_ + from, size - from);
    unsent.sent = 0;
    if (!edgeTriggered_) watch(EPOLL_CTL_MOD, fd, EPOLLOUT);
  }

  /// False when the connection is gone, or still has something to send.
  bool flush(int fd, Unsent& unsent) {
    const ssize_t put = send(fd, unsent.bytes.data() + unsent.sent,
                             unsent.bytes.size() - unsent.sent, MSG_NOSIGNAL);
    if (put < 0) {
      if (errno != EAGAIN && errno != EINTR) close(fd);
      return false;
    }
    unsent.sent += static_cast<std::size_t>(put);
    if (unsent.sent < unsent.bytes.size()) return false;
    unsent = Unsent{};
    if (!edgeTriggered_) watch(EPOLL_CTL_MOD, fd, EPOLLIN);
    return true;
  }

  void close(int fd) {
    unsent_[static_cast<std::size_t>(fd)] = Unsent{};
    (void)::close(fd);  // what the kernel could say here changes nothing for this server
  }

  const bool edgeTriggered_;
  const int epoll_;
  const int listener_;
  const int signals_;
  bool done_ = false;
  bench::Accounting accounting_;
  std::vector<Unsent> unsent_;  // by descriptor
  char buffer_[bench::kReadBytes];
};

}  // namespace

int main(int argc, char** argv) {
  static Server server(bench::parseServerOptions(argc, argv, true));
  server.run();
}
