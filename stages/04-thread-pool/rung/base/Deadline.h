#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <numeric>
#include <ratio>
#include <type_traits>
#include <utility>

#include "rung/base/noncopyable.h"  // refuses older standards

namespace rung {

/// Whether the quotient of two units is out of range, and cannot be compiled, or, with integers, a
/// remainder times its numerator may be.
template <class Rep, class From, class To>
constexpr bool quotientOverflows() {
  const std::intmax_t num = std::gcd(From::num, To::num);
  const std::intmax_t den = std::gcd(From::den, To::den);
  std::intmax_t ratioNum = 0;
  std::intmax_t ratioDen = 0;
  std::intmax_t product = 0;
  return __builtin_mul_overflow(From::num / num, To::den / den, &ratioNum) ||
         __builtin_mul_overflow(From::den / den, To::num / num, &ratioDen) ||
         (std::is_integral_v<Rep> && __builtin_mul_overflow(ratioNum, ratioDen, &product));
}

/// `duration` in the unit of `To`, rounded towards zero; the nearest value that `To` has if it is
/// out of range. NaN becomes To::max(): "never" rather than "at once".
/// For durations that users give. std::chrono converts hours(24 * 365 * 1000) to a negative number
/// of nanoseconds, silently, also where an argument is converted on its way into a call.
/// The parentheses around min and max protect them from macros of these names.
/// Thread: any.
/// Errors: never fails.
template <class To, class Rep, class Period>
[[nodiscard]] constexpr To saturate(std::chrono::duration<Rep, Period> duration) {
  static_assert(std::is_integral_v<typename To::rep> && std::is_arithmetic_v<Rep>);
  if constexpr (quotientOverflows<Rep, Period, typename To::period>()) {
    using Seconds = std::chrono::duration<long double>;
    return saturate<To>(std::chrono::duration_cast<Seconds>(duration));
  } else if constexpr (std::is_floating_point_v<Rep>) {
    using Ratio = std::ratio_divide<Period, typename To::period>;
    const long double count = static_cast<long double>(duration.count()) * Ratio::num / Ratio::den;
    if (count <= static_cast<long double>((To::min)().count())) return (To::min)();
    if (count < static_cast<long double>((To::max)().count())) {
      return To(static_cast<typename To::rep>(count));
    }
    return (To::max)();
  } else {
    using Ratio = std::ratio_divide<Period, typename To::period>;
    const To limit = duration.count() < 0 ? (To::min)() : (To::max)();
    if (!std::in_range<std::intmax_t>(duration.count())) return limit;
    const auto count = static_cast<std::intmax_t>(duration.count());
    // In two parts, since the product may be out of range where the quotient is not.
    std::intmax_t whole = 0;
    if (__builtin_mul_overflow(count / Ratio::den, Ratio::num, &whole) ||
        __builtin_add_overflow(whole, count % Ratio::den * Ratio::num / Ratio::den, &whole) ||
        !std::in_range<typename To::rep>(whole)) {
      return limit;
    }
    return To(static_cast<typename To::rep>(whole));
  }
}

/// The moment `delay` after `now`, or the nearest one that the clock can hold.
/// Thread: any.
/// Errors: never fails.
template <class Rep, class Period>
[[nodiscard]] std::chrono::steady_clock::time_point deadlineAfter(
    std::chrono::duration<Rep, Period> delay,
    std::chrono::steady_clock::time_point now = std::chrono::steady_clock::now()) {
  using Clock = std::chrono::steady_clock;
  // The clock does not count below zero, so that nothing overflows at the other end.
  return now + (std::min)(saturate<Clock::duration>(delay), (Clock::time_point::max)() - now);
}

/// `time` in the unit of the clock, or the nearest one that the clock can hold.
/// Thread: any.
/// Errors: never fails.
template <class Duration>
[[nodiscard]] constexpr std::chrono::steady_clock::time_point deadlineAt(
    std::chrono::time_point<std::chrono::steady_clock, Duration> time) {
  using Clock = std::chrono::steady_clock;
  return Clock::time_point(saturate<Clock::duration>(time.time_since_epoch()));
}

}  // namespace rung
