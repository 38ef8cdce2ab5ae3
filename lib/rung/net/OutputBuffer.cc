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
    const bool roomy = !q.pieces.empty() && q.pieces.back().size() < q.pieces.back().capacity();
    if (!roomy) {
      std::string piece;
      piece.reserve(std::max(bytes.size(), kGatherBytes));
      q.pieces.push_back(std::move(piece));
    }
    std::string& last = q.pieces.back();
    // Never beyond its capacity: growing would copy what waits already.
    const std::size_t size = std::min(bytes.size(), last.capacity() - last.size());
    last.append(bytes.substr(0, size));
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
  q.pieces.push_back(std::move(bytes));
  q.bytes += size;
}

IoResult OutputBuffer::writeTo(int fd) {
  if (empty()) return {};
  Queue& q = *queue_;
  iovec places[kMaxPieces];
  std::size_t count = 0;
  for (std::size_t i = q.first; i < q.pieces.size() && count < kMaxPieces; ++i) {
    const std::size_t skip = i == q.first ? q.offset : 0;
    places[count++] = {q.pieces[i].data() + skip, q.pieces[i].size() - skip};
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
  Queue& q = *queue_;
  q.bytes -= bytes;
  if (q.bytes == 0) {
    clear();
    return;
  }
  while (bytes >= q.pieces[q.first].size() - q.offset) {
    bytes -= q.pieces[q.first].size() - q.offset;
    q.offset = 0;
    std::string().swap(q.pieces[q.first++]);  // frees it now; the vector is tidied up below
  }
  q.offset += bytes;
  if (q.first > q.pieces.size() / 2) {
    q.pieces.erase(q.pieces.begin(), q.pieces.begin() + static_cast<std::ptrdiff_t>(q.first));
    q.first = 0;
  }
}

}  // namespace rung
