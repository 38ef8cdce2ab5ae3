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

struct Control {
  std::size_t bytes;  // 0: there is none
  unsigned code;
};

/// The control character at the head of `text`: one of ASCII, or U+0080 to U+009F, since terminals
/// obey both; or one that begins a line or changes the direction of writing. In UTF-8 the second
/// kind is 0xC2 and a byte more, the last one 0xE2 and two.
Control controlAt(std::string_view text) {
  const auto byte = [&](std::size_t i) -> unsigned {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0;
  };
  const auto isIn = [](unsigned code, unsigned first, unsigned last) {
    return code >= first && code <= last;
  };
  if (byte(0) < 0x20 || byte(0) == 0x7F) return {1, byte(0)};
  if (byte(0) == 0xC2 && isIn(byte(1), 0x80, 0x9F)) return {2, byte(1)};
  if (byte(0) == 0xD8 && byte(1) == 0x9C) return {2, 0x61C};
  if (byte(0) != 0xE2 || !isIn(byte(1), 0x80, 0x81) || !isIn(byte(2), 0x80, 0xBF)) return {0, 0};
  const unsigned code = 0x2000 + (byte(1) - 0x80) * 0x40 + (byte(2) - 0x80);
  const bool isControl =
      isIn(code, 0x200E, 0x200F) || isIn(code, 0x2028, 0x202E) || isIn(code, 0x2066, 0x2069);
  return {isControl ? 3U : 0U, code};
}

std::string escapeOf(unsigned code) {
  if (code == '\n') return "\\n";
  if (code == '\r') return "\\r";
  if (code == '\t') return "\\t";
  char text[16];
  std::snprintf(text, sizeof text, code > 0xFF ? "\\u%04x" : "\\x%02x", code);
  return text;
}

/// Returns `text` with its control characters escaped.
std::string escaped(std::string_view text) {
  std::string safe;
  while (!text.empty()) {
    const auto [bytes, code] = controlAt(text);
    if (bytes > 0) {
      safe += escapeOf(code);
    } else {
      safe += text.front();
    }
    text.remove_prefix(bytes > 0 ? bytes : 1);
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
