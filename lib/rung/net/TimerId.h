#pragma once

#include <cstdint>

namespace rung {

/// Names one timer of one loop, for cancel().
/// A value: it may be copied, kept for as long as you like and handed to other threads. It never
/// comes to mean another timer: it holds the slot in which the timer is kept, and the timer's
/// serial number, which tells it from the one that has the slot later.
/// The default one names none.
/// Thread: any, as an int.
class TimerId {
 public:
  TimerId() = default;

  /// Whether it names a timer; not whether that is still waiting.
  [[nodiscard]] explicit operator bool() const { return serial_ != 0; }

  friend bool operator==(const TimerId&, const TimerId&) = default;

 private:
  friend class TimerHeap;
  TimerId(std::uint64_t serial, std::uint32_t slot) : serial_(serial), slot_(slot) {}

  // The generation of the slot. At 64 bits it does not wrap, where 32 would within minutes: the
  // slot that was freed last is used first.
  std::uint64_t serial_ = 0;
  std::uint32_t slot_ = 0;
};

}  // namespace rung
