#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "rung/base/noncopyable.h"
#include "rung/net/UnixAddress.h"

namespace rung {

class Socket;

/// The file of a Unix-domain socket that listens: made by bind(2), and removed at the end if it is
/// still ours. Of an abstract name there is no file.
/// A file that a dead server has left is replaced; one behind which a socket lives, or which is no
/// socket, is left alone. While a file is replaced or removed, a lock file stands beside it, with
/// the ending ".lock": servers that start and end at once do not remove each other's.
/// Thread: one at a time.
/// Lifetime: destroyed, or removed, after its socket is closed.
/// Source: unix(7), flock(2).
class SocketFile : noncopyable {
 public:
  SocketFile() = default;
  ~SocketFile() { remove(); }

  /// Binds `socket`. With a `mode`, the file has just this one, whatever the umask says, and no
  /// more rights at any moment.
  /// Errors: throws std::system_error that names the call and the address; EADDRINUSE if another
  /// socket has it, or if the file is no socket; with the path of the lock file if that is not free
  /// for a second.
  void bind(Socket& socket, const UnixAddress& address, std::optional<mode_t> mode);

  /// Removes the file, unless another process has the socket as well, as after a hand-over or a
  /// fork(2), or another server has replaced the file.
  /// Errors: none. The file stays if it cannot be removed, if there are no descriptors to look at
  /// it, or if the lock is not free for a second; the next server replaces it.
  void remove() noexcept;

 private:
  struct Bound {
    UnixAddress address;
    std::string lockPath;
    dev_t device;
    ino_t inode;
  };

  std::optional<Bound> bound_;
};

}  // namespace rung
