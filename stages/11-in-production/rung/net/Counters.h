#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "rung/base/noncopyable.h"  // refuses older standards
#include "rung/net/CloseReason.h"

namespace rung {

/// A number that one thread counts up, and that any thread reads.
/// A load and a store: no locked instruction, since nobody else writes it.
/// Thread: add() and set() one; value() any.
/// Units: where the processor has no atomic of 64 bits, it starts again at zero after 2^32.
class Counter {
 public:
  Counter() = default;
  /// For a block of counters that is moved to its place before anyone counts.
  Counter(const Counter& other) : value_(other.value_.load(std::memory_order_relaxed)) {}
  Counter& operator=(const Counter&) = delete;

  void add(std::uint64_t more) {
    value_.store(static_cast<Number>(value_.load(std::memory_order_relaxed) + more),
                 std::memory_order_relaxed);
  }
  void set(std::uint64_t value) {
    value_.store(static_cast<Number>(value), std::memory_order_relaxed);
  }
  [[nodiscard]] std::uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  using Number = std::conditional_t<std::atomic<std::uint64_t>::is_always_lock_free, std::uint64_t,
                                    std::uint32_t>;
  std::atomic<Number> value_{0};
};

/// The counts of one server on one loop, in cache lines that no other thread writes.
/// Thread: the loop's counts; any reads.
struct alignas(64) LoopCounters {
  Counter bytesIn;
  Counter bytesOut;
  std::array<Counter, kCloseReasons> ended;
};

}  // namespace rung
