// pulse: a client gets back all bytes that it sends. One that is silent for a second is closed, and
// one that does not take its bytes.
//
// One thread and epoll(7). The times are kept by a wheel, a slot for each tick of 50 ms.

#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <set>

namespace {

constexpr std::size_t kMaxClients = 100;
constexpr itimerspec kTick{{0, 50'000'000}, {0, 50'000'000}};
constexpr std::size_t kIdleTicks = 20;
constexpr std::size_t kSlots = 32;

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

// Becomes readable with each tick.
int tickTimer() {
  const int fd = checked(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC), "a timer");
  checked(timerfd_settime(fd, 0, &kTick, nullptr), "timerfd_settime");
  return fd;
}

// A ring of slots, one for each tick. A client stands in the slot of the tick that will close it.
class Wheel {
 public:
  [[nodiscard]] std::size_t size() const { return slotOf_.size(); }

  void add(int fd) {
    const std::size_t slot = slotOfLater();
    slots_[slot].insert(fd);
    slotOf_[fd] = slot;
  }

  void remove(int fd) {
    slots_[slotOf_[fd]].erase(fd);
    slotOf_.erase(fd);
  }

  // A busy client sends many messages in one tick, and has to be moved only once.
  void refresh(int fd) {
    if (slotOfLater() == slotOf_[fd]) return;
    remove(fd);
    add(fd);
  }

  // Goes on by one tick, and returns the clients whose time is over.
  std::set<int> turn() {
    now_ = (now_ + 1) % kSlots;
    return slots_[now_];
  }

 private:
  [[nodiscard]] std::size_t slotOfLater() const { return (now_ + kIdleTicks) % kSlots; }

  std::size_t now_ = 0;
  std::array<std::set<int>, kSlots> slots_;
  std::map<int, std::size_t> slotOf_;
};

void watch(int epoll, int fd) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = fd;
  checked(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
}

// Returns false when the connection is to be closed.
bool serve(int fd, Wheel& wheel) {
  char bytes[4096];
  const ssize_t n = recv(fd, bytes, sizeof bytes, 0);
  if (n <= 0) return n < 0 && errno == EAGAIN;
  wheel.refresh(fd);
  return send(fd, bytes, static_cast<std::size_t>(n), MSG_NOSIGNAL) == n;
}

void closeClient(int fd, Wheel& wheel) {
  wheel.remove(fd);
  close(fd);
}

}  // namespace

int main() {
  const int end = endSignal();
  const int listener = listenOnLoopback();
  const int timer = tickTimer();
  const int epoll = checked(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
  for (const int fd : {end, listener, timer}) {
    watch(epoll, fd);
  }
  Wheel wheel;
  while (true) {
    epoll_event event{};
    const int n = epoll_wait(epoll, &event, 1, -1);
    if (n < 0 && errno == EINTR) continue;
    checked(n, "epoll_wait");
    const int fd = event.data.fd;
    if (fd == end) return 0;
    if (fd == listener) {
      const int client = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (client < 0) continue;
      watch(epoll, client);
      wheel.add(client);
      if (wheel.size() > kMaxClients) closeClient(client, wheel);
    } else if (fd == timer) {
      // One tick, however many have passed: the clients were not silent while the server slept.
      std::uint64_t ticks = 0;
      if (read(timer, &ticks, sizeof ticks) < 0) continue;
      for (const int silent : wheel.turn()) {
        closeClient(silent, wheel);
      }
    } else if (!serve(fd, wheel)) {
      closeClient(fd, wheel);
    }
  }
}
