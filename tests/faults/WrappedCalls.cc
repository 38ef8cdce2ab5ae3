#include <fcntl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>

#include "tests/faults/Decision.h"
#include "tests/faults/RealCalls.h"

namespace rung::testing {

namespace {

constexpr int kShort = FaultPlan::kShort;

Kind kindOfOpen(int flags) {
  return (flags & O_CREAT) != 0 ? Kind::file : Kind::other;
}

bool endsConnection(int error) {
  return error == ECONNRESET || error == ETIMEDOUT || error == EPIPE;
}

template <class Result>
Result failed(int fd, int error) {
  // After a real one, too, reads find the end of the stream, and writes a closed connection.
  if (endsConnection(error)) (void)shutdown(fd, SHUT_RDWR);
  errno = error;
  return static_cast<Result>(-1);
}

/// Notes that the call did something.
template <class Result>
Result done(Result result) {
  if (result >= 0) noteProgress();
  return result;
}

/// A part of `size`, often a very small one.
std::size_t partOf(std::size_t size, std::uint64_t random) {
  if (size <= 1) return size;
  return 1 + (random >> 8) % (random % 2 == 0 ? std::min<std::size_t>(size - 1, 16) : size - 1);
}

/// One buffer: read, recv, write, send.
template <class Real>
ssize_t plainCall(Call call, int fd, std::size_t size, Real real) {
  if (!active()) return real(size);
  const Decision decision = decide(call, kindOf(fd));
  if (decision.fault == kShort) return done(real(partOf(size, decision.random)));
  if (decision.fault == FaultPlan::kNothing) return 0;
  if (decision) return failed<ssize_t>(fd, decision.fault);
  return done(real(size));
}

/// Several buffers: readv, writev, sendmsg. `real` takes an array and its length.
template <class Real>
ssize_t gatherCall(Call call, int fd, const iovec* places, std::size_t count, Real real) {
  constexpr std::size_t kMost = 64;
  if (!active() || count > kMost) return real(places, count);
  const Decision decision = decide(call, kindOf(fd));
  if (decision && decision.fault != kShort) return failed<ssize_t>(fd, decision.fault);
  if (!decision) return done(real(places, count));
  std::size_t total = 0;
  for (std::size_t i = 0; i < count; ++i)
    total += places[i].iov_len;
  std::size_t left = partOf(total, decision.random);
  iovec some[kMost];
  std::size_t used = 0;
  for (; used < count && (left > 0 || used == 0); ++used) {
    some[used] = {places[used].iov_base, std::min(places[used].iov_len, left)};
    left -= some[used].iov_len;
  }
  return done(real(some, used));
}

/// Calls that either do all or fail.
template <class Real>
int simpleCall(Call call, Real real, Kind kind = Kind::other) {
  if (!active()) return real();
  if (const Decision decision = decide(call, kind)) return failed<int>(-1, decision.fault);
  return done(real());
}

}  // namespace

}  // namespace rung::testing

// What the linker calls in place of the C library's functions.

using namespace rung::testing;

extern "C" {

ssize_t __wrap_read(int fd, void* bytes, size_t size) {
  return plainCall(Call::read, fd, size, [=](size_t n) { return __real_read(fd, bytes, n); });
}
ssize_t __wrap_recv(int fd, void* bytes, size_t size, int flags) {
  return plainCall(Call::recv, fd, size,
                   [=](size_t n) { return __real_recv(fd, bytes, n, flags); });
}
ssize_t __wrap_write(int fd, const void* bytes, size_t size) {
  return plainCall(Call::write, fd, size, [=](size_t n) { return __real_write(fd, bytes, n); });
}
ssize_t __wrap_send(int fd, const void* bytes, size_t size, int flags) {
  return plainCall(Call::send, fd, size,
                   [=](size_t n) { return __real_send(fd, bytes, n, flags); });
}
ssize_t __wrap_readv(int fd, const iovec* places, int count) {
  return gatherCall(
      Call::readv, fd, places, static_cast<size_t>(count),
      [=](const iovec* p, size_t n) { return __real_readv(fd, p, static_cast<int>(n)); });
}
ssize_t __wrap_writev(int fd, const iovec* places, int count) {
  return gatherCall(
      Call::writev, fd, places, static_cast<size_t>(count),
      [=](const iovec* p, size_t n) { return __real_writev(fd, p, static_cast<int>(n)); });
}
ssize_t __wrap_sendmsg(int fd, const msghdr* message, int flags) {
  return gatherCall(Call::sendmsg, fd, message->msg_iov, message->msg_iovlen,
                    [=](const iovec* p, size_t n) {
                      msghdr part = *message;
                      part.msg_iov = const_cast<iovec*>(p);  // it is only read
                      part.msg_iovlen = n;
                      return __real_sendmsg(fd, &part, flags);
                    });
}

int __wrap_accept4(int fd, sockaddr* address, socklen_t* length, int flags) {
  return simpleCall(Call::accept4, [=] { return __real_accept4(fd, address, length, flags); });
}

int __wrap_epoll_wait(int fd, epoll_event* events, int size, int timeout) {
  if (!active()) return __real_epoll_wait(fd, events, size, timeout);
  beginWait();
  if (const Decision decision = decide(Call::epollWait)) {
    return failed<int>(-1, decision.fault);
  }
  const int count = __real_epoll_wait(fd, events, size, timeout);
  endWait(count > 0);
  return count;
}
int __wrap_epoll_ctl(int fd, int operation, int target, epoll_event* event) {
  if (operation == EPOLL_CTL_ADD) {
    return simpleCall(Call::epollCtlAdd,
                      [=] { return __real_epoll_ctl(fd, operation, target, event); });
  }
  return done(__real_epoll_ctl(fd, operation, target, event));
}
int __wrap_epoll_create1(int flags) {
  return simpleCall(Call::epollCreate1, [=] { return __real_epoll_create1(flags); });
}
int __wrap_eventfd(unsigned value, int flags) {
  return simpleCall(Call::eventfd, [=] { return __real_eventfd(value, flags); });
}
int __wrap_timerfd_create(int clock, int flags) {
  return simpleCall(Call::timerfdCreate, [=] { return __real_timerfd_create(clock, flags); });
}

int __wrap_setsockopt(int fd, int level, int option, const void* value, socklen_t size) {
  return simpleCall(Call::setsockopt,
                    [=] { return __real_setsockopt(fd, level, option, value, size); });
}

// With 64-bit file offsets, open() is compiled to open64(). The mode is there only with O_CREAT; a
// superfluous one is ignored.
int __wrap_open(const char* path, int flags, mode_t mode) {
  return simpleCall(
      Call::open, [=] { return __real_open(path, flags, mode); }, kindOfOpen(flags));
}
int __wrap_open64(const char* path, int flags, mode_t mode) {
  return simpleCall(
      Call::open, [=] { return __real_open64(path, flags, mode); }, kindOfOpen(flags));
}

}  // extern "C"
