#pragma once

#include <string_view>

#include "rung/base/Logging.h"

namespace rung::testing {

/// While one lives, log lines go nowhere. What the library says of errors that a case has arranged
/// is not news, and no line of TAP.
struct QuietLog {
  QuietLog() {
    Logger::setOutput([](std::string_view) {});
  }
  ~QuietLog() { Logger::setOutput(nullptr); }
};

}  // namespace rung::testing
