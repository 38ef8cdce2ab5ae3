#include "rung/base/Deadline.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <limits>

using namespace std::chrono_literals;
using rung::deadlineAfter;
using rung::deadlineAt;
using rung::saturate;

namespace {

using Clock = std::chrono::steady_clock;
using Nanoseconds = std::chrono::nanoseconds;
using Milliseconds = std::chrono::milliseconds;
template <class Rep, class Period = std::ratio<1>>
using Duration = std::chrono::duration<Rep, Period>;

TEST_CASE("saturate: in range it converts as duration_cast does") {
  static_assert(saturate<Nanoseconds>(1h) == 1h);
  CHECK(saturate<Nanoseconds>(-1h) == -1h);
  CHECK(saturate<Milliseconds>(1'999'999ns) == 1ms);
  CHECK(saturate<Milliseconds>(-1'999'999ns) == -1ms);
  CHECK(saturate<Nanoseconds>(Duration<double>(0.25)) == 250ms);
  CHECK(saturate<Nanoseconds>(Duration<std::uint8_t>(255)) == 255s);
  CHECK(saturate<Nanoseconds>(Nanoseconds::max()) == Nanoseconds::max());
  CHECK(saturate<Nanoseconds>(Nanoseconds::min()) == Nanoseconds::min());
  CHECK(saturate<Duration<std::int8_t>>(127s).count() == 127);
}

// A thousand years were a negative number of nanoseconds: runAfter() fired at once.
TEST_CASE("saturate: out of range it gives the nearest end, whatever the type") {
  CHECK(saturate<Nanoseconds>(std::chrono::hours(24 * 365 * 1000)) == Nanoseconds::max());
  CHECK(saturate<Nanoseconds>(-std::chrono::hours(24 * 365 * 1000)) == Nanoseconds::min());
  CHECK(saturate<Nanoseconds>(Milliseconds::max()) == Nanoseconds::max());
  CHECK(saturate<Nanoseconds>(Milliseconds::min()) == Nanoseconds::min());
  CHECK(saturate<Nanoseconds>(Duration<std::int16_t, std::ratio<86'400 * 365>>(1000)) ==
        Nanoseconds::max());
  CHECK(saturate<Nanoseconds>(Duration<std::uint64_t, std::nano>(UINT64_MAX)) ==
        Nanoseconds::max());
  CHECK(saturate<Duration<std::int8_t>>(128s).count() == 127);
  CHECK(saturate<Duration<std::int8_t>>(-129s).count() == -128);
}

// The quotient of the units was a std::ratio, which must fit: for millennia it did not compile.
TEST_CASE("saturate: a unit of which one is too much for the clock") {
  using Millennia = Duration<int, std::ratio<31'556'952'000>>;
  CHECK(saturate<Nanoseconds>(Millennia(1)) == Nanoseconds::max());
  CHECK(saturate<Nanoseconds>(Millennia(-1)) == Nanoseconds::min());
  CHECK(saturate<Nanoseconds>(Millennia(0)) == 0ns);
  CHECK(saturate<Nanoseconds>(Duration<long, std::exa>(1)) == Nanoseconds::max());
  using Some = Duration<double, std::tera>;
  CHECK(saturate<Nanoseconds>(Some(1.0)) == Nanoseconds::max());
  CHECK(saturate<Nanoseconds>(Some(-1.0)) == Nanoseconds::min());
  CHECK(saturate<Nanoseconds>(Some(0x1p-40)) == 909'494'701ns);
  CHECK(saturate<Nanoseconds>(Some(std::nan(""))) == Nanoseconds::max());
  // About a second, though neither number of the quotient fits.
  using Odd = Duration<int, std::ratio<10'000'000'000, 9'999'999'967>>;
  CHECK(std::chrono::abs(saturate<Nanoseconds>(Odd(3)) - 3s) < 1us);
}

// A remainder of nearly a second, times 10^9, was out of range, and gave the end of the clock.
TEST_CASE("saturate: a unit so odd that a remainder of it overflows") {
  using Odd = std::ratio<1, 9'999'999'967>;
  CHECK(saturate<Nanoseconds>(Duration<std::int64_t, Odd>(9'999'999'967)) == 1s);
  CHECK(saturate<Nanoseconds>(Duration<std::int64_t, Odd>(9'999'999'966)) == 999'999'999ns);
  CHECK(saturate<Nanoseconds>(Duration<std::int64_t, Odd>(-9'999'999'966)) == -999'999'999ns);
}

TEST_CASE("saturate: the last value that fits, and the first that does not") {
  const auto last = std::chrono::duration_cast<std::chrono::seconds>(Nanoseconds::max());
  CHECK(saturate<Nanoseconds>(last) == Nanoseconds(last));
  CHECK(saturate<Nanoseconds>(last + 1s) == Nanoseconds::max());
  // 1 ns is 3/10^9 of these, and the product with 10^9 overflows long before the quotient does.
  using Thirds = Duration<std::int64_t, std::ratio<1, 3>>;
  CHECK(saturate<Nanoseconds>(Thirds(3 * last.count() + 2)) ==
        Nanoseconds(last) + Nanoseconds(666'666'666));
  // Six sevenths of a second are more than the clock has left.
  using Sevenths = Duration<std::int64_t, std::ratio<1, 7>>;
  CHECK(saturate<Nanoseconds>(Sevenths(7 * last.count() + 6)) == Nanoseconds::max());
  CHECK(saturate<Nanoseconds>(Sevenths(-7 * last.count() - 6)) == Nanoseconds::min());
}

TEST_CASE("saturate: floating point, infinite and not a number") {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  CHECK(saturate<Nanoseconds>(Duration<double>(1e30)) == Nanoseconds::max());
  CHECK(saturate<Nanoseconds>(Duration<double>(-1e30)) == Nanoseconds::min());
  CHECK(saturate<Nanoseconds>(Duration<float>(std::numeric_limits<float>::max())) ==
        Nanoseconds::max());
  CHECK(saturate<Nanoseconds>(Duration<double>(kInfinity)) == Nanoseconds::max());
  CHECK(saturate<Nanoseconds>(Duration<double>(-kInfinity)) == Nanoseconds::min());
  CHECK(saturate<Nanoseconds>(Duration<double>(std::nan(""))) == Nanoseconds::max());
}

TEST_CASE("deadlineAfter: as far as the clock goes, at both ends") {
  const Clock::time_point now = Clock::now();
  CHECK(deadlineAfter(1s, now) == now + 1s);
  CHECK(deadlineAfter(-1s, now) == now - 1s);
  CHECK(deadlineAfter(Clock::duration::max(), now) == Clock::time_point::max());
  CHECK(deadlineAfter(std::chrono::hours::max(), now) == Clock::time_point::max());
  CHECK(deadlineAfter(Clock::duration::max(), Clock::time_point()) == Clock::time_point::max());
  CHECK(deadlineAfter(Clock::duration::min(), now) == now + Clock::duration::min());
  CHECK(deadlineAfter(std::chrono::hours::min(), now) < now);
  CHECK(deadlineAfter(0s) >= now);
}

TEST_CASE("deadlineAt: time points of another precision") {
  using Hours = std::chrono::time_point<Clock, std::chrono::hours>;
  CHECK(deadlineAt(Hours(1h)) == Clock::time_point(1h));
  CHECK(deadlineAt(Hours::max()) == Clock::time_point::max());
  CHECK(deadlineAt(Hours::min()) == Clock::time_point::min());
}

}  // namespace
