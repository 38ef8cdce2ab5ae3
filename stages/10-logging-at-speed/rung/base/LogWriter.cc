#include "rung/base/LogWriter.h"

#include <poll.h>
#include <unistd.h>

#include <string>
#include <utility>

#include "rung/base/CurrentThread.h"
#include "rung/base/Logging.h"

namespace rung {

LogWriter::LogWriter(LogFile::Options options) : clock_(options.clock), file_(std::move(options)) {}

void LogWriter::open() {
  const MutexLock lock(mutex_);
  file_.open();
}

void LogWriter::write(std::string_view lines) {
  const MutexLock lock(mutex_);
  file_.append(lines);
}

std::uint64_t LogWriter::lostLines() const {
  const MutexLock lock(mutex_);
  return file_.lostLines();
}

LogMerge LogWriter::newMerge() {
  return LogMerge([this](std::string_view lines) { writeForRound(lines); },
                  [this](std::uint64_t count) {
                    return formatLogLine(
                        clock_(), LogLevel::warn, __FILE__, __LINE__,
                        std::to_string(count) + " log lines dropped here: the buffers were full");
                  });
}

std::vector<std::unique_ptr<LogBlock>> LogWriter::writeRound(LogMerge& merge,
                                                             LogBuffer::Then then) {
  backEnd_.store(CurrentThread::tid());
  busy_.store(true);
  for (LogBuffer* buffer = LogBuffer::first(); buffer != nullptr; buffer = buffer->next()) {
    if (LogBlock* const first = buffer->take(then)) merge.add(first);
  }
  merge.writeAll();
  if (rescuing_.load()) stopForRescue();
  std::vector<std::unique_ptr<LogBlock>> free;
  for (LogBuffer* buffer = LogBuffer::first(); buffer != nullptr; buffer = buffer->next()) {
    for (std::unique_ptr<LogBlock>& block : buffer->release())
      free.push_back(std::move(block));
  }
  busy_.store(false);
  return free;
}

void LogWriter::writeForRound(std::string_view lines) {
  if (rescuing_.load()) stopForRescue();
  write(lines);
}

RUNG_THREAD_ATTRIBUTE(no_thread_safety_analysis)
void LogWriter::rescue() noexcept {
  constexpr int kTries = 200;
  constexpr int kMillisecondsEach = 10;  // poll(2) is the sleep that a signal handler may use
  if (rescuing_.exchange(true)) {
    // Another thread has crashed, too, and must not end the process before the first is done; that
    // one may have to wait for all of its own time, and then it still has to write.
    for (int i = 0; i < 2 * kTries && !rescued_.load(); ++i)
      (void)poll(nullptr, 0, kMillisecondsEach);
    return;
  }
  // The back-end stops before its next write; if the disk hangs, rather some lines twice than
  // never.
  const bool onBackEnd = backEnd_.load() == gettid();
  for (int i = 0; i < kTries && busy_.load() && !onBackEnd; ++i)
    (void)poll(nullptr, 0, kMillisecondsEach);
  const int fd = file_.descriptor();
  LogBuffer::writeAll(fd >= 0 ? fd : STDERR_FILENO);
  rescued_.store(true);
}

void LogWriter::stopForRescue() {
  busy_.store(false);
  for (;;)
    (void)pause();
}

RUNG_THREAD_ATTRIBUTE(no_thread_safety_analysis)
void LogWriter::lockForFork() {
  mutex_.lock();
}

RUNG_THREAD_ATTRIBUTE(no_thread_safety_analysis)
void LogWriter::unlockInParent() {
  mutex_.unlock();
}

RUNG_THREAD_ATTRIBUTE(no_thread_safety_analysis)
void LogWriter::unlockInChild() {
  file_.startOver();
  busy_.store(false);
  mutex_.unlock();
}

}  // namespace rung
