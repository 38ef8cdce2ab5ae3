#include "rung/net/SignalFd.h"

#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "rung/base/Guarded.h"
#include "rung/base/Logging.h"

namespace rung {

namespace {

UniqueFd blockAndWatch(std::initializer_list<int> signals) {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : signals) {
    if (sigaddset(&set, signal) != 0) {
      throw std::system_error(errno, std::generic_category(),
                              "signal number " + std::to_string(signal));
    }
  }
  // A signal that is not blocked would go to its handler, or end the process.
  if (const int error = pthread_sigmask(SIG_BLOCK, &set, nullptr); error != 0) {
    throw std::system_error(error, std::generic_category(), "pthread_sigmask");
  }
  return checkedFd(signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC), "signalfd");
}

}  // namespace

SignalFd::SignalFd(EventLoop* loop, std::initializer_list<int> numbers, Callback callback)
    : fd_(blockAndWatch(numbers)), channel_(loop, fd_.get()), callback_(std::move(callback)) {
  channel_.setReadCallback([this](Timestamp) { handleRead(); });
  channel_.enableReading();
}

SignalFd::~SignalFd() {
  channel_.remove();
}

void SignalFd::unblockInChild() noexcept {
  sigset_t none;
  sigemptyset(&none);
  (void)pthread_sigmask(SIG_SETMASK, &none, nullptr);  // cannot fail with these arguments
}

void SignalFd::handleRead() {
  signalfd_siginfo info{};
  if (read(fd_.get(), &info, sizeof info) != sizeof info) {
    if (errno != EAGAIN && errno != EINTR) LOG_SYSERR << "read from signalfd";
    return;
  }
  const auto signal = static_cast<int>(info.ssi_signo);
  runGuarded([&] { callback_(signal); },
             [&] { return "the callback of SignalFd for signal " + std::to_string(signal); });
}

}  // namespace rung
