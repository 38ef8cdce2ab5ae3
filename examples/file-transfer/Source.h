#pragma once

#include <cstddef>
#include <string>

#include "rung/base/UniqueFd.h"

namespace rung {
class TcpServer;
}

namespace transfer {

/// The file that every client gets. One descriptor for all: each reads at its own offset.
/// Thread: any, after the constructor.
class Source {
 public:
  /// Errors: throws std::system_error if it cannot be opened, std::runtime_error if it is no
  /// regular file.
  explicit Source(const std::string& path);

  /// The file once more, for one client.
  /// Errors: throws std::system_error if there are no descriptors left.
  [[nodiscard]] rung::UniqueFd descriptor() const;
  [[nodiscard]] std::size_t sizeBytes() const { return sizeBytes_; }
  /// Bytes [offset, offset + size), from the disk if they are not in the page cache: the loop waits
  /// meanwhile.
  /// Errors: fewer bytes if the file has become shorter or cannot be read.
  [[nodiscard]] std::string read(std::size_t offset, std::size_t size) const;

 private:
  rung::UniqueFd fd_;
  std::size_t sizeBytes_ = 0;
};

/// Makes `server` send the whole file at once to whoever connects. Simple, and each client costs
/// the size of the file until it has read it.
void sendWhole(rung::TcpServer& server, const Source& source);

/// Makes `server` send it in pieces, each when the one before is with the kernel: a client costs
/// one piece, however large the file is.
void sendChunks(rung::TcpServer& server, const Source& source);

/// Makes `server` let the kernel send it, from its page cache: a client costs a descriptor.
void sendDescriptor(rung::TcpServer& server, const Source& source);

}  // namespace transfer
