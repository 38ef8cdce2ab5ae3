// A log on a disk that fails, and in a process that crashes.

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "rung/base/LogCrashHandler.h"
#include "rung/base/LogFile.h"

#include "tests/faults/Faults.h"
#include "tests/support/ChildProcess.h"
#include "tests/support/TempDirectory.h"

using namespace rung::testing;
using rung::LogFile;

namespace {

bool showDefaultActions = false;
bool refuseSystemCalls = false;

/// Without the heap: it is used in a signal handler too.
struct Sentence {
  Sentence(int signal, int code, const void* address, pid_t sender) {
    std::snprintf(text, sizeof text, "signal %d, code %d, address %p, sender %d\n", signal, code,
                  address, sender);
  }

  char text[100];
};

void show(int signal, siginfo_t* info, void*) {
  const bool isFault = info->si_code > 0;
  const Sentence said(signal, info->si_code, isFault ? info->si_addr : nullptr,
                      isFault ? 0 : info->si_pid);
  _exit(write(STDOUT_FILENO, said.text, std::strlen(said.text)) > 0 ? 0 : 1);
}

}  // namespace

extern "C" {
int __real_sigaction(int signal, const struct sigaction* action, struct sigaction* before);
int __wrap_sigaction(int signal, const struct sigaction* action, struct sigaction* before);
/// On demand, what would end the process shows what came instead; see meson.build for how.
int __wrap_sigaction(int signal, const struct sigaction* action, struct sigaction* before) {
  if (!showDefaultActions || action == nullptr || action->sa_handler != SIG_DFL)
    return __real_sigaction(signal, action, before);
  struct sigaction instead {};
  instead.sa_sigaction = show;
  instead.sa_flags = SA_SIGINFO;
  return __real_sigaction(signal, &instead, before);
}

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);
/// On demand refuses, as the sandbox of a container may.
long __wrap_syscall(long number, ...) {
  if (refuseSystemCalls) {
    errno = EPERM;
    return -1;
  }
  va_list list;
  va_start(list, number);
  long arguments[4];
  for (long& argument : arguments)
    argument = va_arg(list, long);
  va_end(list);
  return __real_syscall(number, arguments[0], arguments[1], arguments[2], arguments[3]);
}
}

namespace {

/// What ends a child with the crash handler that does `crash`.
template <class Crash>
std::string endOf(Crash crash) {
  const auto child = runInChild([&] {
    rung::installLogCrashHandler();
    showDefaultActions = true;
    crash();
    _exit(1);
  });
  CHECK(child.exitedWith(0));
  return child.output;
}

// The handler used raise(3): in the core dump a fault had code SI_TKILL and no address, so that a
// debugger could not say what the program had done.
TEST_CASE("regress: after the crash handler a signal is still what it was") {
  void* const page = mmap(nullptr, 1, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(endOf([&] { *static_cast<volatile char*>(page) = 1; }) ==
        Sentence(SIGSEGV, SEGV_ACCERR, page, 0).text);
  const std::string sent = endOf([] { kill(getpid(), SIGBUS); });
  CHECK(sent.starts_with("signal " + std::to_string(SIGBUS) + ", code " + std::to_string(SI_USER)));
  const std::string raised = endOf([] { (void)raise(SIGFPE); });
  CHECK(raised.starts_with("signal " + std::to_string(SIGFPE) + ", code " +
                           std::to_string(SI_TKILL)));
  munmap(page, 1);
}

TEST_CASE(
    "regress: where a sandbox does not let the crash handler send a signal on, it still ends") {
  void* const page = mmap(nullptr, 1, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const std::string fault = endOf([&] {
    refuseSystemCalls = true;
    *static_cast<volatile char*>(page) = 1;
  });
  CHECK(fault == Sentence(SIGSEGV, SEGV_ACCERR, page, 0).text);  // it happened again
  const std::string sent = endOf([] {
    refuseSystemCalls = true;
    kill(getpid(), SIGBUS);
  });
  CHECK(
      sent.starts_with("signal " + std::to_string(SIGBUS) + ", code " + std::to_string(SI_TKILL)));
  munmap(page, 1);
}

// A line was cut by a full disk. The note that lines are missing, which begins with a newline,
// could not be written either, or only in part; then there was room again, and the next line was
// glued to the torn one. Neither could be read, and only one of them was counted.
TEST_CASE("regress: after an error a line of the log begins a line of the file") {
  constexpr int kShort = FaultPlan::kShort;
  for (const std::vector<int>& writes : {std::vector<int>{kShort, ENOSPC, ENOSPC},
                                         {kShort, ENOSPC, kShort, ENOSPC},
                                         {ENOSPC, kShort, EIO},
                                         {kShort, EFBIG, EFBIG},  // without its signal
                                         {kShort, EIO, 0, kShort, ENOSPC, ENOSPC}}) {
    const TempDirectory directory;
    LogFile file({.baseName = directory / "log"});
    file.open();
    Faults::arm(FaultPlan::scriptOf(Call::write, writes));
    std::vector<std::string> sent;
    for (int i = 0; i < 6; ++i) {
      sent.push_back("@line-" + std::to_string(i) + "-of-some-length");
      file.append(sent.back() + "\n");
    }
    Faults::disarm();
    std::size_t whole = 0;
    for (const std::string& line : linesOf(directory.contents())) {
      CAPTURE(line);
      if (line.find('@') == line.npos) continue;  // its own, on what is missing
      CHECK(line.rfind('@') == 0);
      for (const std::string& each : sent)
        whole += each == line ? 1U : 0U;
    }
    CHECK(whole + file.lostLines() >= sent.size());
    CHECK(whole >= 3);
    CHECK(file.lostLines() <= 3);
  }
}

}  // namespace
