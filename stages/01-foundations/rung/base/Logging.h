#pragma once

#include <atomic>
#include <cerrno>
#include <sstream>
#include <string>
#include <string_view>

#include "rung/base/noncopyable.h"

namespace rung {

enum class LogLevel { trace, debug, info, warn, error, fatal };

/// One log line. A LOG_ macro makes it, and the end of the statement writes it.
/// A line reads `20261123 09:49:05.622287Z 14022 INFO  text - File.cc:42`.
/// It is an ostringstream and one write for each line. Stage 07 replaces both; the macros stay.
/// It escapes control characters of the text, as "\n" and "\x1b", and those that change the
/// direction of writing, as "\u202e". So a text that a peer has sent cannot begin a new line,
/// cannot control the terminal of a reader, and cannot show the rest of the line in another order.
/// Thread: any. A line is handed to the output whole.
/// Errors: never fails; errno is the same after the statement as before it.
class Logger : noncopyable {
 public:
  /// Receives each finished line, newline included. Called on the thread that logs, which may be
  /// any; must not log itself, nor throw.
  using Output = void (*)(std::string_view line);

  /// Use the macros below instead. `savedErrno` other than 0 adds its meaning to the end of the
  /// text: `: No such file or directory (errno 2)`.
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
  /// Lifetime: other threads may still be in the old output when this returns. All that the old
  /// output uses must outlive their statements.
  static void setOutput(Output output);

 private:
  static std::atomic<LogLevel> level_;

  std::string head_;
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

/// The base of the LOG_ macros. Each name in it begins with `::`, since a user may have a namespace
/// `acme::rung`.
#define RUNG_LOG(severity, savedErrno)   \
  (::rung::Logger::level() > (severity)) \
      ? static_cast<void>(0)             \
      : ::rung::LogVoidify() &           \
            ::rung::Logger(__FILE__, __LINE__, (severity), (savedErrno)).stream()

#define RUNG_LOG_TRACE RUNG_LOG(::rung::LogLevel::trace, 0)
#define RUNG_LOG_DEBUG RUNG_LOG(::rung::LogLevel::debug, 0)
#define RUNG_LOG_INFO RUNG_LOG(::rung::LogLevel::info, 0)
#define RUNG_LOG_WARN RUNG_LOG(::rung::LogLevel::warn, 0)
#define RUNG_LOG_ERROR RUNG_LOG(::rung::LogLevel::error, 0)
/// Logs and aborts the process. For programmer errors only, never for what a peer can cause.
#define RUNG_LOG_FATAL RUNG_LOG(::rung::LogLevel::fatal, 0)
/// As RUNG_LOG_ERROR and RUNG_LOG_FATAL, with the text of errno as it was when the statement began.
#define RUNG_LOG_SYSERR RUNG_LOG(::rung::LogLevel::error, errno)
#define RUNG_LOG_SYSFATAL RUNG_LOG(::rung::LogLevel::fatal, errno)

/// The short names. A program that defines RUNG_NO_SHORT_MACROS, for all its files, has none of
/// them. A program that includes <syslog.h> must define it: LOG_INFO and LOG_DEBUG are numbers
/// there.
#ifndef RUNG_NO_SHORT_MACROS
#if defined(LOG_TRACE) || defined(LOG_DEBUG) || defined(LOG_INFO) || defined(LOG_WARN) || \
    defined(LOG_ERROR) || defined(LOG_FATAL) || defined(LOG_SYSERR) || defined(LOG_SYSFATAL)
#error "LOG_INFO or the like is a macro already: define RUNG_NO_SHORT_MACROS, use RUNG_LOG_INFO"
#endif
#define LOG_TRACE RUNG_LOG_TRACE
#define LOG_DEBUG RUNG_LOG_DEBUG
#define LOG_INFO RUNG_LOG_INFO
#define LOG_WARN RUNG_LOG_WARN
#define LOG_ERROR RUNG_LOG_ERROR
#define LOG_FATAL RUNG_LOG_FATAL
#define LOG_SYSERR RUNG_LOG_SYSERR
#define LOG_SYSFATAL RUNG_LOG_SYSFATAL
// <syslog.h> after this header would replace LOG_INFO without a warning, and `LOG_INFO << 1` would
// be a shift. So its first line does not compile: define RUNG_NO_SHORT_MACROS.
#pragma GCC poison LOG_EMERG
#endif
