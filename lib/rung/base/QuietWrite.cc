#include "rung/base/QuietWrite.h"

#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>

namespace rung {

namespace {

void takePending(int signal) {
  sigset_t one;
  sigemptyset(&one);
  sigaddset(&one, signal);
  constexpr timespec kNow{};
  (void)sigtimedwait(&one, nullptr, &kNow);  // without a wait it is not interrupted
}

}  // namespace

// Both signals go to the thread that writes. While it blocks them they wait, and can be taken away
// unseen. What waited before is not ours; nothing can wait unless the thread had it blocked.
ssize_t quietWrite(int fd, std::string_view text) {
  sigset_t signals;
  sigset_t before;
  sigset_t waiting;
  sigemptyset(&signals);
  sigaddset(&signals, SIGPIPE);
  sigaddset(&signals, SIGXFSZ);
  sigemptyset(&waiting);
  (void)pthread_sigmask(SIG_BLOCK, &signals, &before);
  if (sigismember(&before, SIGPIPE) != 0 || sigismember(&before, SIGXFSZ) != 0) {
    (void)sigpending(&waiting);
  }
  const ssize_t written = ::write(fd, text.data(), text.size());
  const int error = errno;
  const int signal = error == EPIPE ? SIGPIPE : SIGXFSZ;
  if (written < 0 && (error == EPIPE || error == EFBIG) && sigismember(&waiting, signal) == 0) {
    takePending(signal);
  }
  (void)pthread_sigmask(SIG_SETMASK, &before, nullptr);
  errno = error;
  return written;
}

}  // namespace rung
