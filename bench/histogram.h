#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace bench {

/// Counts of durations in nanoseconds, in buckets that are at most 1/32 of their value wide: memory
/// and time a sample are constant, however many there are. The extremes are kept exactly.
class Histogram {
 public:
  void add(std::uint64_t nanoseconds) {
    ++buckets_[bucketOf(nanoseconds)];
    ++count_;
    if (nanoseconds > max_) max_ = nanoseconds;
  }

  void merge(const Histogram& other) {
    for (std::size_t i = 0; i < buckets_.size(); ++i)
      buckets_[i] += other.buckets_[i];
    count_ += other.count_;
    if (other.max_ > max_) max_ = other.max_;
  }

  [[nodiscard]] std::uint64_t count() const { return count_; }
  [[nodiscard]] std::uint64_t max() const { return max_; }

  /// The middle of the bucket that holds the sample of this rank; 0 without samples.
  /// Units: fraction in [0, 1]; nanoseconds.
  [[nodiscard]] double quantile(double fraction) const {
    const auto rank = static_cast<std::uint64_t>(fraction * static_cast<double>(count_));
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < buckets_.size(); ++i) {
      seen += buckets_[i];
      if (buckets_[i] != 0 && (seen > rank || seen == count_)) {
        const double middle = (lowerBound(i) + lowerBound(i + 1) - 1) / 2;
        return middle < static_cast<double>(max_) ? middle : static_cast<double>(max_);
      }
    }
    return 0;
  }

 private:
  static constexpr std::uint64_t kSteps = 32;  // buckets for each power of two

  // Below kSteps a bucket is one value. Above, the five bits after the highest one pick it.
  static std::size_t bucketOf(std::uint64_t value) {
    if (value < kSteps) return value;
    const auto shift = static_cast<std::uint64_t>(std::bit_width(value)) - 6;
    return (shift + 1) * kSteps + ((value >> shift) - kSteps);
  }
  static double lowerBound(std::size_t bucket) {
    if (bucket < kSteps) return static_cast<double>(bucket);
    const std::uint64_t shift = bucket / kSteps - 1;
    return static_cast<double>(kSteps + bucket % kSteps) *
           static_cast<double>(std::uint64_t{1} << shift);
  }

  std::array<std::uint64_t, 60 * kSteps> buckets_{};
  std::uint64_t count_ = 0;
  std::uint64_t max_ = 0;
};

}  // namespace bench
