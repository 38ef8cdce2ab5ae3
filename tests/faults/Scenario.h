#pragma once

#include <chrono>
#include <cstdint>
#include <span>
#include <string>

#include "tests/support/Slow.h"

namespace rung::testing {

/// Something that the library does while a seeded schedule of faults goes on.
struct Scenario {
  const char* name;
  const char* what;
  /// Returns what went wrong; empty if nothing did.
  std::string (*run)(std::uint64_t seed);
};

/// Ordinary sockets: echo, half-close, stop, timers and tasks, set-up.
[[nodiscard]] std::span<const Scenario> networkScenarios();
/// A TcpClient that reconnects.
[[nodiscard]] std::span<const Scenario> clientScenarios();
[[nodiscard]] std::span<const Scenario> loopScenarios();
/// AsyncLogging to files.
[[nodiscard]] std::span<const Scenario> loggingScenarios();

/// What takes longer is stuck.
inline std::chrono::milliseconds patience() {
  return std::chrono::milliseconds(static_cast<int>(5000 * slowness()));
}

}  // namespace rung::testing
