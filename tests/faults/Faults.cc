#include "tests/faults/Faults.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <utility>

#include "rung/base/Mutex.h"

#include "tests/faults/RealCalls.h"

namespace rung::testing {

namespace {

constexpr int kShort = FaultPlan::kShort;  // a part of what was asked for

enum class Kind { socket, file, event, other };

Kind kindOf(int fd) {
  struct stat status {};
  if (fstat(fd, &status) != 0) return Kind::other;
  if (S_ISSOCK(status.st_mode)) return Kind::socket;
  if (S_ISREG(status.st_mode)) return Kind::file;
  // eventfd, timerfd and signalfd are inodes without a type.
  return (status.st_mode & S_IFMT) == 0 ? Kind::event : Kind::other;
}

Kind kindOfOpen(int flags) {
  return (flags & O_CREAT) != 0 ? Kind::file : Kind::other;
}

/// What can go wrong. What stands more than once comes more often.
std::span<const int> faultsOf(Call call, Kind kind) {
  static constexpr int kReadSocket[] = {EINTR,  EAGAIN, kShort, kShort,     kShort,   EAGAIN,
                                        kShort, kShort, ENOMEM, ECONNRESET, ETIMEDOUT};
  static constexpr int kReadEvent[] = {EAGAIN, EINTR};
  // Not EAGAIN: that says that the counter is full, and so that the loop is awake.
  static constexpr int kWriteEvent[] = {EINTR};
  static constexpr int kWriteFile[] = {kShort, kShort, EINTR, ENOSPC, EIO};
  static constexpr int kSend[] = {EINTR,  EAGAIN, kShort, kShort,  kShort,     EAGAIN,
                                  kShort, kShort, ENOMEM, ENOBUFS, ECONNRESET, EPIPE};
  static constexpr int kAccept[] = {EINTR,  EAGAIN,    ECONNABORTED, EPROTO,     ENETDOWN,
                                    EMFILE, EMFILE,    ENFILE,       ENOBUFS,    ENOMEM,
                                    EPERM,  ETIMEDOUT, EHOSTUNREACH, ENETUNREACH};
  static constexpr int kWait[] = {EINTR};
  static constexpr int kAdd[] = {ENOMEM, ENOSPC};
  static constexpr int kNewDescriptor[] = {EMFILE, ENFILE, ENOMEM};
  static constexpr int kOpen[] = {EMFILE, ENFILE, ENOMEM};
  static constexpr int kCreate[] = {EMFILE, ENFILE, ENOMEM, ENOSPC, EINTR};
  switch (call) {
    case Call::read:
    case Call::readv:
    case Call::recv:
      if (kind == Kind::socket) return kReadSocket;
      if (kind == Kind::event) return kReadEvent;
      return {};
    case Call::write:
    case Call::writev:
    case Call::send:
    case Call::sendmsg:
      if (kind == Kind::socket) return kSend;
      if (kind == Kind::file) return kWriteFile;
      if (kind == Kind::event) return kWriteEvent;
      return {};
    case Call::accept4:
      return kAccept;
    case Call::epollWait:
      return kWait;
    case Call::epollCtlAdd:
      return kAdd;
    case Call::epollCreate1:
    case Call::eventfd:
    case Call::timerfdCreate:
      return kNewDescriptor;
    case Call::open:
      // Only a disk is full, or slow enough for a signal to come in between (NFS, FUSE).
      return kind == Kind::file ? std::span<const int>(kCreate) : std::span<const int>(kOpen);
  }
  return {};
}

bool isFatal(int error) {
  return error != kShort && error != EINTR && error != EAGAIN;
}

bool endsConnection(int error) {
  return error == ECONNRESET || error == ETIMEDOUT || error == EPIPE;
}

std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
  std::uint64_t x = a + 0x9E3779B97F4A7C15 * (b + 1);
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

std::atomic<bool> armed{false};
Mutex planMutex;
// Shared: a call may be under way when it changes.
std::shared_ptr<const FaultPlan> thePlan GUARDED_BY(planMutex);
std::array<std::atomic<std::uint64_t>, kCalls> calls{};
std::atomic<std::uint64_t> injected{0};
std::atomic<std::uint64_t> fatal{0};
std::atomic<std::uint64_t> idleReturns{0};

Mutex reportMutex;
std::map<std::pair<Call, int>, std::uint64_t>& reportTable() {
  static std::map<std::pair<Call, int>, std::uint64_t> table;
  return table;
}

thread_local int spared = 0;
thread_local bool idleSinceEvent = false;

bool active() {
  return spared == 0 && armed.load();
}

std::shared_ptr<const FaultPlan> presentPlan() {
  const MutexLock lock(planMutex);
  return thePlan;
}

/// The error to fail with, kShort, or nothing.
struct Decision {
  int fault = 0;
  std::uint64_t random = 0;

  explicit operator bool() const { return fault != 0; }
};

Decision decide(Call call, Kind kind = Kind::other) {
  const auto index = static_cast<std::size_t>(call);
  const std::shared_ptr<const FaultPlan> plan = presentPlan();
  const std::uint64_t number = calls[index].fetch_add(1);
  const std::uint64_t random = mix(mix(plan->seed, index), number);
  const std::uint64_t second = mix(random, 1);
  int fault = 0;
  if (plan->scripted == call) {
    if (number < plan->script.size()) fault = plan->script[number];
  } else if (static_cast<int>(random % 1000) < plan->perMille[index]) {
    const std::span<const int> faults = faultsOf(call, kind);
    if (!faults.empty()) fault = faults[second % faults.size()];
  }
  if (fault == 0) return {};
  injected.fetch_add(1);
  if (isFatal(fault)) fatal.fetch_add(1);
  idleSinceEvent = false;
  const MutexLock lock(reportMutex);
  ++reportTable()[{call, fault}];
  return {fault, mix(second, 2)};
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
  if (result >= 0) idleSinceEvent = false;
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

const char* nameOf(Call call) {
  static constexpr const char* kNames[kCalls] = {
      "read",          "readv",   "recv",           "write",      "writev",
      "send",          "sendmsg", "accept4",        "epoll_wait", "epoll_ctl ADD",
      "epoll_create1", "eventfd", "timerfd_create", "open"};
  return kNames[static_cast<std::size_t>(call)];
}

FaultPlan FaultPlan::random(std::uint64_t seed) {
  static constexpr int kHowOften[] = {0, 0, 20, 100, 300};
  FaultPlan plan;
  plan.seed = seed;
  for (std::size_t i = 0; i < kCalls; ++i)
    plan.perMille[i] = kHowOften[mix(seed, 1000 + i) % std::size(kHowOften)];
  return plan;
}

void Faults::arm(const FaultPlan& newPlan) {
  armed.store(false);
  {
    auto copy = std::make_shared<const FaultPlan>(newPlan);
    const MutexLock lock(planMutex);
    thePlan = std::move(copy);
  }
  for (auto& count : calls)
    count.store(0);
  injected.store(0);
  fatal.store(0);
  idleReturns.store(0);
  armed.store(true);
}

FaultCounts Faults::counts() {
  FaultCounts counts;
  for (std::size_t i = 0; i < kCalls; ++i)
    counts.calls[i] = calls[i].load();
  counts.injected = injected.load();
  counts.fatal = fatal.load();
  counts.idleReturns = idleReturns.load();
  return counts;
}

FaultCounts Faults::disarm() {
  armed.store(false);
  return counts();
}

Faults::Spare::Spare() {
  ++spared;
}
Faults::Spare::~Spare() {
  --spared;
}

std::string Faults::report() {
  const MutexLock lock(reportMutex);
  std::string text;
  for (const auto& [what, count] : reportTable()) {
    const auto& [call, fault] = what;
    text += text.empty() ? "" : ", ";
    text += std::string(nameOf(call)) + ' ';
    text += fault == kShort ? "short" : strerrorname_np(fault);
    text += ' ' + std::to_string(count);
  }
  return text;
}

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
  if (std::exchange(idleSinceEvent, false)) idleReturns.fetch_add(1);
  if (const Decision decision = decide(Call::epollWait)) {
    return failed<int>(-1, decision.fault);
  }
  const int count = __real_epoll_wait(fd, events, size, timeout);
  idleSinceEvent = count > 0;
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
