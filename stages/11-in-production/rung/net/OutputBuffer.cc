#include "rung/net/OutputBuffer.h"

#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace rung {

namespace {

constexpr std::size_t kGatherBytes = 16384;  // up to this much a piece is copied behind another
constexpr std::size_t kMaxPieces = 64;       // handed over in one system call

}  // namespace

OutputBuffer::Queue& OutputBuffer::queue() {
  if (queue_ == nullptr) queue_ = std::make_unique<Queue>();
  return *queue_;
}

void OutputBuffer::append(std::string_view bytes) {
  if (bytes.empty()) return;
  Queue& q = queue();
  while (!bytes.empty()) {
    auto* last = q.pieces.empty() ? nullptr : std::get_if<std::string>(&q.pieces.back());
    if (last == nullptr || last->size() == last->capacity()) {
      std::string piece;
      piece.reserve(std::max(bytes.size(), kGatherBytes));
      last = &std::get<std::string>(q.pieces.emplace_back(std::move(piece)));
    }
    // Never beyond its capacity: growing would copy what waits already.
    const std::size_t size = std::min(bytes.size(), last->capacity() - last->size());
    last->append(bytes.substr(0, size));
    q.bytes += size;
    bytes.remove_prefix(size);
  }
}

void OutputBuffer::append(std::string&& bytes, std::size_t from) {
  const std::size_t size = bytes.size() - from;
  // Of much that was sent already, or never used, a copy frees more than it costs.
  if (size <= kGatherBytes || size < bytes.capacity() / 2) {
    append(std::string_view(bytes).substr(from));
    return;
  }
  Queue& q = queue();
  if (empty()) {
    q.offset = from;
  } else {
    bytes.erase(0, from);
  }
  q.pieces.emplace_back(std::move(bytes));
  q.bytes += size;
}

void OutputBuffer::append(FileRange&& file) {
  const std::size_t size = file.size();
  if (size == 0) return;
  Queue& q = queue();
  q.pieces.emplace_back(std::move(file));
  q.bytes += size;
  ++q.files;
}

IoResult OutputBuffer::writeTo(int fd) {
  if (empty()) return {};
  const auto* file = std::get_if<FileRange>(&queue_->pieces[queue_->first]);
  const ssize_t n = file != nullptr ? file->sendTo(fd) : writeStrings(fd);
  if (n < 0) return {.error = errno};
  consume(static_cast<std::size_t>(n));
  return {.bytes = static_cast<std::size_t>(n)};
}

ssize_t OutputBuffer::writeStrings(int fd) const {
  Queue& q = *queue_;
  iovec places[kMaxPieces];
  msghdr message{};
  message.msg_iov = places;
  // sendmsg and not writev: only it takes MSG_NOSIGNAL, and a peer that is gone must not raise
  // SIGPIPE in a process that is not ours to configure.
  int flags = MSG_NOSIGNAL;
  std::size_t skip = q.offset;
  for (std::size_t i = q.first; i < q.pieces.size() && message.msg_iovlen < kMaxPieces; ++i) {
    auto* const piece = std::get_if<std::string>(&q.pieces[i]);
    if (piece == nullptr) {  // a file follows: the last segment is filled up from it
      flags |= MSG_MORE;
      break;
    }
    places[message.msg_iovlen++] = {piece->data() + skip, piece->size() - skip};
    skip = 0;
  }
  return ::sendmsg(fd, &message, flags);
}

void OutputBuffer::consume(std::size_t bytes) {
  Queue& q = *queue_;
  q.bytes -= bytes;
  if (q.bytes == 0) {
    clear();
    return;
  }
  while (bytes > 0) {
    Piece& piece = q.pieces[q.first];
    auto* const file = std::get_if<FileRange>(&piece);
    const std::size_t left =
        file != nullptr ? file->size() : std::get<std::string>(piece).size() - q.offset;
    if (bytes < left) {
      if (file != nullptr) {
        file->removePrefix(bytes);
      } else {
        q.offset += bytes;
      }
      break;
    }
    bytes -= left;
    if (file != nullptr) --q.files;
    q.offset = 0;
    piece.emplace<std::string>();  // frees it now; the vector is tidied up below
    ++q.first;
  }
  if (q.first > q.pieces.size() / 2) {
    q.pieces.erase(q.pieces.begin(), q.pieces.begin() + static_cast<std::ptrdiff_t>(q.first));
    q.first = 0;
  }
}

}  // namespace rung
