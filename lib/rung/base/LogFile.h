#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "rung/base/AppendFile.h"
#include "rung/base/Timestamp.h"
#include "rung/base/noncopyable.h"

namespace rung {

/// A log that is a series of files: it rolls to the next one when one is large enough, and at
/// midnight UTC. They are named `base.20261123-094905.host.pid.log`; the second one of the same
/// second is `base.20261123-094905.host.pid_2.log`. A file that exists already is left alone.
/// A clock that is set back rolls nothing before it shows a later day.
/// Lines reach the kernel before append() returns; AsyncLogging calls it with many at a time.
/// Thread: any, one at a time; descriptor() any.
/// Errors: never throws and never stops. What cannot be written is counted, the first error of each
/// kind is told on stderr, and when writing works again, a line in the log says what is missing. A
/// full disk removes no file: old ones go when a new one is opened, and for no other reason.
/// Source: muduo base/LogFile.h.
class LogFile : noncopyable {
 public:
  using Clock = std::function<Timestamp()>;

  struct Options {
    std::string baseName = "rung";                   // with a directory: "/var/log/server"
    std::int64_t rollBytes = std::int64_t{1} << 29;  // a longer file has only a single line
    /// How many files of this base name and host are left, with the new one, when a file is opened.
    /// The oldest are removed. Those of other processes count, so it must exceed the number of
    /// processes that write at once. 0 keeps all.
    std::size_t keepFiles = 0;
    /// How many bytes they may have together, with rollBytes for the new one. So they never have
    /// more, but for a line that is longer than rollBytes, and what other processes add. 0: no
    /// limit.
    std::int64_t keepBytes = 0;
    Clock clock = Timestamp::now;  // must not log
  };

  /// Errors: throws std::invalid_argument, which names the option, if rollBytes is not above 0; if
  /// keepFiles or keepBytes is negative; and if keepBytes is above 0, but below rollBytes.
  explicit LogFile(Options options);

  /// Opens the first file now, so that an error shows now; append() would do it too.
  void open();

  /// `lines` are whole lines, each with its newline.
  void append(std::string_view lines);

  /// For a forked child: leaves the parent's file alone, and begins one with its own pid.
  void startOver();

  /// Of the file being written; empty before the first one.
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::uint64_t lostLines() const { return lostLines_; }
  /// Of the file being written, or -1.
  /// Thread: any; a signal handler, too.
  [[nodiscard]] int descriptor() const { return descriptor_.load(); }

 private:
  [[nodiscard]] int makeReady(Timestamp now);
  [[nodiscard]] int openNext(Timestamp now);
  [[nodiscard]] std::string pathOf(const std::string& second, int number) const;
  void removeOldFiles();
  [[nodiscard]] std::int64_t sizeOf(const std::string& path);
  [[nodiscard]] std::size_t sizeThatFits(std::string_view lines) const;
  [[nodiscard]] int writeWhatIsMissing(Timestamp now);
  void lose(std::string_view lines, int error);
  void report(const char* call, int error);

  const Options options_;
  const std::string host_;
  AppendFile file_;
  std::atomic<int> descriptor_{-1};
  std::string path_;
  std::string second_;  // of the file's name
  int number_ = 0;      // among the files of that second
  std::int64_t day_ = 0;

  bool midLine_ = false;  // the file ends in a part of a line
  std::uint64_t lostLines_ = 0;
  std::uint64_t missingLines_ = 0;  // lost since the last line that says so
  int missingWhy_ = 0;
  std::vector<int> reported_;
};

}  // namespace rung
