#include "rung/base/UniqueFd.h"

#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace rung {

void UniqueFd::reset(int fd) {
  const int old = std::exchange(fd_, fd);
  if (old < 0 || old == fd) return;
  const int savedErrno = errno;
  // Linux frees the descriptor before anything in close() can fail, EINTR included. A second try
  // could close a descriptor that another thread has just been given.
  (void)::close(old);
  errno = savedErrno;
}

UniqueFd checkedFd(int fd, const char* what) {
  if (fd < 0) throw std::system_error(errno, std::generic_category(), what);
  return UniqueFd(fd);
}

}  // namespace rung
