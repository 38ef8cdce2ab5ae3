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

}  // namespace

std::atomic<LogLevel> Logger::level_{LogLevel::info};

Logger::Logger(const char* file, int line, LogLevel level, int savedErrno)
    : file_(file),
      line_(line),
      lineLevel_(level),
      savedErrno_(savedErrno),
      // Callers look at errno after they have logged; what happens in here must not change it.
      callersErrno_(errno) {
  stream_ << Timestamp::now().toString() << ' ' << gettid() << ' ' << nameOf(level);
}

Logger::~Logger() {
  if (savedErrno_ != 0) {
    stream_ << ": " << std::generic_category().message(savedErrno_) << " (errno " << savedErrno_
            << ')';
  }
  stream_ << " - " << baseName(file_) << ':' << line_ << '\n';
  output.load()(stream_.str());
  if (lineLevel_ == LogLevel::fatal) std::abort();
  errno = callersErrno_;
}

void Logger::setOutput(Output newOutput) {
  output.store(newOutput == nullptr ? writeToStderr : newOutput);
}

}  // namespace rung
