#pragma once

#include <sys/types.h>

#include <string_view>

namespace rung::CurrentThread {

namespace detail {
extern constinit thread_local pid_t cachedTid;
void cacheTid();
}  // namespace detail

/// The kernel's id of the calling thread, unique on the machine: what top and strace show.
/// The first call in a thread asks the kernel, later ones read a thread-local variable. A child of
/// fork(2) asks again.
/// Thread: any.
/// Source: gettid(2).
[[nodiscard]] inline pid_t tid() {
  if (detail::cachedTid == 0) detail::cacheTid();
  return detail::cachedTid;
}

/// The name given with setName(), or "main" in the first thread, or "unknown".
/// Lifetime: until the next setName() of this thread.
[[nodiscard]] const char* name();

/// Names the calling thread, for log lines and for debuggers.
/// Errors: never fails. The kernel keeps the first 15 bytes, name() the first 31.
void setName(std::string_view name);

}  // namespace rung::CurrentThread
