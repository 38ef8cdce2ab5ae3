#include "rung/net/LoopWatch.h"

#include <algorithm>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>

#include "rung/base/Logging.h"

namespace rung {

namespace {

std::uint64_t minuteOf(LoopWatch::Clock::time_point time) {
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::minutes>(time.time_since_epoch()).count());
}

std::uint64_t nanoseconds(LoopWatch::Clock::duration duration) {
  return static_cast<std::uint64_t>(std::chrono::nanoseconds(duration).count());
}

}  // namespace

void LoopWatch::start(Clock::duration limit) {
  if (limit <= Clock::duration::zero()) {
    throw std::invalid_argument("limit of slow callbacks, in ns: " + std::to_string(limit.count()));
  }
  limit_ = limit;
  if (!std::exchange(started_, true)) roundBegins();
}

void LoopWatch::roundBegins() {
  begin_ = last_ = now_();
}

void LoopWatch::ran(CallbackKind kind, int fd) {
  const Clock::time_point begin = std::exchange(last_, now_());
  if (last_ - begin < limit_) return;
  slow_[static_cast<std::size_t>(kind)].add(1);
  warn(kind, fd, last_ - begin);
  last_ = now_();  // the log's time is not that of the next one
}

void LoopWatch::roundEnds() {
  const std::uint64_t took = nanoseconds(last_ - begin_);
  busy_.add(took);
  const std::uint64_t minute = minuteOf(last_);
  if (const std::uint64_t before = minute_.value(); minute != before) {
    longestBefore_.set(minute == before + 1 ? longest_.value() : 0);
    longest_.set(0);
    minute_.set(minute);
  }
  if (took > longest_.value()) longest_.set(took);
}

void LoopWatch::warn(CallbackKind kind, int fd, Clock::duration took) {
  const auto others = warnings_.next(last_);
  if (!others) return;
  using Milliseconds = std::chrono::duration<double, std::milli>;
  try {
    LOG_WARN << "a slow callback: " << nameOf(kind) << (fd < 0 ? "" : " of fd ")
             << (fd < 0 ? "" : std::to_string(fd)) << " took " << Milliseconds(took).count()
             << " ms; " << *others << " more since the last such line";
  } catch (const std::bad_alloc&) {  // there is no memory for the line
  }
}

void LoopWatch::addTo(LoopStats& stats) const {
  stats.busy = std::chrono::nanoseconds(busy_.value());
  const std::uint64_t now = minuteOf(now_());
  const std::uint64_t minute = minute_.value();
  std::uint64_t longest = 0;
  if (now <= minute + 1) longest = longest_.value();
  if (now <= minute) longest = std::max(longest, longestBefore_.value());
  stats.longestRound = std::chrono::nanoseconds(longest);
  for (std::size_t i = 0; i < kCallbackKinds; ++i)
    stats.slow[i] = slow_[i].value();
}

}  // namespace rung
