#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "rung/base/noncopyable.h"

namespace rung::testing {

/// The system calls of the library that can be made to fail. epollCtlAdd is EPOLL_CTL_ADD: the
/// kernel has no reason to refuse MOD and DEL, and none to refuse timerfd_settime(2).
enum class Call : std::uint8_t {
  read,
  readv,
  recv,
  write,
  writev,
  send,
  sendmsg,
  accept4,
  epollWait,
  epollCtlAdd,
  epollCreate1,
  eventfd,
  timerfdCreate,
  open,
  setsockopt
};
inline constexpr std::size_t kCalls = 15;
[[nodiscard]] const char* nameOf(Call call);

/// What fails how often. What happens to the n-th call of a kind follows from the seed, the kind
/// and n, and from nothing else, so a schedule can be replayed.
struct FaultPlan {
  std::uint64_t seed = 1;
  /// Of a thousand calls of each kind, how many fail or fall short.
  std::array<int, kCalls> perMille{};

  /// Instead: what happens to the first calls of one kind, in order: an error, 0 for success,
  /// kShort or kNothing, which is a call that returns 0 and does nothing. All others succeed.
  std::optional<Call> scripted;
  std::vector<int> script;
  static constexpr int kShort = -1;
  static constexpr int kNothing = -2;

  [[nodiscard]] int& operator[](Call call) { return perMille[static_cast<std::size_t>(call)]; }
  /// The seed decides what fails at all, and how often. Schedules in which everything fails a
  /// little find less than those in which few things fail, but often.
  [[nodiscard]] static FaultPlan random(std::uint64_t seed);
  [[nodiscard]] static FaultPlan scriptOf(Call call, std::vector<int> script) {
    FaultPlan plan;
    plan.scripted = call;
    plan.script = std::move(script);
    return plan;
  }
};

/// What has happened since arm().
struct FaultCounts {
  std::array<std::uint64_t, kCalls> calls{};
  std::uint64_t injected = 0;
  /// Of these, errors after which a connection, or a line of a log, may rightly be lost.
  std::uint64_t fatal = 0;
  /// Times that epoll_wait(2) reported an event and nothing came of it: no call that succeeded, and
  /// none that was made to fail. A loop that does this again and again spins.
  std::uint64_t idleReturns = 0;

  [[nodiscard]] std::uint64_t of(Call call) const { return calls[static_cast<std::size_t>(call)]; }
};

/// Makes system calls fail or fall short. It stands between the objects of a program and the C
/// library, put there by the linker (--wrap), so it sees the calls of the library, and those of the
/// test, in every build.
/// Only what can really happen to that kind of descriptor is injected: see faultsOf() in Faults.cc.
/// An error that means the end of a connection is made true: the socket is shut down.
/// Thread: any, one schedule at a time.
class Faults {
 public:
  /// From here on, calls of all threads that are not spared follow `plan`.
  static void arm(const FaultPlan& plan);
  /// Calls go straight through again. Returns what was counted.
  static FaultCounts disarm();
  [[nodiscard]] static FaultCounts counts();

  /// While it lives, the calls of its thread are left alone: for the client's side of a test.
  class Spare : noncopyable {
   public:
    Spare();
    ~Spare();
  };

  /// How often each error was injected since the program began: "accept4 EMFILE 12, …".
  [[nodiscard]] static std::string report();
};

}  // namespace rung::testing
