#pragma once

#include <sys/types.h>

#include <string_view>

#include "rung/base/noncopyable.h"  // refuses older standards

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
/// The kernel keeps 15 bytes, name() 31. A longer name keeps its beginning, and a number at its
/// end with the dash before it: "gateway-frontend-12" becomes "gateway-fron-12".
/// Errors: never fails.
void setName(std::string_view name);

}  // namespace rung::CurrentThread
