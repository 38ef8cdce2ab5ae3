#include "rung/base/AppendFile.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>

#include "rung/base/QuietWrite.h"

namespace rung {

int AppendFile::open(const std::string& path, Existing existing) {
  close();
  // O_APPEND: a process that shares the file, such as a forked child, cannot overwrite our lines.
  // O_EXCL, besides, does not follow a symbolic link that somebody laid out for us.
  const int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC;
  constexpr mode_t kMode = 0644;
  int fd;
  do {
    fd = ::open(path.c_str(), existing == Existing::refuse ? flags | O_EXCL : flags, kMode);
  } while (fd < 0 && errno == EINTR);
  if (fd < 0) return errno;
  fd_.reset(fd);
  return 0;
}

AppendFile::Appended AppendFile::append(std::string_view text) {
  Appended done{0, 0};
  while (done.bytes < text.size()) {
    // A disk that fills up takes a part, and says ENOSPC only the next time.
    const ssize_t n = quietWrite(fd_.get(), text.substr(done.bytes));
    if (n > 0) {
      done.bytes += static_cast<std::size_t>(n);
      writtenBytes_ += n;
    } else if (n == 0 || errno != EINTR) {
      done.error = n == 0 ? EIO : errno;
      break;
    }
  }
  return done;
}

void AppendFile::close() {
  fd_.reset();
  writtenBytes_ = 0;
}

bool AppendFile::deleted() const {
  struct stat status {};
  return fstat(fd_.get(), &status) == 0 && status.st_nlink == 0;
}

}  // namespace rung
