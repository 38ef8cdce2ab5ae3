// An eventfd seen through epoll: rung three times, looked at, read.

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>

int main() {
  const int bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  const int poller = epoll_create1(EPOLL_CLOEXEC);
  epoll_event interest{};
  interest.events = EPOLLIN;
  epoll_ctl(poller, EPOLL_CTL_ADD, bell, &interest);

  const std::uint64_t one = 1;
  for (int i = 0; i < 3; ++i)
    if (write(bell, &one, sizeof one) != sizeof one) std::perror("write");

  epoll_event ready;
  int returns = 0;
  for (int i = 0; i < 1000; ++i)
    returns += epoll_wait(poller, &ready, 1, 0);
  std::printf("not read: %d waits return %d times\n", 1000, returns);

  std::uint64_t rings = 0;
  if (read(bell, &rings, sizeof rings) != sizeof rings) std::perror("read");
  std::printf("read: %d rings\n", static_cast<int>(rings));
  std::printf("after that: epoll_wait returns %d\n", epoll_wait(poller, &ready, 1, 0));
  if (read(bell, &rings, sizeof rings) < 0) std::printf("read again: %s\n", std::strerror(errno));
}
