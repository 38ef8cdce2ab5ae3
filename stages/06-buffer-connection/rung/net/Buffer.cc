#include "rung/net/Buffer.h"

#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#include "rung/base/Logging.h"

namespace rung {

namespace {

constexpr std::size_t kSmallest = 256;         // the first memory of its own
constexpr std::size_t kWorthShrinking = 4096;  // less is not worth a copy
constexpr std::size_t kLargest = PTRDIFF_MAX / 4;
constexpr std::size_t kExtraBytes = 65536;

/// recv(2), since read(2) of a socket comes to the same after a detour that files need: a tenth of
/// a microsecond a read (tools/bench --only echo-64). What is no socket says so, and is read.
ssize_t receive(int fd, char* place, std::size_t size) {
  const ssize_t n = ::recv(fd, place, size, 0);
  return n < 0 && errno == ENOTSOCK ? ::read(fd, place, size) : n;
}

}  // namespace

Buffer::Buffer(Buffer&& other) noexcept {
  swap(other);
}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  if (this != &other) {
    release();
    swap(other);
  }
  return *this;
}

void Buffer::swap(Buffer& other) noexcept {
  // A lent block belongs to one Buffer only, for one callback: what moves on must own its bytes.
  settle();
  other.settle();
  std::swap(own_, other.own_);
  std::swap(data_, other.data_);
  std::swap(capacity_, other.capacity_);
  std::swap(readerIndex_, other.readerIndex_);
  std::swap(writerIndex_, other.writerIndex_);
}

void Buffer::abortAskedForMore(std::size_t size) const {
  LOG_FATAL << "Buffer: " << size << " bytes asked for, " << readableBytes() << " there";
  std::abort();  // not reached; LOG_FATAL cannot be declared [[noreturn]]
}

std::string Buffer::retrieveAsString(std::size_t size) {
  std::string text(peek(), checked(size));
  retrieve(size);
  return text;
}

void Buffer::append(std::string_view bytes) {
  if (bytes.empty()) return;
  ensureWritable(bytes.size());
  std::memcpy(beginWrite(), bytes.data(), bytes.size());
  writerIndex_ += bytes.size();
}

void Buffer::prepend(std::string_view bytes) {
  if (bytes.empty()) return;
  if (data_ == nullptr) ensureWritable(0);
  if (bytes.size() > prependableBytes()) {
    LOG_FATAL << "Buffer: " << bytes.size() << " bytes to prepend, room for " << prependableBytes();
  }
  readerIndex_ -= bytes.size();
  std::memcpy(data_ + readerIndex_, bytes.data(), bytes.size());
}

void Buffer::ensureWritable(std::size_t size) {
  if (data_ != nullptr && size <= writableBytes()) return;
  // A size that a peer claims and nobody has checked would overflow the sum below.
  if (size > kLargest) throw std::bad_alloc();
  const std::size_t readable = readableBytes();
  const std::size_t needed = kCheapPrepend + readable + size;
  // What was retrieved in front is room too. Moving is worth it while at least half is free: else
  // a long message that trickles in would be moved again and again.
  if (data_ != nullptr && !onLentBlock() && needed <= capacity_ && readable <= capacity_ / 2) {
    std::memmove(data_ + kCheapPrepend, peek(), readable);
    readerIndex_ = kCheapPrepend;
    writerIndex_ = kCheapPrepend + readable;
    return;
  }
  moveToOwnMemory(std::max({needed, readable * 2, kSmallest}));
}

void Buffer::hasWritten(std::size_t size) {
  if (size > writableBytes()) {
    LOG_FATAL << "Buffer: " << size << " bytes written, room for " << writableBytes();
  }
  writerIndex_ += size;
}

IoResult Buffer::readFd(int fd) {
  char extra[kExtraBytes];
  const IoResult result = readFd(fd, extra);
  try {
    settle();
  } catch (...) {
    release();  // never stand on a block that is about to go
    throw;
  }
  return result;
}

IoResult Buffer::readFd(int fd, std::span<char> block) {
  if (!empty()) return readBehindTheRest(fd, block);
  const ssize_t n = receive(fd, block.data() + kCheapPrepend, block.size() - kCheapPrepend);
  if (n < 0) return {.error = errno};
  own_.reset();
  data_ = block.data();
  capacity_ = block.size();
  readerIndex_ = kCheapPrepend;
  writerIndex_ = kCheapPrepend + static_cast<std::size_t>(n);
  return {.bytes = static_cast<std::size_t>(n)};
}

// Into the room that is there, and what does not fit into the block: one system call reads much,
// though no Buffer keeps much room in reserve.
IoResult Buffer::readBehindTheRest(int fd, std::span<char> block) {
  settle();
  const std::size_t room = writableBytes();
  const iovec places[] = {{beginWrite(), room}, {block.data(), block.size()}};
  const ssize_t n = ::readv(fd, places, 2);
  if (n < 0) return {.error = errno};
  const auto bytes = static_cast<std::size_t>(n);
  writerIndex_ += std::min(bytes, room);
  if (bytes > room) append(block.data(), bytes - room);
  return {.bytes = bytes};
}

void Buffer::settleRest() {
  if (onLentBlock()) {
    moveToOwnMemory(kCheapPrepend + readableBytes());
  } else if (capacity_ >= kWorthShrinking && readableBytes() < capacity_ / 4) {
    moveToOwnMemory(kCheapPrepend + readableBytes() * 2);
  }
}

void Buffer::moveToOwnMemory(std::size_t capacity) {
  // For overwriting: filling it with zeros first would cost as much as copying into it.
  auto memory = std::make_unique_for_overwrite<char[]>(capacity);
  const std::size_t readable = readableBytes();
  if (readable > 0) std::memcpy(memory.get() + kCheapPrepend, peek(), readable);
  own_ = std::move(memory);
  data_ = own_.get();
  capacity_ = capacity;
  readerIndex_ = kCheapPrepend;
  writerIndex_ = kCheapPrepend + readable;
}

}  // namespace rung
