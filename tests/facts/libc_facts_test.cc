// What glibc does between a program and the kernel.

#include <doctest/doctest.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <climits>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <vector>

#include "tests/facts/Kernel.h"

using namespace facts;

namespace {

template <class Body>
int statusOfChild(Body body) {
  const pid_t child = must(fork(), "fork");
  if (child == 0) {
    std::signal(SIGABRT, SIG_DFL);
    dup2(must(open("/dev/null", O_WRONLY | O_CLOEXEC), "open"), STDERR_FILENO);
    body();
    _exit(0);
  }
  int status = -1;
  waitpid(child, &status, 0);
  return status;
}

/// From now on clock_gettime(2) is not made but fails with EPERM. False where that is not allowed.
bool refuseClockCalls() {
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clock_gettime, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog all{sizeof program / sizeof program[0], program};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &all) == 0;
}

}  // namespace

TEST_CASE("libc: a function that succeeds may change errno") {
  char path[PATH_MAX];
  errno = 0;
  // It asks of each part of the path whether that is a symbolic link, and "no" is an error.
  REQUIRE(realpath("/proc", path) != nullptr);
  CHECK(errno != 0);
  MESSAGE("errno after a realpath() that succeeded: " << errno);
}

TEST_CASE("libc: a large block that was freed may stay and the next one comes from the heap") {
  constexpr std::size_t kBytes = 4 << 20;
  const auto mapped = [] { return mallinfo2().hblks; };
  const std::size_t before = mapped();
  char* volatile block = static_cast<char*>(std::malloc(kBytes));
  const std::size_t during = mapped();
  std::free(block);
  if (during != before + 1) {
    MESSAGE("skipped: another malloc than glibc's, or its threshold is larger already");
    return;
  }
  CHECK(mapped() == before);  // the first went back to the kernel: munmap()
  // And with it the threshold for mapping rose to its size.
  block = static_cast<char*>(std::malloc(kBytes - 4096));
  CHECK(mapped() == before);
  std::free(block);
  CHECK(mallinfo2().fordblks >= kBytes - 4096);  // free in the process, not given back
}

TEST_CASE("libc: the limit of select is that of fd_set and the kernel takes a larger bitmap") {
  CHECK(FD_SETSIZE == 1024);
  rlimit limit{};
  must(getrlimit(RLIMIT_NOFILE, &limit), "getrlimit");
  if (limit.rlim_max < 2000) {
    MESSAGE("skipped: the hard limit of descriptors is " << limit.rlim_max << ", 2000 are needed");
    return;
  }
  const rlimit before = limit;
  limit.rlim_cur = 2000;
  if (before.rlim_cur < 2000) must(setrlimit(RLIMIT_NOFILE, &limit), "setrlimit");
  Fd low(must(eventfd(1, EFD_CLOEXEC), "eventfd"));
  Fd high(must(fcntl(low, F_DUPFD_CLOEXEC, 1500), "F_DUPFD"));
  REQUIRE(high >= 1500);
  constexpr int kBits = 8 * sizeof(unsigned long);
  std::vector<unsigned long> bitmap(2048 / kBits);
  const auto word = static_cast<std::size_t>(high / kBits);
  bitmap[word] = 1UL << (high % kBits);
  timeval atOnce{};
  CHECK(select(high + 1, reinterpret_cast<fd_set*>(bitmap.data()), nullptr, nullptr, &atOnce) == 1);
  CHECK(bitmap[word] == 1UL << (high % kBits));
  high.close();
  must(setrlimit(RLIMIT_NOFILE, &before), "setrlimit");
}

#ifdef __GLIBC__
extern "C" long __fdelt_chk(long descriptor);  // NOLINT: what FD_SET is with _FORTIFY_SOURCE

TEST_CASE("libc: with _FORTIFY_SOURCE an FD_SET of descriptor 1024 aborts") {
  CHECK(statusOfChild([] { (void)__fdelt_chk(1023); }) == 0);
  const int status = statusOfChild([] { (void)__fdelt_chk(1024); });
  CHECK(WIFSIGNALED(status));
  CHECK(WTERMSIG(status) == SIGABRT);
}
#endif

TEST_CASE("libc: reading the clock is no system call if the clock source can be read from there") {
  std::string source;
  std::ifstream("/sys/devices/system/clocksource/clocksource0/current_clocksource") >> source;
  MESSAGE("the clock source: ", source.empty() ? "unknown" : source);
  const int status = statusOfChild([] {
    if (!refuseClockCalls()) _exit(3);
    timespec now{};
    // The processor time of another process is the kernel's to know: the filter works.
    if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now) == 0) _exit(4);
    const bool monotonic = clock_gettime(CLOCK_MONOTONIC, &now) == 0;
    const bool wall = clock_gettime(CLOCK_REALTIME, &now) == 0;
    _exit(monotonic && wall ? 0 : 1);
  });
  REQUIRE(WIFEXITED(status));
  if (WEXITSTATUS(status) == 3) {
    MESSAGE("skipped: this process may not have a seccomp filter");
  } else if (source == "hpet" || source == "acpi_pm") {
    CHECK(WEXITSTATUS(status) == 1);  // these can be read in the kernel only
  } else if (source == "tsc") {
    CHECK(WEXITSTATUS(status) == 0);
  } else {
    MESSAGE("with this clock source: ", WEXITSTATUS(status) == 0 ? "no system call" : "one");
  }
}

TEST_CASE("libc: a __thread variable can be written to but its initialiser must be a constant") {
  CHECK(THREAD_OF_A_CALL_COMPILES == 0);  // tests/facts/meson.build tried
  static __thread int number = 1;
  ++number;
  CHECK(number == 2);
}
