#pragma once

#include <chrono>
#include <compare>
#include <cstdint>
#include <string>

#include "rung/base/noncopyable.h"  // refuses older standards

namespace rung {

/// A moment of wall-clock time, in microseconds since 1970-01-01 00:00:00 UTC.
/// For display and log lines. Deadlines are std::chrono::steady_clock time points instead: the wall
/// clock jumps when it is set, and a timer that follows it fires early, late or never.
/// Thread: any; it is a value, pass it by copy.
/// Source: clock_gettime(2); muduo base/Timestamp.h.
class Timestamp {
 public:
  /// The invalid time stamp: the epoch itself.
  constexpr Timestamp() = default;

  /// Units: microseconds since the epoch; negative before 1970.
  constexpr explicit Timestamp(std::int64_t microseconds) : microseconds_(microseconds) {}

  /// The present time, from CLOCK_REALTIME.
  /// Errors: never fails.
  [[nodiscard]] static Timestamp now();

  [[nodiscard]] static constexpr Timestamp invalid() { return Timestamp(); }
  [[nodiscard]] constexpr bool valid() const { return microseconds_ != 0; }

  [[nodiscard]] constexpr std::int64_t microsecondsSinceEpoch() const { return microseconds_; }

  /// "20261123 09:49:05.622287Z": UTC, the same on every machine. This is what log lines carry.
  /// Errors: a year that the C library cannot represent gives the bare count, "1234567us".
  [[nodiscard]] std::string toString() const;

  /// "20261123 17:49:05.622287+0800": in the time zone of the process, with its offset.
  [[nodiscard]] std::string toLocalString() const;

  friend constexpr auto operator<=>(Timestamp, Timestamp) = default;

 private:
  std::int64_t microseconds_ = 0;
};

/// Adds to a moment, and subtracts one from another.
/// Errors: never fails; a result out of range becomes the nearest number in range.
constexpr Timestamp operator+(Timestamp t, std::chrono::microseconds d) {
  std::int64_t sum = 0;
  if (!__builtin_add_overflow(t.microsecondsSinceEpoch(), d.count(), &sum)) return Timestamp(sum);
  return Timestamp(d.count() < 0 ? INT64_MIN : INT64_MAX);
}

constexpr std::chrono::microseconds operator-(Timestamp later, Timestamp earlier) {
  std::int64_t difference = 0;
  if (__builtin_sub_overflow(later.microsecondsSinceEpoch(), earlier.microsecondsSinceEpoch(),
                             &difference)) {
    difference = earlier.microsecondsSinceEpoch() > 0 ? INT64_MIN : INT64_MAX;
  }
  return std::chrono::microseconds(difference);
}

}  // namespace rung
