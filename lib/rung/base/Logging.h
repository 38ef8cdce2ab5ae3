#pragma once

#include <atomic>
#include <cerrno>
#include <memory>
#include <string>
#include <string_view>

#include "rung/base/LogStream.h"
#include "rung/base/SourceFile.h"
#include "rung/base/Timestamp.h"
#include "rung/base/noncopyable.h"

namespace rung {

class LogOutput;

enum class LogLevel { trace, debug, info, warn, error, fatal };

/// One log line. A LOG_ macro makes it, and the end of the statement writes it.
/// A line reads `20261123 09:49:05.622287Z 14022 INFO  text - File.cc:42`.
/// It is formatted on the stack; only for a new date, once a second, a thread asks the heap.
/// Without memory the seconds since 1970 stand in its place. Where the line goes is up to the
/// output; AsyncLogging is the one for servers.
/// Thread: any. A line is handed to the output whole.
/// Errors: never fails; errno is the same after the statement as before it. A line that is longer
/// than FixedBuffer::kBytes is cut, and says so. Control characters of its text are escaped, see
/// LogStream; a line is one line.
/// Source: muduo base/Logging.h.
class Logger : noncopyable {
 public:
  /// Receives each finished line, newline included. Called on the thread that logs, which may be
  /// any; must not log itself, nor throw.
  using Output = void (*)(std::string_view line);
  /// Returns when all that the output was given is out of the process.
  using Flush = void (*)();

  /// Use the macros below instead. `savedErrno` other than 0 adds its meaning to the end of the
  /// text: `: No such file or directory (errno 2)`.
  Logger(SourceFile file, int line, LogLevel level, int savedErrno = 0);

  /// Writes the line. For LogLevel::fatal it then flushes the output and aborts the process.
  ~Logger();

  [[nodiscard]] LogStream& stream() { return stream_; }

  /// Lines below this level cost one relaxed load and nothing else. The default is info.
  /// Thread: any.
  [[nodiscard]] static LogLevel level() { return level_.load(std::memory_order_relaxed); }
  static void setLevel(LogLevel level) { level_.store(level, std::memory_order_relaxed); }
  /// The level of that name, "info" or "INFO", as an option or a file has it.
  /// Thread: any.
  /// Errors: throws std::invalid_argument that names the text and all levels.
  [[nodiscard]] static LogLevel parseLevel(std::string_view text);

  /// Sends all later lines to `output`; nullptr brings the default back, writeToStdout().
  /// Thread: any.
  /// Lifetime: other threads may still be in the old output when this returns. All that the old
  /// output uses must outlive their statements.
  static void setOutput(Output output);
  /// The same for an object, see LogOutput. No lock is taken for a line.
  /// Thread: any; any thread may log meanwhile. Each line goes to one output.
  /// Lifetime: shared with the caller, until another output is set and no thread is in this one.
  /// Errors: throws std::bad_alloc, and then the output is the old one.
  static void setOutput(std::shared_ptr<LogOutput> output);
  /// Brings the default back if `output` is the output. What was set meanwhile stays.
  /// Thread: any.
  /// Lifetime: as for setOutput().
  static void unsetOutput(Output output);

  /// For an output that holds lines back: how to get them out before an abort. nullptr: no need.
  /// Thread: any.
  static void setFlush(Flush flush);

  /// Whether lines show the time zone of the process, "17:49:05.622287+0800", instead of UTC.
  /// Thread: any.
  static void setLocalTime(bool local) { localTime_.store(local, std::memory_order_relaxed); }

  /// Whether a fatal line is on its way. An output that may drop lines must not drop that one.
  /// Thread: any.
  [[nodiscard]] static bool aborting() { return aborting_.load(); }

  /// Writes `line` to file descriptor 1, at once and whole: a line that waits in a buffer of stdio
  /// is lost in a crash, and shown twice after a fork.
  /// Errors: a line that cannot be written is lost; there is nowhere to report it to. No signal
  /// comes of it.
  static void writeToStdout(std::string_view line);

 private:
  static void setOutput(Output output, std::shared_ptr<LogOutput> object);
  static void writeToObject(std::string_view line);

  static std::atomic<Output> output_;
  static std::atomic<LogLevel> level_;
  static std::atomic<bool> localTime_;
  static std::atomic<bool> aborting_;

  LogStream stream_;
  SourceFile file_;
  int line_;
  LogLevel lineLevel_;
  int savedErrno_;
  int callersErrno_;
};

/// A line such as the macros make, for the back-end: it cannot log to itself.
[[nodiscard]] std::string formatLogLine(Timestamp when, LogLevel level, SourceFile file, int line,
                                        std::string_view text);

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
