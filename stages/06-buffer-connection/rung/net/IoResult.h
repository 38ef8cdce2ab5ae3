#pragma once

#include <cstddef>

namespace rung {

/// What a read or write did: a count, or the errno of its failure. Returned together, because errno
/// itself may change before the caller looks.
struct IoResult {
  std::size_t bytes = 0;
  int error = 0;
};

}  // namespace rung
