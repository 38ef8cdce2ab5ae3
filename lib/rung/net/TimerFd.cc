#include "rung/net/TimerFd.h"

#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>

#include "rung/base/Guarded.h"
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

void TimerFd::set(Clock::time_point deadline) {
  // libstdc++'s steady_clock is CLOCK_MONOTONIC, so its time points can be handed to the kernel as
  // they are. Zero would disarm: a deadline that long ago becomes the first nanosecond.
  setKernel(std::max<Clock::duration>(deadline.time_since_epoch(), std::chrono::nanoseconds(1)));
}

void TimerFd::disarm() {
  setKernel(Clock::duration::zero());
}

void TimerFd::setKernel(Clock::duration sinceBoot) {
  itimerspec when{};
  // Some 32-bit systems count seconds in 32 bits: 68 years of uptime.
  when.it_value.tv_sec = saturate<std::chrono::duration<time_t>>(sinceBoot).count();
  when.it_value.tv_nsec = static_cast<long>((sinceBoot % std::chrono::seconds(1)).count());
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
  runGuarded(callback_, [] { return std::string("the callback of a TimerFd"); });
}

}  // namespace rung
