#pragma once

#include <functional>
#include <utility>

#include "rung/net/TimingWheel.h"

namespace rung::testing {

/// An object that may be idle, and notes when it is.
class Watched : public TimingWheel::Entry {
 public:
  explicit Watched(std::function<void()> callback = {}) : callback_(std::move(callback)) {}
  [[nodiscard]] int timesIdle() const { return timesIdle_; }

 private:
  void onIdle() override {
    ++timesIdle_;
    if (callback_) callback_();
  }
  std::function<void()> callback_;
  int timesIdle_ = 0;
};

inline void turn(TimingWheel& wheel, int ticks) {
  for (int i = 0; i < ticks; ++i)
    wheel.tick();
}

}  // namespace rung::testing
