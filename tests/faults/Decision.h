#pragma once

#include <cstdint>

#include "tests/faults/Faults.h"

// Between what decides (Faults.cc) and what stands in for the C library (WrappedCalls.cc).

namespace rung::testing {

/// What can fail in which way.
enum class Kind { socket, file, event, other };
[[nodiscard]] Kind kindOf(int fd);

/// The error to fail with, kShort, or nothing.
struct Decision {
  int fault = 0;
  std::uint64_t random = 0;

  explicit operator bool() const { return fault != 0; }
};

/// Whether the calling thread's calls follow a plan at the moment.
[[nodiscard]] bool active();
/// What is to happen to the call that is being made, which is counted.
[[nodiscard]] Decision decide(Call call, Kind kind = Kind::other);

/// epoll_wait(2) is called, and reports events: see FaultCounts::idleReturns.
void beginWait();
void endWait(bool anyEvent);
/// The call did something.
void noteProgress();

}  // namespace rung::testing
