#include "rung/net/SocketFile.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <system_error>
#include <thread>
#include <utility>

#include "rung/base/UniqueFd.h"
#include "rung/net/Socket.h"

namespace rung {

namespace {

constexpr std::chrono::seconds kLockTime{1};
constexpr mode_t kPermissions = 0777;

[[noreturn]] void throwFailed(const char* call, const std::string& name, int error = errno) {
  throw std::system_error(error, std::generic_category(), call + (" " + name));
}

/// Takes the lock. A lock that its holder removes when it is done leaves no file behind, but who
/// has waited for it must look whether it is still the file of that name.
/// Errors: an invalid descriptor, with errno.
UniqueFd lockFile(const char* path) {
  const auto deadline = std::chrono::steady_clock::now() + kLockTime;
  for (;;) {
    UniqueFd file(::open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600));
    if (!file.valid()) return file;
    while (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK || std::chrono::steady_clock::now() > deadline) return UniqueFd();
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    struct stat status {};
    if (::fstat(file.get(), &status) != 0 || status.st_nlink > 0) return file;
  }
}

UniqueFd makeProbe() {
  return UniqueFd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
}

/// Whether it is a file of a socket, and no process has the socket any more.
/// Asks with a datagram socket, which cannot be connected to a stream socket: the kernel says
/// EPROTOTYPE if there is one, listening or not, and ECONNREFUSED if there is none. A connection
/// would disturb a server that lives, and wait if its queue is full.
bool abandoned(const UniqueFd& probe, const UnixAddress& address, const struct stat& status) {
  return S_ISSOCK(status.st_mode) &&
         ::connect(probe.get(), address.data(), address.length()) != 0 && errno == ECONNREFUSED;
}

bool tryBind(const Socket& socket, const UnixAddress& address) {
  return ::bind(socket.fd(), address.data(), address.length()) == 0;
}

/// Whether the place is free, or what is there may be removed.
bool replaceable(const UniqueFd& probe, const UnixAddress& address) {
  struct stat status {};
  return ::lstat(address.path(), &status) != 0 || abandoned(probe, address, status);
}

[[noreturn]] void throwInUse(const UnixAddress& address) {
  struct stat status {};
  const bool strange = ::lstat(address.path(), &status) == 0 && !S_ISSOCK(status.st_mode);
  throwFailed("bind", address.toText() + (strange ? ", which is no socket" : ""), EADDRINUSE);
}

/// Binds in the place of a file that is abandoned.
void bindAnew(const Socket& socket, const UnixAddress& address, const std::string& lockPath) {
  const UniqueFd probe = checkedFd(makeProbe().release(), "socket");
  if (!replaceable(probe, address)) throwInUse(address);
  const UniqueFd lock = lockFile(lockPath.c_str());
  if (!lock.valid()) throwFailed("lock", lockPath);
  // Once more: another server may have come first.
  const bool free = replaceable(probe, address);
  if (free) (void)::unlink(address.path());  // if that fails, so does bind(2)
  const bool bound = free && tryBind(socket, address);
  const int error = free ? errno : EADDRINUSE;
  (void)::unlink(lockPath.c_str());
  if (!bound) throwFailed("bind", address.toText(), error);
}

}  // namespace

void SocketFile::bind(Socket& socket, const UnixAddress& address, std::optional<mode_t> mode) {
  const std::string lockPath = std::string(address.path()) + ".lock";
  // bind(2) makes the file with the mode of the socket, less the bits of the umask: unix_bind_bsd()
  // in the kernel. So there is no moment in which others may connect.
  if (mode && ::fchmod(socket.fd(), *mode) != 0) throwFailed("fchmod of", address.toText());
  if (!tryBind(socket, address)) {
    if (errno != EADDRINUSE || address.isAbstract()) throwFailed("bind", address.toText());
    bindAnew(socket, address, lockPath);
  }
  if (address.isAbstract()) return;
  struct stat status {};
  if (::lstat(address.path(), &status) != 0) throwFailed("lstat", address.path());
  bound_ = {address, lockPath, status.st_dev, status.st_ino};
  // Adds only the bits that the umask has taken.
  if (mode && (status.st_mode & kPermissions) != *mode &&
      ::fchmodat(AT_FDCWD, address.path(), *mode, AT_SYMLINK_NOFOLLOW) != 0) {
    throwFailed("chmod", address.path());
  }
}

void SocketFile::remove() noexcept {
  const std::optional<Bound> ours = std::exchange(bound_, std::nullopt);
  if (!ours) return;
  const UniqueFd probe = makeProbe();
  if (!probe.valid()) return;  // before there is a lock file
  const UniqueFd lock = lockFile(ours->lockPath.c_str());
  if (!lock.valid()) return;
  struct stat status {};
  const bool same = ::lstat(ours->address.path(), &status) == 0 && status.st_dev == ours->device &&
                    status.st_ino == ours->inode;
  // A number of an inode may be used again at once. So ask also whether the socket lives.
  if (same && abandoned(probe, ours->address, status)) (void)::unlink(ours->address.path());
  (void)::unlink(ours->lockPath.c_str());
}

}  // namespace rung
