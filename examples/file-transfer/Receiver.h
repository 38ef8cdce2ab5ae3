#pragma once

#include <cstddef>
#include <string>

#include "rung/base/UniqueFd.h"
#include "rung/base/noncopyable.h"
#include "rung/net/Callbacks.h"

namespace rung {
class TcpServer;
}

namespace transfer {

/// Takes files from clients into a directory. A client sends the length of the name (2 bytes, most
/// significant first), the name, the size (8 bytes), the SHA-256 (32 bytes), and the bytes; it gets
/// one line, "ok" or "error: ...".
/// A file appears when it is whole and its digest is right, under a name that is free, or not at
/// all.
/// Lifetime: outlives the server.
class Receiver : rung::noncopyable {
 public:
  /// Errors: throws std::system_error if files cannot be made there.
  Receiver(const std::string& directory, std::size_t maxBytes);

  void attach(rung::TcpServer& server);

 private:
  struct Upload;

  void onConnection(const rung::TcpConnectionPtr& connection) const;
  void onMessage(const rung::TcpConnectionPtr& connection, rung::Buffer& input) const;
  /// Each returns an error for the client, or nothing.
  std::string takeHeader(Upload& upload, rung::Buffer& input) const;
  std::string takeBytes(Upload& upload, rung::Buffer& input) const;
  std::string keep(Upload& upload) const;

  [[nodiscard]] rung::UniqueFd newFile() const;

  rung::UniqueFd directory_;
  const std::size_t maxBytes_;
};

}  // namespace transfer
