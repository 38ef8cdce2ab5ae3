#include "rung/base/LogFile.h"

#include <dirent.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <optional>
#include <stdexcept>
#include <system_error>
#include <tuple>
#include <utility>

#include "rung/base/Logging.h"
#include "rung/base/QuietWrite.h"

namespace rung {

namespace {

std::string hostName() {
  char name[256] = "";
  if (gethostname(name, sizeof name - 1) != 0 || name[0] == '\0') return "unknown-host";
  std::string host = name;
  std::replace(host.begin(), host.end(), '/', '-');
  return host;
}

std::int64_t dayOf(Timestamp when) {
  const auto sinceEpoch = std::chrono::microseconds(when.microsecondsSinceEpoch());
  return std::chrono::floor<std::chrono::days>(sinceEpoch).count();
}

/// "20261123-094905", UTC.
std::string secondOf(Timestamp when) {
  const auto sinceEpoch = std::chrono::microseconds(when.microsecondsSinceEpoch());
  const auto count = std::chrono::floor<std::chrono::seconds>(sinceEpoch).count();
  const auto seconds = static_cast<time_t>(count);  // which has 32 bits on some machines
  tm date{};
  char text[32];
  if (seconds != count || gmtime_r(&seconds, &date) == nullptr) return std::to_string(count);
  return {text, strftime(text, sizeof text, "%Y%m%d-%H%M%S", &date)};
}

/// What the files of a log are ordered by: date and time, number (with its length first, so that 10
/// comes after 9), process.
using Age = std::tuple<std::string, std::size_t, std::string, std::string>;

/// That of "base.20261123-094905.host.pid_2.log", if `name` is such a name.
std::optional<Age> ageOf(std::string_view name, const std::string& base, const std::string& host) {
  const auto skip = [&name](std::string_view part) {
    const bool isThere = name.starts_with(part);
    if (isThere) name.remove_prefix(part.size());
    return isThere;
  };
  const auto digits = [&name] {
    const auto count = std::min(name.find_first_not_of("0123456789"), name.size());
    std::string taken(name.substr(0, count));
    name.remove_prefix(count);
    return taken;
  };
  if (!skip(base + '.')) return std::nullopt;
  const std::string date = digits();
  if (date.size() != 8 || !skip("-")) return std::nullopt;
  const std::string time = digits();
  if (time.size() != 6 || !skip('.' + host + '.')) return std::nullopt;
  const std::string process = digits();
  const std::string number = skip("_") ? digits() : "1";
  if (process.empty() || number.empty() || name != ".log") return std::nullopt;
  return Age(date + time, number.size(), number, process);
}

}  // namespace

LogFile::LogFile(Options options) : options_(std::move(options)), host_(hostName()) {
  const auto refuse = [](const char* rule, std::int64_t value) {
    throw std::invalid_argument(std::string("LogFile: ") + rule + ", and is " +
                                std::to_string(value));
  };
  if (options_.rollBytes <= 0) refuse("rollBytes must be above 0", options_.rollBytes);
  const auto keepFiles = static_cast<std::ptrdiff_t>(options_.keepFiles);
  if (keepFiles < 0) refuse("keepFiles must not be negative", keepFiles);
  if (options_.keepBytes != 0 && options_.keepBytes < options_.rollBytes) {
    refuse("keepBytes must be 0, or not less than rollBytes", options_.keepBytes);
  }
}

void LogFile::open() {
  (void)makeReady(options_.clock());  // reported, and tried again with the first line
}

void LogFile::append(std::string_view lines) {
  const Timestamp now = options_.clock();
  if (const int error = makeReady(now); error != 0) return lose(lines, error);
  if (missingLines_ > 0) {
    // If not even this can be written, the file may end in the middle of a line.
    if (const int error = writeWhatIsMissing(now); error != 0) return lose(lines, error);
  }
  while (!lines.empty()) {
    std::size_t size = sizeThatFits(lines);
    if (size == 0) {
      if (openNext(now) == 0) continue;
      size = lines.size();  // a file that is too long is better than none
    }
    const AppendFile::Appended done = file_.append(lines.substr(0, size));
    if (done.bytes > 0) midLine_ = lines[done.bytes - 1] != '\n';
    lines.remove_prefix(done.bytes);
    if (done.error != 0) {
      report("write", done.error);
      return lose(lines, done.error);
    }
  }
}

void LogFile::startOver() {
  file_.close();
  descriptor_.store(-1);
  second_.clear();
  missingLines_ = 0;  // the parent tells of them
}

/// Sees to it that there is a file, of today, that has a name.
int LogFile::makeReady(Timestamp now) {
  const bool writable = file_.isOpen() && !file_.deleted();
  // Not on a day that is past: a clock that is corrected to and fro around midnight would make a
  // file of each line.
  if (writable && dayOf(now) <= day_) return 0;
  const int error = openNext(now);
  return writable ? 0 : error;
}

/// Opens the next file before it lets go of the last one, which serves on if that fails: a server
/// that has run out of descriptors has something to say.
int LogFile::openNext(Timestamp now) {
  const std::string second = secondOf(now);
  int number = second == second_ ? number_ + 1 : 1;
  constexpr int kTries = 10000;
  AppendFile next;
  int error = EEXIST;
  for (const int last = number + kTries; error == EEXIST && number < last; ++number)
    error = next.open(pathOf(second, number), AppendFile::Existing::refuse);
  if (error != 0) {
    report("open", error);
    return error;
  }
  second_ = second;
  number_ = number - 1;
  path_ = pathOf(second, number_);
  day_ = dayOf(now);
  midLine_ = false;
  descriptor_.store(next.descriptor());
  file_ = std::move(next);
  if (options_.keepFiles > 0 || options_.keepBytes > 0) removeOldFiles();
  return 0;
}

std::string LogFile::pathOf(const std::string& second, int number) const {
  std::string path = options_.baseName + '.' + second + '.' + host_ + '.';
  path += std::to_string(getpid());
  if (number > 1) path += '_' + std::to_string(number);
  return path + ".log";
}

void LogFile::removeOldFiles() {
  const std::size_t nameAt = options_.baseName.rfind('/') + 1;  // 0 if there is no slash
  const std::string directory = options_.baseName.substr(0, nameAt);
  const std::string base = options_.baseName.substr(nameAt);
  DIR* const open = opendir(directory.empty() ? "." : directory.c_str());
  if (open == nullptr) return report("opendir", errno);
  std::vector<std::pair<Age, std::string>> others;
  while (const dirent* const entry = readdir(open)) {
    std::string path = directory + entry->d_name;
    std::optional<Age> age = ageOf(entry->d_name, base, host_);
    if (age && path != path_) others.emplace_back(std::move(*age), std::move(path));
  }
  (void)closedir(open);
  std::sort(others.begin(), others.end());
  std::size_t files = 1;  // the new one
  std::int64_t room = options_.keepBytes - options_.rollBytes;
  const auto isTooMuch = [&](const auto& other) {
    if (options_.keepFiles > 0 && ++files > options_.keepFiles) return true;
    if (options_.keepBytes == 0) return false;
    room -= sizeOf(other.second);
    return room < 0;
  };
  // From the newest on. That file and all that are older are removed, the oldest first.
  const auto end = std::find_if(others.rbegin(), others.rend(), isTooMuch).base();
  for (auto other = others.begin(); other != end; ++other) {
    // Another process may have been faster. A symbolic link is removed, and not its target.
    if (unlink(other->second.c_str()) != 0 && errno != ENOENT) report("unlink", errno);
  }
}

/// 0 for a file that another process has removed meanwhile. Of a symbolic link, its own size.
std::int64_t LogFile::sizeOf(const std::string& path) {
  struct stat status {};
  if (lstat(path.c_str(), &status) == 0) return status.st_size;
  if (errno != ENOENT) report("lstat", errno);
  return 0;
}

/// How much of `lines`, in whole lines, this file still takes. A line that no file would take goes
/// into an empty one.
std::size_t LogFile::sizeThatFits(std::string_view lines) const {
  const std::int64_t room = options_.rollBytes - file_.writtenBytes();
  if (room >= static_cast<std::int64_t>(lines.size())) return lines.size();
  std::size_t newline = lines.npos;
  if (room > 0) newline = lines.rfind('\n', static_cast<std::size_t>(room) - 1);
  if (newline == lines.npos && file_.writtenBytes() == 0) newline = lines.find('\n');
  if (newline != lines.npos) return newline + 1;
  return file_.writtenBytes() == 0 ? lines.size() : 0;
}

int LogFile::writeWhatIsMissing(Timestamp now) {
  std::string text = midLine_ ? "\n" : "";
  text += formatLogLine(now, LogLevel::warn, __FILE__, __LINE__,
                        std::to_string(missingLines_) + " log lines could not be written: " +
                            std::generic_category().message(missingWhy_));
  const AppendFile::Appended done = file_.append(text);
  if (done.bytes > 0) midLine_ = text[done.bytes - 1] != '\n';
  if (done.error == 0) {
    missingLines_ = 0;
  } else {
    report("write", done.error);
  }
  return done.error;
}

void LogFile::lose(std::string_view lines, int error) {
  const auto count = static_cast<std::uint64_t>(std::count(lines.begin(), lines.end(), '\n'));
  lostLines_ += count;
  missingLines_ += count;
  missingWhy_ = error;
}

void LogFile::report(const char* call, int error) {
  // Once for each kind: a full disk fails every line, and stderr may be on that disk.
  if (std::find(reported_.begin(), reported_.end(), error) != reported_.end()) return;
  reported_.push_back(error);
  (void)quietWrite(STDERR_FILENO, "rung: log " + options_.baseName + "*: " + call + ": " +
                                      std::generic_category().message(error) +
                                      " (told once; lines that are lost are counted)\n");
}

}  // namespace rung
