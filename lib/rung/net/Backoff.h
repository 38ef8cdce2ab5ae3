#pragma once

#include <chrono>
#include <cstdint>

#include "rung/base/noncopyable.h"  // for its check of the standard

namespace rung {

/// How long to wait before each new try: a random time between nothing and a bound, which doubles
/// with each try up to a cap ("full jitter").
/// Without the randomness, all clients of a server that restarts come back at the same moments.
/// Thread: one at a time.
/// Source: Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog.
class Backoff {
 public:
  using Duration = std::chrono::nanoseconds;

  struct Options {
    /// The bound of the first wait.
    std::chrono::milliseconds initial{250};
    /// No bound is longer.
    std::chrono::milliseconds cap{30'000};
    /// For the owner: a connection that was up for as long as this ends the series; see
    /// TcpClient::Options. One that breaks sooner does not, since a server that accepts, and then
    /// fails, would be asked without end.
    std::chrono::milliseconds stableAfter{10'000};
    /// 0: another series for each object. Any other: always the same series, for tests.
    std::uint64_t seed = 0;
  };

  /// Errors: throws std::invalid_argument unless 0 < initial <= cap and stableAfter >= 0.
  explicit Backoff(const Options& options);

  /// The next wait: evenly distributed over [0, bound()]. The bound doubles then.
  [[nodiscard]] Duration next();
  /// The series begins anew; the random numbers do not.
  void reset() { bound_ = options_.initial; }

  /// The longest that next() may return.
  [[nodiscard]] Duration bound() const { return bound_; }
  [[nodiscard]] const Options& options() const { return options_; }

 private:
  Options options_;
  Duration bound_;
  std::uint64_t state_;
};

}  // namespace rung
