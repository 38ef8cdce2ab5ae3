#pragma once

#include <utility>

#include "rung/base/noncopyable.h"  // for its check of the standard

namespace rung {

/// The one owner of a file descriptor: its destructor closes it.
/// Every descriptor in this library lives in one of these from the line that opens it, so that no
/// error path can leak it.
/// Thread: any, one at a time.
/// Source: close(2).
class [[nodiscard]] UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(other.release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) reset(other.release());
    return *this;
  }
  ~UniqueFd() { reset(); }

  /// Whether a descriptor is held. A failed open(2) makes an invalid UniqueFd, so test this.
  [[nodiscard]] bool valid() const { return fd_ >= 0; }
  [[nodiscard]] int get() const { return fd_; }

  /// Gives the descriptor away without closing it.
  [[nodiscard]] int release() { return std::exchange(fd_, -1); }

  /// Closes the descriptor that it holds, and takes `fd`.
  /// Errors: never fails; errno stays as it was.
  void reset(int fd = -1);

 private:
  int fd_ = -1;
};

/// Makes a UniqueFd of `fd`, the result of a system call.
/// Errors: throws std::system_error with errno and `what` if fd is negative.
UniqueFd checkedFd(int fd, const char* what);

}  // namespace rung
