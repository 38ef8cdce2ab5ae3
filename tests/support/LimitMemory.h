#pragma once

#include <sys/resource.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <fstream>

namespace rung::testing {

/// Lets this process have `moreBytes` more memory than it has: for a child. False if it cannot be
/// limited; under the sanitizers it cannot, as their own memory would count.
inline bool limitMemory(std::size_t moreBytes) {
  if (std::getenv("RUNG_SANITIZED") != nullptr) return false;
  std::size_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  const rlim_t bytes = pages * static_cast<std::size_t>(sysconf(_SC_PAGESIZE)) + moreBytes;
  const rlimit limit{bytes, bytes};
  return setrlimit(RLIMIT_AS, &limit) == 0;
}

}  // namespace rung::testing
