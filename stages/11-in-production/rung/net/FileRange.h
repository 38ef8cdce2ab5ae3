#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>

#include "rung/base/UniqueFd.h"

namespace rung {

/// Bytes of a regular file that wait to be sent, and the descriptor of the file.
/// The kernel copies them from its page cache to the socket: they never take memory of the process.
/// Thread: any, one at a time.
/// Lifetime: owns the descriptor.
/// Source: sendfile(2).
class FileRange {
 public:
  /// For `length`: all that the file has from `offset` on.
  static constexpr std::uint64_t kToItsEnd = UINT64_MAX;
  static constexpr std::size_t kDescriptorWeight = 65536;

  /// Bytes [offset, offset + length) of `file`.
  /// Errors: throws std::invalid_argument if `file` is not a regular file that is open for reading,
  /// if it does not have these bytes, or if they are more than 2^48, with 32 bits 2^30;
  /// std::system_error if there is no such descriptor. Both name the descriptor. Files of /proc and
  /// /sys tell a size that is not theirs: read those.
  FileRange(UniqueFd file, std::uint64_t offset, std::uint64_t length);

  /// The bytes that are left.
  [[nodiscard]] std::size_t size() const { return size_; }
  /// What it counts for while it waits: its bytes, and 64 KiB more, since descriptors are scarce.
  [[nodiscard]] std::size_t weight() const { return size_ == 0 ? 0 : size_ + kDescriptorWeight; }
  void removePrefix(std::size_t bytes) {
    offset_ += static_cast<off_t>(bytes);
    size_ -= bytes;
  }

  /// Hands bytes to the socket `fd`, two mebibytes at most, so that others get their turn.
  /// They stay in the range: see removePrefix(). Never raises SIGPIPE.
  /// Errors: as sendfile(2); ENODATA if the file has become shorter.
  [[nodiscard]] ssize_t sendTo(int fd) const;

 private:
  UniqueFd file_;
  off_t offset_ = 0;
  std::size_t size_ = 0;
};

}  // namespace rung
