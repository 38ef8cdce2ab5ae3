#include "rung/net/TimerFd.h"

#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>

#include "rung/base/Logging.h"

namespace rung {

TimerFd::TimerFd(EventLoop* loop, Callback callback)
    : fd_(checkedFd(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC), "timerfd_create")),
      channel_(loop, fd_.get()),
      callback_(std::move(callback)) {
  channel_.setReadCallback([this](Timestamp) { handleRead(); });
  channel_.enableReading();
}

TimerFd::~TimerFd() {
  channel_.remove();
}

void TimerFd::arm(Clock::time_point deadline) {
  // libstdc++'s steady_clock is CLOCK_MONOTONIC, so its time points can be handed to the kernel as
  // they are. Zero would disarm: a deadline that long ago becomes the first nanosecond.
  set(std::max<Clock::duration>(deadline.time_since_epoch(), std::chrono::nanoseconds(1)));
}

void TimerFd::disarm() {
  set(Clock::duration::zero());
}

void TimerFd::set(Clock::duration sinceBoot) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(sinceBoot);
  itimerspec when{};
  when.it_value.tv_sec = seconds.count();
  when.it_value.tv_nsec = std::chrono::nanoseconds(sinceBoot - seconds).count();
  if (timerfd_settime(fd_.get(), TFD_TIMER_ABSTIME, &when, nullptr) != 0) {
    LOG_SYSFATAL << "timerfd_settime";
  }
}

void TimerFd::handleRead() {
  std::uint64_t expirations = 0;
  if (read(fd_.get(), &expirations, sizeof expirations) != sizeof expirations) {
    // EAGAIN: armed anew, or disarmed, by a callback that ran earlier in this batch.
    if (errno != EAGAIN && errno != EINTR) LOG_SYSERR << "read from timerfd";
    return;
  }
  callback_();
}

}  // namespace rung
