#include "rung/net/Backoff.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <stdexcept>
#include <vector>

using rung::Backoff;

using namespace std::chrono_literals;

namespace {

std::vector<Backoff::Duration> firstWaits(Backoff backoff, int count) {
  std::vector<Backoff::Duration> waits;
  for (int i = 0; i < count; ++i)
    waits.push_back(backoff.next());
  return waits;
}

TEST_CASE("Backoff: the bound doubles up to the cap, and no wait is longer") {
  Backoff backoff({.initial = 100ms, .cap = 1s});
  for (const auto bound : {100ms, 200ms, 400ms, 800ms, 1000ms, 1000ms}) {
    CHECK(backoff.bound() == bound);
    const auto wait = backoff.next();
    CHECK(wait >= 0ns);
    CHECK(wait <= bound);
  }
  backoff.reset();
  CHECK(backoff.bound() == 100ms);
}

TEST_CASE("Backoff: full jitter: the waits are spread evenly from nothing to the bound") {
  Backoff backoff({.initial = 1s, .cap = 1s, .seed = 7});
  std::array<int, 10> tenths{};
  constexpr int kWaits = 10'000;
  for (int i = 0; i < kWaits; ++i)
    ++tenths[static_cast<std::size_t>(std::min<std::int64_t>(backoff.next() / 100ms, 9))];
  for (const int count : tenths) {
    CHECK(count > kWaits / 10 * 9 / 10);
    CHECK(count < kWaits / 10 * 11 / 10);
  }
}

TEST_CASE("Backoff: a seed makes a series; without one, each object has its own") {
  const Backoff::Options seeded{.seed = 42};
  CHECK(firstWaits(Backoff(seeded), 10) == firstWaits(Backoff(seeded), 10));
  CHECK(firstWaits(Backoff(seeded), 10) != firstWaits(Backoff({.seed = 43}), 10));
  CHECK(firstWaits(Backoff(Backoff::Options{}), 10) != firstWaits(Backoff(Backoff::Options{}), 10));
  // The random numbers go on after reset(): clients that came up together stay apart.
  Backoff again(seeded);
  const auto first = again.next();
  again.reset();
  CHECK(again.next() != first);
}

TEST_CASE("Backoff: options that make no sense are refused, and long ones saturate") {
  const std::vector<Backoff::Options> wrong{
      {.initial = 0ms}, {.initial = -1ms}, {.initial = 2s, .cap = 1s}, {.stableAfter = -1ms}};
  for (const auto& options : wrong)
    CHECK_THROWS_AS(Backoff{options}, std::invalid_argument);
  CHECK_THROWS_WITH(Backoff({.initial = 2s, .cap = 1s}), "back-off from 2000 ms up to 1000 ms");

  constexpr auto kLongest = (std::chrono::milliseconds::max)();
  Backoff backoff({.initial = kLongest, .cap = kLongest, .stableAfter = kLongest});
  for (int i = 0; i < 3; ++i) {
    CHECK(backoff.next() >= 0ns);
    CHECK(backoff.bound() > std::chrono::hours(24 * 365 * 100));
  }
  CHECK(std::chrono::nanoseconds(backoff.options().stableAfter) > 0ns);
}

}  // namespace
