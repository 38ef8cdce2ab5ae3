// Only in a build with -Db_coverage, as tools/coverage makes it. gcc's counts are written by
// exit(), but a child of a test ends by abort(), by _exit() or by a signal that it raises. These
// functions take the place of the C library's; they write the counts first.

#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

extern "C" {

void __gcov_dump();
void __gcov_reset();  // or the next dump would do nothing

[[noreturn]] void _exit(int status) {
  __gcov_dump();
  for (;;)
    (void)syscall(SYS_exit_group, status);
}

int raise(int signal) noexcept {
  __gcov_dump();
  __gcov_reset();
  return static_cast<int>(syscall(SYS_tgkill, getpid(), gettid(), signal));
}

[[noreturn]] void abort() noexcept {
  (void)raise(SIGABRT);  // there may be a handler
  (void)signal(SIGABRT, SIG_DFL);
  (void)raise(SIGABRT);
  _exit(127);
}

}  // extern "C"
