#pragma once

#include <string>

#include "rung/base/noncopyable.h"  // for its check of the standard

namespace rung {

/// Ends the process with a line of the log that names `what` and the exception which is being
/// handled. For a catch block.
/// Thread: any.
[[noreturn]] void abortOnException(const std::string& what) noexcept;

/// Calls `function` where no exception may pass: in a callback, a task, the function of a thread.
/// If `function` throws, the process ends as with abortOnException(describe()).
/// By then the stack of the throw is unwound. gdb stops before that: `catch throw`, then `bt`.
/// `describe` is called only after an exception, so a call that returns does not pay for it.
/// Thread: any.
/// Errors: aborts.
template <class Function, class Describe>
[[gnu::always_inline]] inline void runGuarded(Function&& function, Describe&& describe) noexcept {
  try {
    function();
  } catch (...) {
    abortOnException(describe());
  }
}

}  // namespace rung
