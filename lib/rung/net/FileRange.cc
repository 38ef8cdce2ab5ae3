#include "rung/net/FileRange.h"

#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <ctime>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

namespace rung {

namespace {

constexpr std::size_t kMostAtOnce = 2 << 20;
// So that no sum of what waits overflows: more than any file has that is not made of holes.
constexpr std::uint64_t kMostBytes = std::min<std::uint64_t>(SIZE_MAX / 4, std::uint64_t{1} << 48);

[[noreturn]] void refuse(int fd, const std::string& why) {
  throw std::invalid_argument("file descriptor " + std::to_string(fd) + " to send: " + why);
}

/// Keeps SIGPIPE away from this thread while it lives: sendfile(2) has no MSG_NOSIGNAL. A signal
/// that came meanwhile is taken back, unless the thread had blocked SIGPIPE before: then it is not
/// ours to take.
class WithoutSigpipe {
 public:
  WithoutSigpipe() {
    sigemptyset(&pipe_);
    sigaddset(&pipe_, SIGPIPE);
    (void)pthread_sigmask(SIG_BLOCK, &pipe_, &before_);  // fails only for an unknown `how`
  }
  WithoutSigpipe(const WithoutSigpipe&) = delete;
  WithoutSigpipe& operator=(const WithoutSigpipe&) = delete;
  ~WithoutSigpipe() {
    if (sigismember(&before_, SIGPIPE) != 0) return;
    (void)pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  void takeBack() const {
    constexpr timespec kAtOnce{};
    if (sigismember(&before_, SIGPIPE) == 0) (void)sigtimedwait(&pipe_, nullptr, &kAtOnce);
  }

 private:
  sigset_t pipe_;
  sigset_t before_;
};

}  // namespace

FileRange::FileRange(UniqueFd file, std::uint64_t offset, std::uint64_t length)
    : file_(std::move(file)) {
  struct stat status {};
  if (::fstat(file_.get(), &status) != 0) {
    throw std::system_error(errno, std::system_category(),
                            "fstat of file descriptor " + std::to_string(file_.get()) + " to send");
  }
  if (!S_ISREG(status.st_mode)) refuse(file_.get(), "not a regular file");
  const int flags = ::fcntl(file_.get(), F_GETFL);
  if ((flags & O_ACCMODE) == O_WRONLY || (flags & O_PATH) != 0) {
    refuse(file_.get(), "not open for reading");
  }
  const auto size = static_cast<std::uint64_t>(status.st_size);
  if (offset <= size && length == kToItsEnd) length = size - offset;
  if (offset > size || length > size - offset || length > kMostBytes) {
    refuse(file_.get(), "its " + std::to_string(size) + " bytes do not hold " +
                            std::to_string(length) + " from " + std::to_string(offset) +
                            " on, or these are too many");
  }
  offset_ = static_cast<off_t>(offset);
  size_ = static_cast<std::size_t>(length);
}

ssize_t FileRange::sendTo(int fd) const {
  const WithoutSigpipe quiet;
  off_t offset = offset_;
  const std::size_t most = std::min(size_, kMostAtOnce);
  const ssize_t sent = ::sendfile(fd, file_.get(), &offset, most);
  const int error = sent == 0 ? ENODATA : errno;
  // The call is many small ones. If a later one meets EPIPE, it raises the signal, and tells only
  // of what the earlier ones sent.
  if (sent < static_cast<ssize_t>(most)) quiet.takeBack();
  errno = error;
  return sent > 0 ? sent : -1;
}

}  // namespace rung
