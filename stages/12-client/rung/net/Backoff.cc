#include "rung/net/Backoff.h"

#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <stdexcept>
#include <string>

namespace rung {

namespace {

/// Different in each object, process and machine.
std::uint64_t randomSeed(const void* object) {
  std::uint64_t seed = 0;
  // Right after the start of a machine the kernel may have no random numbers yet, and it may be too
  // old to have the call.
  if (::getrandom(&seed, sizeof seed, GRND_NONBLOCK) == sizeof seed) return seed;
  const auto now = std::chrono::steady_clock::now().time_since_epoch().count();
  return static_cast<std::uint64_t>(now) ^ (static_cast<std::uint64_t>(getpid()) << 32) ^
         reinterpret_cast<std::uintptr_t>(object);
}

/// splitmix64, by Sebastiano Vigna: 8 bytes of state, where std::mt19937_64 has 2500; and the same
/// numbers with every standard library.
std::uint64_t nextRandom(std::uint64_t& state) {
  state += 0x9e3779b97f4a7c15U;
  std::uint64_t z = state;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
  return z ^ (z >> 31);
}

}  // namespace

Backoff::Backoff(const Options& options)
    : options_(options), bound_(0), state_(options.seed != 0 ? options.seed : randomSeed(this)) {
  if (options.initial.count() <= 0 || options.initial > options.cap) {
    throw std::invalid_argument("back-off from " + std::to_string(options.initial.count()) +
                                " ms up to " + std::to_string(options.cap.count()) + " ms");
  }
  if (options.stableAfter.count() < 0) {
    throw std::invalid_argument("back-off that ends after " +
                                std::to_string(options.stableAfter.count()) + " ms");
  }
  // So that all are within the range of nanoseconds, and twice a bound is, too.
  constexpr auto kLongest =
      std::chrono::duration_cast<std::chrono::milliseconds>((Duration::max)() / 2);
  options_.cap = std::min(options_.cap, kLongest);
  options_.initial = std::min(options_.initial, kLongest);
  options_.stableAfter = std::min(options_.stableAfter, kLongest);
  bound_ = options_.initial;
}

Backoff::Duration Backoff::next() {
  const auto steps = static_cast<std::uint64_t>(bound_.count()) + 1;
  // The remainder favours small numbers, by less than one part in a hundred million.
  const Duration wait(static_cast<Duration::rep>(nextRandom(state_) % steps));
  bound_ = std::min<Duration>(bound_ * 2, options_.cap);
  return wait;
}

}  // namespace rung
