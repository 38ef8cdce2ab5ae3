#include "rung/base/Logging.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <system_error>

#include "rung/base/Timestamp.h"

namespace rung {

namespace {

void writeToStderr(std::string_view line) {
  // stderr has no buffer: the line goes out in one write(2), so that two threads do not mix theirs.
  // There is nowhere to report a failure to.
  (void)std::fwrite(line.data(), 1, line.size(), stderr);
}

std::atomic<Logger::Output> output{writeToStderr};

const char* nameOf(LogLevel level) {
  static constexpr const char* kNames[] = {"TRACE ", "DEBUG ", "INFO  ",
                                           "WARN  ", "ERROR ", "FATAL "};
  return kNames[static_cast<int>(level)];
}

const char* baseName(const char* path) {
  const char* slash = std::strrchr(path, '/');
  return slash == nullptr ? path : slash + 1;
}

std::string escapeOf(unsigned char control) {
  if (control == '\n') return "\\n";
  if (control == '\r') return "\\r";
  if (control == '\t') return "\\t";
  char text[8];
  std::snprintf(text, sizeof text, "\\x%02x", control);
  return text;
}

/// Returns `text` with its control characters escaped: those of ASCII, and U+0080 to U+009F, since
/// terminals obey both. In UTF-8 the second kind is 0xC2 and one byte more.
std::string escaped(const std::string& text) {
  std::string safe;
  bool isSecondByte = false;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool isC1 = isSecondByte && byte >= 0x80 && byte < 0xA0;
    if (isC1) safe.pop_back();
    if (isC1 || byte < 0x20 || byte == 0x7F) {
      safe += escapeOf(byte);
    } else {
      safe += c;
    }
    isSecondByte = byte == 0xC2;
  }
  return safe;
}

}  // namespace

std::atomic<LogLevel> Logger::level_{LogLevel::info};

Logger::Logger(const char* file, int line, LogLevel level, int savedErrno)
    : file_(file),
      line_(line),
      lineLevel_(level),
      savedErrno_(savedErrno),
      // Callers look at errno after they have logged, so a log statement must not change it.
      callersErrno_(errno) {
  head_ = Timestamp::now().toString() + ' ' + std::to_string(gettid()) + ' ' + nameOf(level);
}

Logger::~Logger() {
  if (savedErrno_ != 0) {
    stream_ << ": " << std::generic_category().message(savedErrno_) << " (errno " << savedErrno_
            << ')';
  }
  const std::string tail = std::string(" - ") + baseName(file_) + ':' + std::to_string(line_);
  output.load()(head_ + escaped(stream_.str()) + tail + '\n');
  if (lineLevel_ == LogLevel::fatal) std::abort();
  errno = callersErrno_;
}

void Logger::setOutput(Output newOutput) {
  output.store(newOutput == nullptr ? writeToStderr : newOutput);
}

}  // namespace rung
