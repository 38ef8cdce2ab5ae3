#pragma once

#include <string_view>

#include "rung/base/noncopyable.h"

namespace rung {

/// Where log lines go, as an object with a state of its own: a socket, a ring in memory, the lines
/// that a test expects. For files there is AsyncLogging; Logger::setOutput() takes either.
/// Thread: any; several threads may be in write() at once.
/// Lifetime: shared. The Logger keeps it until another output is set and the last thread has left
/// write(); that thread may be the one that destroys it. Nobody destroys the one that is set when
/// the process ends: what it holds back is lost, unless setOutput(nullptr) was called before.
/// Source: M. M. Michael, "Hazard Pointers" (2004), for the way to know who is in write().
class LogOutput : noncopyable {
 public:
  virtual ~LogOutput() = default;

  /// Receives each finished line, newline included. May set another output; must not log itself,
  /// nor throw.
  virtual void write(std::string_view line) = 0;

  /// Returns when all that write() was given is out of the process. Called before LOG_FATAL aborts.
  virtual void flush() {}

 protected:
  LogOutput() = default;
};

}  // namespace rung
