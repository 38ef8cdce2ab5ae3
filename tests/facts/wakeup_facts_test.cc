// How one thread wakes another that sleeps in epoll_wait: eventfd, pipe, timerfd and signals.

#include <doctest/doctest.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>

#include <algorithm>
#include <csignal>
#include <ctime>

#include "tests/facts/Kernel.h"
#include "tests/facts/Threads.h"

using namespace facts;

namespace {

Fd eventFd(int flags = 0) {
  return Fd(must(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC | flags), "eventfd"));
}

ssize_t add(int fd, std::uint64_t count) {
  return write(fd, &count, sizeof count);
}

/// What a read of a counter gives, or -1.
std::int64_t take(int fd) {
  std::uint64_t count = 0;
  return read(fd, &count, sizeof count) == sizeof count ? static_cast<std::int64_t>(count) : -1;
}

}  // namespace

TEST_CASE("wake-up: an eventfd adds up what is written and one read takes all of it") {
  Fd fd = eventFd();
  CHECK(take(fd) == -1);
  CHECK(errno == EAGAIN);
  for (int i = 0; i < 1000; ++i)
    REQUIRE(add(fd, 1) == 8);
  CHECK(take(fd) == 1000);
  CHECK(take(fd) == -1);
}

TEST_CASE("wake-up: an eventfd moves eight bytes and refuses fewer") {
  Fd fd = eventFd();
  CHECK(write(fd, "1", 1) == -1);
  CHECK(errno == EINVAL);
  add(fd, 1);
  char four[4];
  CHECK(read(fd, four, sizeof four) == -1);
  CHECK(errno == EINVAL);
  CHECK(take(fd) == 1);
}

TEST_CASE("wake-up: an eventfd is full at its largest number and then says EAGAIN") {
  Fd fd = eventFd();
  CHECK(add(fd, UINT64_MAX - 1) == 8);
  CHECK(add(fd, 1) == -1);
  CHECK(errno == EAGAIN);  // which may be ignored: who is to be woken will be
  CHECK(eventsOf(fd, EPOLLIN | EPOLLOUT, EPOLLIN) == EPOLLIN);
}

TEST_CASE("wake-up: a semaphore eventfd gives one at a time") {
  Fd fd = eventFd(EFD_SEMAPHORE);
  add(fd, 3);
  CHECK(take(fd) == 1);
  CHECK(take(fd) == 1);
  CHECK(take(fd) == 1);
  CHECK(take(fd) == -1);
}

TEST_CASE("wake-up: a pipe takes two descriptors and is full after its buffer") {
  int ends[2];
  must(pipe2(ends, O_NONBLOCK | O_CLOEXEC), "pipe2");
  Fd readEnd(ends[0]), writeEnd(ends[1]);
  int written = 0;
  while (write(writeEnd, "w", 1) == 1)
    ++written;
  CHECK(errno == EAGAIN);
  CHECK(written == fcntl(writeEnd, F_GETPIPE_SZ));
  // A thousand wakes are a thousand bytes to read, where an eventfd has one number.
  CHECK(readSome(readEnd, 1000).result == 1000);
}

TEST_CASE("wake-up: a write wakes the thread that sleeps in epoll_wait") {
  Fd fd = eventFd();
  std::atomic<std::uint32_t> events{0};
  Watched sleeper([&] { events = Epoll(fd, EPOLLIN).wait(10s); });
  REQUIRE(sleeper.fallsAsleep());
  add(fd, 1);
  sleeper.join();
  CHECK(events == EPOLLIN);
}

TEST_CASE("wake-up: a write before the sleep is not lost") {
  Fd fd = eventFd();
  add(fd, 1);
  // A condition variable would have forgotten; a descriptor stays ready until it is read.
  CHECK(Epoll(fd, EPOLLIN).wait(10s) == EPOLLIN);
}

TEST_CASE("wake-up: a timerfd counts how often it has expired") {
  Fd fd(must(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC), "timerfd_create"));
  CHECK(take(fd) == -1);
  itimerspec each{};
  each.it_value.tv_nsec = each.it_interval.tv_nsec = 1'000'000;
  must(timerfd_settime(fd, 0, &each, nullptr), "timerfd_settime");
  timespec begin{}, now{};
  clock_gettime(CLOCK_MONOTONIC, &begin);
  do {
    clock_gettime(CLOCK_MONOTONIC, &now);
  } while ((now.tv_sec - begin.tv_sec) * 1000 + (now.tv_nsec - begin.tv_nsec) / 1'000'000 < 6);
  CHECK(take(fd) >= 5);  // one read for all that was missed
}

TEST_CASE("wake-up: a timerfd that was set to zero is off") {
  Fd fd(must(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC), "timerfd_create"));
  itimerspec soon{};
  soon.it_value.tv_nsec = 1;
  must(timerfd_settime(fd, 0, &soon, nullptr), "timerfd_settime");
  REQUIRE(eventsOf(fd, EPOLLIN, EPOLLIN) == EPOLLIN);
  const itimerspec off{};
  must(timerfd_settime(fd, 0, &off, nullptr), "timerfd_settime");
  CHECK(Epoll(fd, EPOLLIN).look() == 0);
  CHECK(take(fd) == -1);
}

TEST_CASE("wake-up: of absolute times only exactly 0 switches a timerfd off and the past is now") {
  Fd fd(must(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC), "timerfd_create"));
  itimerspec past{};
  past.it_value.tv_nsec = 1;  // a nanosecond after the start of the machine
  must(timerfd_settime(fd, TFD_TIMER_ABSTIME, &past, nullptr), "timerfd_settime");
  CHECK(eventsOf(fd, EPOLLIN, EPOLLIN) == EPOLLIN);
  const itimerspec off{};
  must(timerfd_settime(fd, TFD_TIMER_ABSTIME, &off, nullptr), "timerfd_settime");
  CHECK(Epoll(fd, EPOLLIN).look() == 0);
  // A length of time that is negative is refused.
  itimerspec negative{};
  negative.it_value.tv_sec = -1;
  CHECK(timerfd_settime(fd, 0, &negative, nullptr) == -1);
  CHECK(errno == EINVAL);
}

TEST_CASE("wake-up: epoll_pwait2 waits for less than a millisecond") {
  Epoll nothing;
  epoll_event event{};
  const timespec tenth{0, 100'000};
  auto shortest = std::chrono::nanoseconds::max();
  for (int i = 0; i < 100; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    const long result = syscall(SYS_epoll_pwait2, nothing.fd(), &event, 1, &tenth, nullptr, 0L);
    if (result == -1 && errno == ENOSYS) {
      MESSAGE("skipped: this kernel is older than 5.11");
      return;
    }
    REQUIRE(result == 0);
    const std::chrono::nanoseconds waited = std::chrono::steady_clock::now() - begin;
    CHECK(waited >= 100us);
    shortest = std::min(shortest, waited);
  }
  MESSAGE("the shortest of 100 waits for 100 us: " << shortest.count() / 1000 << " us");
  CHECK(shortest < 1ms);
}

TEST_CASE("wake-up: a signal becomes readable with a signalfd if it is blocked") {
  sigset_t set, before;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &set, &before);
  {
    Fd fd(must(signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC), "signalfd"));
    pthread_kill(pthread_self(), SIGUSR1);
    CHECK(eventsOf(fd, EPOLLIN, EPOLLIN) == EPOLLIN);
    signalfd_siginfo info{};
    CHECK(read(fd, &info, sizeof info) == sizeof info);
    CHECK(info.ssi_signo == SIGUSR1);
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

namespace {

int signalPipe = -1;

void onAlarm(int) {
  (void)!write(signalPipe, "s", 1);
}

}  // namespace

TEST_CASE("wake-up: a signal ends epoll_wait with EINTR despite SA_RESTART and resumes a read") {
#ifdef __SANITIZE_THREAD__
  MESSAGE("skipped: ThreadSanitizer puts signals off until a system call has returned");
  return;
#endif
  int ends[2];
  must(pipe2(ends, O_CLOEXEC), "pipe2");
  Fd readEnd(ends[0]), writeEnd(ends[1]);
  signalPipe = writeEnd;
  struct sigaction action {};
  struct sigaction before {};
  action.sa_handler = onAlarm;
  action.sa_flags = SA_RESTART;
  must(sigaction(SIGALRM, &action, &before), "sigaction");
  const itimerval soon{{0, 0}, {0, 20'000}};

  Epoll nothing;
  epoll_event event{};
  must(setitimer(ITIMER_REAL, &soon, nullptr), "setitimer");
  CHECK(epoll_wait(nothing.fd(), &event, 1, 10'000) == -1);
  CHECK(errno == EINTR);
  CHECK(readSome(readEnd).result == 1);  // what the handler wrote

  // The read sleeps, the handler runs, and the read goes on: with the handler's own byte.
  must(setitimer(ITIMER_REAL, &soon, nullptr), "setitimer");
  CHECK(readSome(readEnd) == Outcome{1, 0});
  must(sigaction(SIGALRM, &before, nullptr), "sigaction");
}
