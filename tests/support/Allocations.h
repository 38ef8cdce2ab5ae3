#pragma once

#include <limits>

namespace rung::testing {

/// How many times this thread has asked `operator new` for memory.
int allocations();

/// While one lives, `operator new` grants this thread so many more, then refuses so many.
class NoMemory {
 public:
  explicit NoMemory(int granted = 0, int refused = std::numeric_limits<int>::max());
  NoMemory(const NoMemory&) = delete;
  NoMemory& operator=(const NoMemory&) = delete;
  ~NoMemory();
};

}  // namespace rung::testing
