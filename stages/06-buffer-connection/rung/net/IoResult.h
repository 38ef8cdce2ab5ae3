#pragma once

#include <cstddef>

#include "rung/base/noncopyable.h"  // for its check of the standard

namespace rung {

/// The result of a read or write: a count, or the errno of its failure. They are returned together,
/// because errno itself may change before the caller looks.
struct IoResult {
  std::size_t bytes = 0;
  int error = 0;
};

}  // namespace rung
