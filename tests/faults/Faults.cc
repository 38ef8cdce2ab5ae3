#include "tests/faults/Faults.h"

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

#include "tests/faults/Decision.h"

namespace rung::testing {

namespace {

constexpr int kShort = FaultPlan::kShort;  // a part of what was asked for

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
    case Call::setsockopt:
      return {};  // only a filter of system calls refuses the options that are asked for here
  }
  return {};
}

bool isFatal(int error) {
  return error != kShort && error != EINTR && error != EAGAIN;
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
std::shared_ptr<const FaultPlan> thePlan RUNG_GUARDED_BY(planMutex);
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

std::shared_ptr<const FaultPlan> presentPlan() {
  const MutexLock lock(planMutex);
  return thePlan;
}

}  // namespace

Kind kindOf(int fd) {
  struct stat status {};
  if (fstat(fd, &status) != 0) return Kind::other;
  if (S_ISSOCK(status.st_mode)) return Kind::socket;
  if (S_ISREG(status.st_mode)) return Kind::file;
  // eventfd, timerfd and signalfd are inodes without a type.
  return (status.st_mode & S_IFMT) == 0 ? Kind::event : Kind::other;
}

bool active() {
  return spared == 0 && armed.load();
}

Decision decide(Call call, Kind kind) {
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

void beginWait() {
  if (std::exchange(idleSinceEvent, false)) idleReturns.fetch_add(1);
}
void endWait(bool anyEvent) {
  idleSinceEvent = anyEvent;
}
void noteProgress() {
  idleSinceEvent = false;
}

const char* nameOf(Call call) {
  static constexpr const char* kNames[kCalls] = {
      "read",          "readv",   "recv",           "write",      "writev",
      "send",          "sendmsg", "accept4",        "epoll_wait", "epoll_ctl ADD",
      "epoll_create1", "eventfd", "timerfd_create", "open",       "setsockopt"};
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
    text += fault == kShort                ? "short"
            : fault == FaultPlan::kNothing ? "nothing"
                                           : strerrorname_np(fault);
    text += ' ' + std::to_string(count);
  }
  return text;
}

}  // namespace rung::testing
