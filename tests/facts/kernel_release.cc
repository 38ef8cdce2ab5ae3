// Facts are facts of a kernel: every run says first which one it was.

#include <sys/utsname.h>

#include <cstdio>

namespace {

// Before main(), so that the line stands before the tests, whichever of them run.
[[maybe_unused]] const bool printed = [] {
  utsname name{};
  if (uname(&name) != 0) return false;
  std::printf("# %s %s\n", name.sysname, name.release);
  std::fflush(stdout);
  return true;
}();

}  // namespace
