// words: a client sends lines, and gets the number of words in each, as a line.
//
// One thread and poll(2). A client is not read from while it has an answer to take.

#include <netinet/in.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr std::size_t kMaxLine = 1000;  // with its end
constexpr std::size_t kMaxClients = 100;

struct Client {
  std::string out;  // not taken by the socket yet
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

bool wouldBlock() {
  return errno == EAGAIN || errno == EINTR;
}

std::size_t countWords(std::string_view line) {
  constexpr std::string_view kBlanks = " \t\r\n";
  std::size_t words = 0;
  std::size_t at = line.find_first_not_of(kBlanks);
  while (at != std::string_view::npos) {
    ++words;
    at = line.find_first_not_of(kBlanks, line.find_first_of(kBlanks, at));
  }
  return words;
}

// Both return false when the connection is to be closed.
bool readFrom(int fd, Client& client) {
  char line[kMaxLine + 1];
  const ssize_t n = recv(fd, line, sizeof line, 0);
  if (n < 0) return wouldBlock();
  const auto size = static_cast<std::size_t>(n);
  if (size == 0 || size > kMaxLine) return false;
  client.out = std::to_string(countWords({line, size})) + "\n";
  return true;
}

bool writeTo(int fd, Client& client) {
  if (client.out.empty()) return true;
  const ssize_t n = send(fd, client.out.data(), client.out.size(), MSG_NOSIGNAL);
  if (n < 0) return wouldBlock();
  client.out.erase(0, static_cast<std::size_t>(n));
  return true;
}

void acceptClient(int listener, std::map<int, Client>& clients) {
  const int fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0) return;
  if (clients.size() < kMaxClients) {
    clients.emplace(fd, Client());
  } else {
    close(fd);
  }
}

}  // namespace

int main() {
  const int end = endSignal();
  const int listener = listenOnLoopback();
  std::map<int, Client> clients;
  while (true) {
    std::vector<pollfd> ready{{end, POLLIN, 0}, {listener, POLLIN, 0}};
    for (const auto& [fd, client] : clients) {
      ready.push_back({fd, static_cast<short>(client.out.empty() ? POLLIN : POLLOUT), 0});
    }
    const int n = poll(ready.data(), ready.size(), -1);
    if (n < 0 && errno == EINTR) continue;
    checked(n, "poll");
    if (ready[0].revents != 0) break;
    for (std::size_t i = 2; i < ready.size(); ++i) {
      if (ready[i].revents == 0) continue;
      const int fd = ready[i].fd;
      Client& client = clients[fd];
      const bool goesOn = !client.out.empty() || readFrom(fd, client);
      if (writeTo(fd, client) && goesOn) continue;
      clients.erase(fd);
      close(fd);
    }
    if (ready[1].revents != 0) acceptClient(listener, clients);
  }
  for (const auto& [fd, client] : clients)
    close(fd);
  close(listener);
  close(end);
}
