// Prints each return of epoll_wait, and reads at most four bytes for each.
//
//   triggers [PORT] [edge]    level-triggered without `edge`

#include <sys/epoll.h>
#include <unistd.h>

#include <cerrno>

#include "sixty.h"

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  const bool edge = argc > 2;
  const int listener = listenOn(argc > 1 ? std::atoi(argv[1]) : 9000);
  const int poller = epoll_create1(EPOLL_CLOEXEC);
  watch(poller, listener);
  while (true) {
    epoll_event ready;
    if (epoll_wait(poller, &ready, 1, -1) != 1) continue;
    if (ready.data.fd == listener) {
      const int client = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK);
      if (client >= 0) watch(poller, client, edge ? EPOLLIN | EPOLLET : EPOLLIN);
      continue;
    }
    char bytes[4];
    const ssize_t n = recv(ready.data.fd, bytes, sizeof bytes, 0);
    if (n > 0) {
      for (char& byte : bytes)
        if (byte == '\n') byte = '.';
      std::printf("ready, read %zd: %.*s\n", n, static_cast<int>(n), bytes);
    } else if (n == 0 || errno != EAGAIN) {
      std::printf("ready, read %zd: the end\n", n);
      close(ready.data.fd);
    }
  }
}
