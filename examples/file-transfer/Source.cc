#include "file-transfer/Source.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <any>
#include <cerrno>
#include <new>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "common/Program.h"

namespace transfer {

namespace {

constexpr std::size_t kChunkBytes = 1 << 16;

void reportShort(const rung::TcpConnectionPtr& connection) {
  LOG_ERROR << connection->peerAddress().toIpPort() << " cut: the file has become shorter";
  connection->reset();  // a FIN would let the part pass for the whole
}

void sendNext(const rung::TcpConnectionPtr& connection, const Source& source) {
  auto& offset = *std::any_cast<std::size_t>(&connection->context());
  const std::size_t size = std::min(kChunkBytes, source.sizeBytes() - offset);
  if (size == 0) return connection->shutdown();
  std::string piece = source.read(offset, size);
  if (piece.size() < size) return reportShort(connection);
  offset += size;
  connection->send(std::move(piece));
}

}  // namespace

Source::Source(const std::string& path)
    : fd_(rung::checkedFd(::open(path.c_str(), O_RDONLY | O_CLOEXEC), path.c_str())) {
  struct stat status {};
  if (::fstat(fd_.get(), &status) < 0 || !S_ISREG(status.st_mode)) {
    throw std::runtime_error(path + ": not a regular file");
  }
  sizeBytes_ = static_cast<std::size_t>(status.st_size);
}

rung::UniqueFd Source::descriptor() const {
  return rung::checkedFd(::fcntl(fd_.get(), F_DUPFD_CLOEXEC, 0), "fcntl F_DUPFD_CLOEXEC");
}

std::string Source::read(std::size_t offset, std::size_t size) const {
  std::string bytes(size, '\0');
  std::size_t done = 0;
  while (done < size) {
    const ssize_t n =
        ::pread(fd_.get(), bytes.data() + done, size - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    done += static_cast<std::size_t>(n);
  }
  bytes.resize(done);
  return bytes;
}

void sendWhole(rung::TcpServer& server, const Source& source) {
  server.setConnectionCallback([&source](const rung::TcpConnectionPtr& connection) {
    common::logConnection(connection);
    if (!connection->connected()) return;
    try {
      std::string all = source.read(0, source.sizeBytes());
      if (all.size() < source.sizeBytes()) return reportShort(connection);
      connection->send(std::move(all));  // what the kernel does not take now is not copied again
      connection->shutdown();
    } catch (const std::bad_alloc&) {
      LOG_ERROR << connection->peerAddress().toIpPort() << " cut: no memory for the file";
      connection->forceClose();
    }
  });
}

void sendChunks(rung::TcpServer& server, const Source& source) {
  server.setConnectionCallback([&source](const rung::TcpConnectionPtr& connection) {
    common::logConnection(connection);
    if (!connection->connected()) return;
    connection->setContext(std::size_t{0});  // the offset
    sendNext(connection, source);
  });
  server.setWriteCompleteCallback(
      [&source](const rung::TcpConnectionPtr& connection) { sendNext(connection, source); });
  // A client that half-closes has nothing to say, but wants its file. Without a callback the
  // connection would end with the piece that is under way.
  server.setHalfCloseCallback([](const rung::TcpConnectionPtr&) {});
}

void sendDescriptor(rung::TcpServer& server, const Source& source) {
  server.setConnectionCallback([&source](const rung::TcpConnectionPtr& connection) {
    common::logConnection(connection);
    if (!connection->connected()) {
      if (connection->error() == ENODATA) reportShort(connection);
      return;
    }
    try {
      connection->sendFile(source.descriptor(), 0, source.sizeBytes());
      connection->shutdown();
    } catch (const std::exception& e) {
      LOG_ERROR << connection->peerAddress().toIpPort() << " cut: " << e.what();
      connection->reset();
    }
  });
}

}  // namespace transfer
