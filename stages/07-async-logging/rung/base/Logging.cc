#include "rung/base/Logging.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>

#include "rung/base/CurrentThread.h"
#include "rung/base/QuietWrite.h"

namespace rung {

namespace {

std::atomic<Logger::Flush> flush{nullptr};

std::string_view nameOf(LogLevel level) {
  static constexpr char kNames[][7] = {"TRACE ", "DEBUG ", "INFO  ", "WARN  ", "ERROR ", "FATAL "};
  return {kNames[static_cast<int>(level)], 6};  // a length that the compiler knows is copied faster
}

/// What a thread's lines of one second have in common: "20261123 09:49:05.000000Z 14022 ". Turning
/// seconds into a date costs more than all the rest of a line.
struct Prefix {
  std::int64_t second = 0;
  pid_t tid = 0;  // changes in a forked child
  bool local = false;
  std::size_t point = 0;  // the microseconds stand behind it
  std::size_t length = 0;
  char text[64] = "";

  void renew(Timestamp when, std::int64_t newSecond, pid_t newTid, bool newLocal) {
    try {
      const std::string date = newLocal ? when.toLocalString() : when.toString();
      const std::string all = date + ' ' + std::to_string(newTid) + ' ';
      second = newSecond;
      local = newLocal;
      point = date.find('.');
      // A moment without a date, after 2038 where time_t has 32 bits, is not kept.
      tid = point == date.npos ? 0 : newTid;
      length = std::min(all.size(), sizeof text);
      std::memcpy(text, all.data(), length);
    } catch (const std::bad_alloc&) {  // not kept either
      tid = 0;
      const int size = std::snprintf(text, sizeof text, "%lld %d ",
                                     static_cast<long long>(newSecond), static_cast<int>(newTid));
      length = static_cast<std::size_t>(size);
    }
  }
};

constinit thread_local Prefix prefix;

void beginLine(LogStream& stream, Timestamp when, LogLevel level, bool local) {
  std::int64_t second = when.microsecondsSinceEpoch() / 1'000'000;
  auto microseconds = static_cast<int>(when.microsecondsSinceEpoch() % 1'000'000);
  if (microseconds < 0) {  // before 1970; the division rounded toward zero
    microseconds += 1'000'000;
    --second;
  }
  const pid_t tid = CurrentThread::tid();
  if (second != prefix.second || tid != prefix.tid || local != prefix.local) {
    prefix.renew(when, second, tid, local);
  }
  char* const text = stream.buffer().end();
  stream << std::string_view(prefix.text, prefix.length) << nameOf(level);
  if (prefix.tid != 0) {
    writeSixDigits(text + prefix.point + 1, static_cast<unsigned>(microseconds));
  }
  stream.openText();
}

void endLine(LogStream& stream, SourceFile file, int line) {
  stream.closeText();
  stream << " - " << file.name() << ':' << line << '\n';
}

// glibc's strerror_r returns the text; the one of POSIX fills the buffer and returns 0.
[[maybe_unused]] const char* textOf(const char* text, const char*) {
  return text;
}
[[maybe_unused]] const char* textOf(int, const char* buffer) {
  return buffer;
}

}  // namespace

std::atomic<LogLevel> Logger::level_{LogLevel::info};
std::atomic<bool> Logger::localTime_{false};
std::atomic<bool> Logger::aborting_{false};

Logger::Logger(SourceFile file, int line, LogLevel level, int savedErrno)
    : file_(file),
      line_(line),
      lineLevel_(level),
      savedErrno_(savedErrno),
      // Callers look at errno after they have logged; what happens in here must not change it.
      callersErrno_(errno) {
  beginLine(stream_, Timestamp::now(), level, localTime_.load(std::memory_order_relaxed));
}

Logger::~Logger() {
  if (savedErrno_ != 0) {
    char text[128] = "";
    stream_ << ": " << textOf(strerror_r(savedErrno_, text, sizeof text), text) << " (errno "
            << savedErrno_ << ')';
  }
  endLine(stream_, file_, line_);
  if (lineLevel_ == LogLevel::fatal) aborting_.store(true);
  output_.load()(stream_.view());
  if (lineLevel_ == LogLevel::fatal) {
    if (const Flush flushOutput = flush.load(); flushOutput != nullptr) flushOutput();
    std::abort();
  }
  errno = callersErrno_;
}

LogLevel Logger::parseLevel(std::string_view text) {
  const auto isSame = [](char a, char b) { return a == (b >= 'a' && b <= 'z' ? b - 32 : b); };
  for (int i = 0; i <= static_cast<int>(LogLevel::fatal); ++i) {
    const auto level = static_cast<LogLevel>(i);
    const std::string_view name = nameOf(level).substr(0, nameOf(level).find(' '));
    if (std::equal(name.begin(), name.end(), text.begin(), text.end(), isSame)) return level;
  }
  throw std::invalid_argument('\'' + std::string(text) +
                              "' is no log level: trace, debug, info, warn, error or fatal");
}

void Logger::setFlush(Flush newFlush) {
  flush.store(newFlush);
}

void Logger::writeToStdout(std::string_view line) {
  while (!line.empty()) {
    const ssize_t written = quietWrite(STDOUT_FILENO, line);
    if (written >= 0) {
      line.remove_prefix(static_cast<std::size_t>(written));
    } else if (errno == EAGAIN) {
      // Somebody made the terminal or the pipe non-blocking; it is shared with other processes.
      pollfd stdoutWritable{STDOUT_FILENO, POLLOUT, 0};
      (void)poll(&stdoutWritable, 1, -1);
    } else if (errno != EINTR) {
      return;
    }
  }
}

std::string formatLogLine(Timestamp when, LogLevel level, SourceFile file, int line,
                          std::string_view text) {
  LogStream stream;
  beginLine(stream, when, level, false);
  stream << text;
  endLine(stream, file, line);
  return std::string(stream.view());
}

}  // namespace rung
