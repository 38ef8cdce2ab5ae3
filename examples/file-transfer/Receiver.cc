#include "file-transfer/Receiver.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <any>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <string_view>
#include <system_error>

#include "common/Program.h"
#include "common/Text.h"
#include "file-transfer/Sha256.h"

namespace transfer {

namespace {

constexpr std::size_t kMaxNameBytes = 200;

/// A name, and nothing that leads elsewhere: no path, none of "." and "..", nothing hidden, nothing
/// that a terminal would obey or not show. Refused and not mended, so that no two names become one.
bool isFileName(std::string_view name) {
  return !name.starts_with('.') && name.find('/') == name.npos && common::shown(name) == name;
}

std::string because(int error) {
  return std::generic_category().message(error);
}

}  // namespace

struct Receiver::Upload {
  std::string name;  // empty until the header is there
  std::size_t sizeBytes = 0;
  std::string digest;
  rung::UniqueFd file;
  Sha256 sha;
  std::size_t received = 0;
  std::size_t tenthsShown = 0;
};

Receiver::Receiver(const std::string& directory, std::size_t maxBytes)
    : directory_(rung::checkedFd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC),
                                 directory.c_str())),
      maxBytes_(maxBytes) {
  if (!newFile().valid()) {
    throw std::system_error(errno, std::system_category(), "new files in " + directory);
  }
}

/// Without a name, so that nothing is left of it however this program ends. See open(2).
rung::UniqueFd Receiver::newFile() const {
  return rung::UniqueFd(::openat(directory_.get(), ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0644));
}

void Receiver::attach(rung::TcpServer& server) {
  server.setConnectionCallback([this](const auto& connection) { onConnection(connection); });
  server.setMessageCallback([this](const auto& connection, rung::Buffer& input, rung::Timestamp) {
    onMessage(connection, input);
  });
  server.setHalfCloseCallback([](const rung::TcpConnectionPtr& connection) {
    LOG_INFO << connection->peerAddress().toIpPort() << " ended before its file did";
    common::dismiss(connection, "error: the file ended early\n");
  });
}

void Receiver::onConnection(const rung::TcpConnectionPtr& connection) const {
  common::logConnection(connection);
  // In the context: an upload goes with its connection, and its file too unless it was kept.
  if (connection->connected()) connection->setContext(std::make_shared<Upload>());
}

void Receiver::onMessage(const rung::TcpConnectionPtr& connection, rung::Buffer& input) const {
  const auto upload = std::any_cast<std::shared_ptr<Upload>>(connection->context());
  const std::string peer = connection->peerAddress().toIpPort();
  std::string error;
  if (upload->name.empty()) error = takeHeader(*upload, input);
  if (error.empty() && !upload->name.empty()) {
    error = takeBytes(*upload, input);
    if (const std::size_t tenths =
            upload->received * 10 / std::max<std::size_t>(upload->sizeBytes, 1);
        tenths > upload->tenthsShown) {
      upload->tenthsShown = tenths;
      LOG_DEBUG << peer << " " << upload->name << ": " << upload->received << " of "
                << upload->sizeBytes << " bytes";
    }
    const bool whole = upload->received == upload->sizeBytes;
    if (error.empty() && !whole) return;
    if (error.empty()) error = keep(*upload);
    if (error.empty()) {
      LOG_INFO << peer << " sent " << upload->name << ", " << upload->sizeBytes << " bytes";
      return common::dismiss(connection, "ok\n");
    }
  }
  if (error.empty()) return;  // the header is not whole yet
  LOG_INFO << peer << " refused: " << error;
  upload->file.reset();  // gives back the disk now, not when the connection goes
  common::dismiss(connection, "error: " + error + "\n");
}

std::string Receiver::takeHeader(Upload& upload, rung::Buffer& input) const {
  constexpr std::size_t kLengthBytes = 2;
  if (input.readableBytes() < kLengthBytes) return {};
  const std::size_t nameBytes = input.peekInt<std::uint16_t>();
  if (nameBytes == 0 || nameBytes > kMaxNameBytes) {
    return "a name has 1 to " + std::to_string(kMaxNameBytes) + " bytes";
  }
  if (input.readableBytes() < kLengthBytes + nameBytes + 8 + Sha256::kDigestBytes) return {};
  input.retrieve(kLengthBytes);
  const std::string name = input.retrieveAsString(nameBytes);
  const auto size = input.readInt<std::uint64_t>();
  upload.digest = input.retrieveAsString(Sha256::kDigestBytes);
  if (!isFileName(name)) return "not a plain file name";
  if (size > maxBytes_) return "more than " + std::to_string(maxBytes_) + " bytes";
  if (::faccessat(directory_.get(), name.c_str(), F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
    return because(EEXIST);  // said before the file is sent; keep() makes sure
  }
  upload.file = newFile();
  if (!upload.file.valid()) return because(errno);
  upload.name = name;
  upload.sizeBytes = size;
  return {};
}

std::string Receiver::takeBytes(Upload& upload, rung::Buffer& input) const {
  // To the page cache as a rule; when the kernel must write first, the loop waits for the disk.
  while (!input.empty() && upload.received < upload.sizeBytes) {
    const std::string_view bytes = input.view().substr(0, upload.sizeBytes - upload.received);
    const ssize_t n = ::write(upload.file.get(), bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return n < 0 ? because(errno) : because(ENOSPC);
    const auto written = static_cast<std::size_t>(n);
    upload.sha.update(bytes.substr(0, written));
    upload.received += written;
    input.retrieve(written);
  }
  return {};
}

std::string Receiver::keep(Upload& upload) const {
  if (upload.sha.finish() != upload.digest) return "the SHA-256 is another";
  // Gives the file its name. Unlike rename(2) this never replaces what has that name already.
  const std::string unnamed = "/proc/self/fd/" + std::to_string(upload.file.get());
  if (::linkat(AT_FDCWD, unnamed.c_str(), directory_.get(), upload.name.c_str(),
               AT_SYMLINK_FOLLOW) < 0) {
    return because(errno);
  }
  return {};
}

}  // namespace transfer
