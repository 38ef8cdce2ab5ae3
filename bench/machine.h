#pragma once

#include <sys/resource.h>

#include <cstdint>
#include <cstdio>
#include <string>

namespace bench {

/// Raises the soft limit of descriptors to the hard one, which needs no privilege. Returns what may
/// be used then.
inline std::uint64_t raiseDescriptorLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
  const rlimit raised{limit.rlim_max, limit.rlim_max};
  return setrlimit(RLIMIT_NOFILE, &raised) == 0 ? raised.rlim_cur : limit.rlim_cur;
}

/// Resident memory of a process, 0 for this one. From smaps_rollup, which counts pages; the kernel
/// keeps the figure in statm for each core apart, and it may be off by some 100 kB.
/// Returns 0 if there is no such process.
inline std::uint64_t residentBytes(int pid = 0) {
  const std::string process = pid == 0 ? "self" : std::to_string(pid);
  std::FILE* file = std::fopen(("/proc/" + process + "/smaps_rollup").c_str(), "re");
  if (file == nullptr) return 0;
  unsigned long long kibibytes = 0;
  char line[256];
  while (std::fgets(line, sizeof line, file) != nullptr) {
    if (std::sscanf(line, "Rss: %llu kB", &kibibytes) == 1) break;
  }
  (void)std::fclose(file);  // only read from
  return kibibytes * 1024;
}

}  // namespace bench
