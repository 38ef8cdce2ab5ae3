#pragma once

#include <cstdint>

#include "rung/base/noncopyable.h"  // refuses older standards

namespace rung {

/// Names one timer of one loop, for cancel().
/// A value: it may be copied, kept for as long as you like and handed to other threads. It never
/// comes to name another timer. It holds the slot of the timer; the serial number of the timer,
/// since another one may have the slot later; and the number of the heap, since another loop has
/// the same slots.
/// A default TimerId names no timer.
/// Thread: any; it is a value, pass it by copy.
class TimerId {
 public:
  TimerId() = default;

  /// Whether it names a timer; not whether that is still waiting.
  [[nodiscard]] explicit operator bool() const { return serial_ != 0; }

  friend bool operator==(const TimerId&, const TimerId&) = default;

 private:
  friend class TimerHeap;
  TimerId(std::uint64_t serial, std::uint32_t slot, std::uint32_t heap)
      : serial_(serial), slot_(slot), heap_(heap) {}

  // The generation of the slot. 64 bits do not wrap. 32 bits would wrap within minutes, since the
  // slot that was freed last is used first.
  std::uint64_t serial_ = 0;
  std::uint32_t slot_ = 0;
  std::uint32_t heap_ = 0;
};

static_assert(sizeof(TimerId) == 16);

}  // namespace rung
