// An echo server for many clients on one thread: epoll by hand.
//
//   many [PORT] [block]    with `block`, send(2) waits for room

#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>

int listenOn(int port) {
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  const int on = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<in_port_t>(port));
  socklen_t length = sizeof address;
  auto* const general = reinterpret_cast<sockaddr*>(&address);
  if (bind(listener, general, length) != 0 || listen(listener, SOMAXCONN) != 0 ||
      getsockname(listener, general, &length) != 0) {
    std::perror("cannot listen");
    std::exit(1);
  }
  std::printf("listening on port %d\n", ntohs(address.sin_port));
  return listener;
}

void watch(int poller, int fd) {
  epoll_event interest{};
  interest.events = EPOLLIN;  // tell me when there is something to read
  interest.data.fd = fd;      // and give me this back then
  if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &interest) != 0) std::perror("epoll_ctl");
}

void echo(int client) {
  char bytes[4096];
  const ssize_t n = recv(client, bytes, sizeof bytes, 0);
  if (n > 0) {
    send(client, bytes, static_cast<std::size_t>(n), 0);
  } else if (n == 0 || errno != EAGAIN) {
    std::printf("descriptor %d: the end\n", client);
    close(client);  // takes it out of epoll, too
  }
}

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  const int mode = argc > 2 ? 0 : SOCK_NONBLOCK;
  const int listener = listenOn(argc > 1 ? std::atoi(argv[1]) : 9000);
  const int poller = epoll_create1(EPOLL_CLOEXEC);
  watch(poller, listener);
  while (true) {
    epoll_event ready[64];
    const int count = epoll_wait(poller, ready, 64, -1);  // sleeps until something is ready
    for (int i = 0; i < count; ++i) {
      if (ready[i].data.fd != listener) {
        echo(ready[i].data.fd);
      } else if (const int client = accept4(listener, nullptr, nullptr, mode); client >= 0) {
        std::printf("descriptor %d: a client\n", client);
        watch(poller, client);
      }
    }
  }
}
