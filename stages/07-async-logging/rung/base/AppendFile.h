#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "rung/base/UniqueFd.h"

namespace rung {

/// A file that is only ever added to. There is no buffer in here: whoever calls has a large batch
/// already, and what append() has taken is the kernel's, out of reach of a crash of this process.
/// Thread: any, one at a time.
/// Errors: returned as values, since a disk that is full is no reason to end a server. No signal
/// comes of a write, see quietWrite().
/// Source: open(2), write(2); muduo base/FileUtil.h.
class AppendFile {
 public:
  enum class Existing { append, refuse };
  struct Appended {
    std::size_t bytes;  // less than asked for only with an error
    int error;          // errno, or 0
  };

  /// Opens `path`, closing what was open before; creates it if it does not exist.
  /// Errors: returns errno, or 0; EEXIST if the file exists and `existing` is refuse.
  [[nodiscard]] int open(const std::string& path, Existing existing);

  /// Returns when all of `text` is written, or when an error stops it half-way.
  [[nodiscard]] Appended append(std::string_view text);

  void close();

  [[nodiscard]] bool isOpen() const { return fd_.valid(); }
  [[nodiscard]] int descriptor() const { return fd_.get(); }
  /// What this object has written since open().
  [[nodiscard]] std::int64_t writtenBytes() const { return writtenBytes_; }

  /// Whether the file has no name any more. Writing to it still works, and is in vain.
  [[nodiscard]] bool deleted() const;

 private:
  UniqueFd fd_;
  std::int64_t writtenBytes_ = 0;
};

}  // namespace rung
