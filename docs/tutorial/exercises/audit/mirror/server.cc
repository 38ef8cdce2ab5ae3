// mirror: a client sends messages, and gets each back with its body reversed.
//
// A message is a header of four bytes, the length of the body in network byte order, and the body,
// which has at most 65,536 bytes. One thread and epoll(7). A client is not read from while it has
// an answer to take.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <utility>

namespace {

constexpr std::uint32_t kHeader = 4;
constexpr std::size_t kMaxClients = 100;

struct Client {
  std::string message = std::string(kHeader, '\0');  // the header, and the body once it is known
  std::size_t got = 0;                               // how much of the message has come
  std::string out;                                   // not taken by the socket yet
};

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

void watch(int epoll, int operation, int fd, std::uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.fd = fd;
  checked(epoll_ctl(epoll, operation, fd, &event), "epoll_ctl");
}

bool wouldBlock() {
  return errno == EAGAIN || errno == EINTR;
}

// Both return false when the connection is to be closed.
bool readFrom(int fd, Client& client) {
  std::string& message = client.message;
  const ssize_t n = recv(fd, message.data() + client.got, message.size() - client.got, 0);
  if (n <= 0) return n < 0 && wouldBlock();
  client.got += static_cast<std::size_t>(n);
  if (client.got == kHeader) {
    std::uint32_t length = 0;
    std::memcpy(&length, message.data(), sizeof length);
    message.resize(kHeader + ntohl(length));
  }
  if (client.got < message.size()) return true;
  std::reverse(message.begin() + kHeader, message.end());
  client.out = std::exchange(client.message, std::string(kHeader, '\0'));
  client.got = 0;
  return true;
}

bool writeTo(int fd, Client& client) {
  if (client.out.empty()) return true;
  const ssize_t n = send(fd, client.out.data(), client.out.size(), MSG_NOSIGNAL);
  if (n < 0) return wouldBlock();
  client.out.erase(0, static_cast<std::size_t>(n));
  return true;
}

void acceptClient(int epoll, int listener, std::map<int, Client>& clients) {
  const int fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0) return;
  if (clients.size() < kMaxClients) {
    clients.emplace(fd, Client());
    watch(epoll, EPOLL_CTL_ADD, fd, EPOLLIN);
  } else {
    close(fd);
  }
}

}  // namespace

int main() {
  const int end = endSignal();
  const int listener = listenOnLoopback();
  const int epoll = checked(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
  watch(epoll, EPOLL_CTL_ADD, end, EPOLLIN);
  watch(epoll, EPOLL_CTL_ADD, listener, EPOLLIN);
  std::map<int, Client> clients;
  std::array<epoll_event, 64> events;
  while (true) {
    const int n = epoll_wait(epoll, events.data(), static_cast<int>(events.size()), -1);
    if (n < 0 && errno == EINTR) continue;
    checked(n, "epoll_wait");
    for (int i = 0; i < n; ++i) {
      const int fd = events[static_cast<std::size_t>(i)].data.fd;
      if (fd == end) return 0;
      if (fd == listener) {
        acceptClient(epoll, listener, clients);
        continue;
      }
      if (clients.count(fd) == 0) continue;
      Client& client = clients[fd];
      const bool goesOn = !client.out.empty() || readFrom(fd, client);
      if (writeTo(fd, client) && goesOn) {
        watch(epoll, EPOLL_CTL_MOD, fd, client.out.empty() ? EPOLLIN : EPOLLOUT);
      } else {
        clients.erase(fd);
        close(fd);
      }
    }
  }
}
