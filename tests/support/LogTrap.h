#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "rung/base/Logging.h"
#include "rung/base/Mutex.h"

namespace rung::testing {

/// While one lives, log lines of all threads are kept here.
struct LogTrap {
  LogTrap() {
    (void)take();
    Logger::setOutput([](std::string_view line) {
      const MutexLock lock(mutex);
      text += line;
    });
  }
  LogTrap(const LogTrap&) = delete;
  LogTrap& operator=(const LogTrap&) = delete;
  ~LogTrap() { Logger::setOutput(nullptr); }

  /// All of them so far, which are forgotten here.
  static std::string take() {
    const MutexLock lock(mutex);
    return std::exchange(text, {});
  }

 private:
  static inline Mutex mutex;
  static inline std::string text RUNG_GUARDED_BY(mutex);
};

}  // namespace rung::testing
