#pragma once

// `listenOn` and `watch` of many.cc, for the programs that follow it.

#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>

inline int listenOn(int port) {
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

inline void watch(int poller, int fd, std::uint32_t events = EPOLLIN) {
  epoll_event interest{};
  interest.events = events;
  interest.data.fd = fd;
  if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &interest) != 0) std::perror("epoll_ctl");
}
