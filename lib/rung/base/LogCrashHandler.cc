#include "rung/base/LogCrashHandler.h"

#include <signal.h>

#include <cerrno>
#include <system_error>

#include "rung/base/AsyncLogging.h"

namespace rung {

namespace {

constexpr int kSignals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};

// Whatever was going on when it came, a malloc() or a lock() perhaps, is still going on: nothing in
// here may allocate, lock or use stdio.
void onCrash(int signal) {
  AsyncLogging::rescue();
  struct sigaction defaultAction {};
  defaultAction.sa_handler = SIG_DFL;
  (void)sigaction(signal, &defaultAction, nullptr);
  (void)raise(signal);  // blocked in its own handler, so it strikes when this returns
}

}  // namespace

void installLogCrashHandler() {
  struct sigaction action {};
  action.sa_handler = onCrash;
  action.sa_flags = SA_ONSTACK;
  // A second fault while the first is handled ends the process at once, as a blocked one does.
  sigemptyset(&action.sa_mask);
  for (const int signal : kSignals)
    sigaddset(&action.sa_mask, signal);
  for (const int signal : kSignals) {
    if (sigaction(signal, &action, nullptr) != 0) {
      throw std::system_error(errno, std::generic_category(), "sigaction");
    }
  }
}

}  // namespace rung
