#pragma once

#include <chrono>
#include <new>
#include <thread>

#include "rung/base/noncopyable.h"  // refuses older standards

namespace rung {

/// Where there is no other way: calls `function` until there is the memory that it takes, a
/// millisecond apart. Returns what it returns.
/// Thread: any.
/// Errors: never std::bad_alloc; it waits instead.
template <class Function>
auto insist(Function function) {
  for (;;) {
    try {
      return function();
    } catch (const std::bad_alloc&) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
}

}  // namespace rung
