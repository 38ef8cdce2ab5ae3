#include "rung/base/LogCrashHandler.h"

#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "rung/base/AsyncLogging.h"

namespace rung {

namespace {

constexpr int kSignals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};

// Whatever was going on when it came, a malloc() or a lock() perhaps, is still going on: nothing in
// here may allocate, lock or use stdio.
void onCrash(int signal, siginfo_t* info, void*) {
  AsyncLogging::rescue();
  struct sigaction defaultAction {};
  defaultAction.sa_handler = SIG_DFL;
  (void)sigaction(signal, &defaultAction, nullptr);
  // Sent on as it came, so that the core dump tells code and address of the fault; raise() would
  // put its own in their place. Blocked in its own handler, the signal strikes when this returns.
  // If a sandbox refuses the call, a fault happens again then, and any other signal is raised.
  if (syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(), signal, info) != 0 && info->si_code <= 0) {
    (void)raise(signal);
  }
}

}  // namespace

void installLogCrashHandler() {
  struct sigaction action {};
  action.sa_sigaction = onCrash;
  action.sa_flags = SA_ONSTACK | SA_SIGINFO;
  // A second fault while the first is handled ends the process at once, as a blocked one does.
  sigemptyset(&action.sa_mask);
  for (const int signal : kSignals)
    sigaddset(&action.sa_mask, signal);
  // What a write to the log may bring must not come before the signal that is handled.
  sigaddset(&action.sa_mask, SIGPIPE);
  sigaddset(&action.sa_mask, SIGXFSZ);
  for (const int signal : kSignals) {
    if (sigaction(signal, &action, nullptr) != 0) {
      throw std::system_error(errno, std::generic_category(), "sigaction");
    }
  }
}

}  // namespace rung
