#pragma once

#include <atomic>
#include <cerrno>
#include <sstream>
#include <string_view>

#include "rung/base/noncopyable.h"

namespace rung {

enum class LogLevel { trace, debug, info, warn, error, fatal };

/// One log line in the making: built by a LOG_ macro, written out when the statement ends.
/// A line reads `20261123 09:49:05.622287Z 14022 INFO  text - File.cc:42`.
/// This is the simplest thing that works, an ostringstream and one write for each line. Stage 07
/// puts another engine behind the same macros.
/// Thread: any. A line is handed to the output whole.
/// Errors: never fails; errno is the same after the statement as before it.
class Logger : noncopyable {
 public:
  /// Receives each finished line, newline included. Called on the thread that logs, which may be
  /// any; must not log itself.
  using Output = void (*)(std::string_view line);

  /// Use the macros below instead. `savedErrno` other than 0 adds its text to the line.
  Logger(const char* file, int line, LogLevel level, int savedErrno = 0);

  /// Writes the line. For LogLevel::fatal it then aborts the process.
  ~Logger();

  [[nodiscard]] std::ostream& stream() { return stream_; }

  /// Lines below this level cost one relaxed load and nothing else. The default is info.
  /// Thread: any.
  [[nodiscard]] static LogLevel level() { return level_.load(std::memory_order_relaxed); }
  static void setLevel(LogLevel level) { level_.store(level, std::memory_order_relaxed); }

  /// Sends all later lines to `output`; nullptr brings the default back.
  /// Thread: any.
  static void setOutput(Output output);

 private:
  static std::atomic<LogLevel> level_;

  std::ostringstream stream_;
  const char* file_;
  int line_;
  LogLevel lineLevel_;
  int savedErrno_;
  int callersErrno_;
};

/// Turns `stream << a << b` into void: `&` binds looser than `<<` and tighter than `?:`, so a LOG_
/// macro is one expression, and an `else` after it belongs to the `if` before it.
struct LogVoidify {
  template <class Stream>
  void operator&(const Stream&) const {}
};

}  // namespace rung

#define RUNG_LOG(severity, savedErrno) \
  (rung::Logger::level() > (severity)) \
      ? static_cast<void>(0)           \
      : rung::LogVoidify() & rung::Logger(__FILE__, __LINE__, (severity), (savedErrno)).stream()

#define LOG_TRACE RUNG_LOG(rung::LogLevel::trace, 0)
#define LOG_DEBUG RUNG_LOG(rung::LogLevel::debug, 0)
#define LOG_INFO RUNG_LOG(rung::LogLevel::info, 0)
#define LOG_WARN RUNG_LOG(rung::LogLevel::warn, 0)
#define LOG_ERROR RUNG_LOG(rung::LogLevel::error, 0)
/// Logs and aborts the process. For programmer errors only, never for what a peer can cause.
#define LOG_FATAL RUNG_LOG(rung::LogLevel::fatal, 0)
/// As LOG_ERROR and LOG_FATAL, with the text of errno as it was when the statement began.
#define LOG_SYSERR RUNG_LOG(rung::LogLevel::error, errno)
#define LOG_SYSFATAL RUNG_LOG(rung::LogLevel::fatal, errno)
