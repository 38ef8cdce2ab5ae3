#pragma once

#include <cstdlib>

namespace rung::testing {

/// How many times slower than usual this machine is: RUNG_TEST_SLOW, 1 if it is not set. Waits and
/// time limits are multiplied by it; amounts of work may be divided by it.
inline double slowness() {
  const char* text = std::getenv("RUNG_TEST_SLOW");
  const double factor = text == nullptr ? 1 : std::atof(text);
  return factor >= 1 ? factor : 1;
}

}  // namespace rung::testing
