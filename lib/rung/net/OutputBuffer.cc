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

void OutputBuffer::append(std::string_view bytes) {
  while (!bytes.empty()) {
    const bool roomy = !pieces_.empty() && pieces_.back().size() < pieces_.back().capacity();
    if (!roomy) {
      std::string piece;
      piece.reserve(std::max(bytes.size(), kGatherBytes));
      pieces_.push_back(std::move(piece));
    }
    std::string& last = pieces_.back();
    // Never beyond its capacity: growing would copy what waits already.
    const std::size_t size = std::min(bytes.size(), last.capacity() - last.size());
    last.append(bytes.substr(0, size));
    bytes_ += size;
    bytes.remove_prefix(size);
  }
}

void OutputBuffer::append(std::string&& bytes, std::size_t from) {
  const std::size_t size = bytes.size() - from;
  if (size <= kGatherBytes || size < from) {  // mostly sent: a copy frees more than it costs
    append(std::string_view(bytes).substr(from));
    return;
  }
  if (empty()) {
    offset_ = from;
  } else {
    bytes.erase(0, from);
  }
  bytes_ += size;
  pieces_.push_back(std::move(bytes));
}

IoResult OutputBuffer::writeTo(int fd) {
  iovec places[kMaxPieces];
  std::size_t count = 0;
  for (std::size_t i = first_; i < pieces_.size() && count < kMaxPieces; ++i) {
    const std::size_t skip = i == first_ ? offset_ : 0;
    places[count++] = {pieces_[i].data() + skip, pieces_[i].size() - skip};
  }
  msghdr message{};
  message.msg_iov = places;
  message.msg_iovlen = count;
  // sendmsg and not writev: only it takes MSG_NOSIGNAL, and a peer that is gone must not raise
  // SIGPIPE in a process that is not ours to configure.
  const ssize_t n = ::sendmsg(fd, &message, MSG_NOSIGNAL);
  if (n < 0) return {.error = errno};
  consume(static_cast<std::size_t>(n));
  return {.bytes = static_cast<std::size_t>(n)};
}

void OutputBuffer::consume(std::size_t bytes) {
  bytes_ -= bytes;
  if (bytes_ == 0) {
    clear();
    return;
  }
  while (bytes >= pieces_[first_].size() - offset_) {
    bytes -= pieces_[first_].size() - offset_;
    offset_ = 0;
    std::string().swap(pieces_[first_++]);  // frees it now; the vector is tidied up below
  }
  offset_ += bytes;
  if (first_ > pieces_.size() / 2) {
    pieces_.erase(pieces_.begin(), pieces_.begin() + static_cast<std::ptrdiff_t>(first_));
    first_ = 0;
  }
}

void OutputBuffer::clear() {
  std::vector<std::string>().swap(pieces_);
  first_ = offset_ = bytes_ = 0;
}

}  // namespace rung
