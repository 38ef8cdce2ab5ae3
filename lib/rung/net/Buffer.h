#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "rung/base/noncopyable.h"  // refuses older standards
#include "rung/net/IoResult.h"

namespace rung {

/// Bytes that have arrived and are not used up yet: appended at one end, retrieved at the other.
/// TCP is a stream without message boundaries; this is where bytes wait until a message is whole.
///
///     +-------------------+------------------+------------------+
///     | prependable bytes |  readable bytes  |  writable bytes  |
///     +-------------------+------------------+------------------+
///     0      <=      readerIndex   <=   writerIndex    <=    capacity
///
/// The room in front lets a length header be put before a body that is there already.
/// An empty Buffer owns no memory. A Buffer may stand on a block that is lent to it for a while
/// (see readFd()), so that a connection which keeps nothing unread costs none either.
/// Thread: one at a time.
/// Lifetime: pointers and views into it are good until the next call that is not const.
/// Errors: asking for more bytes than there are, or putting more than there is room for where no
/// room is made, is a programmer's error and aborts. Appending throws std::bad_alloc.
/// Source: muduo net/Buffer.h; the idea of the room in front is Netty's ChannelBuffer.
class Buffer {
 public:
  /// Room in front of the first byte: enough for a 64-bit length.
  static constexpr std::size_t kCheapPrepend = 8;

  Buffer() = default;
  /// Moves and swaps give a Buffer on a lent block memory of its own first. If there is no memory
  /// for it, they end the process.
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;
  ~Buffer() = default;
  void swap(Buffer& other) noexcept;

  [[nodiscard]] std::size_t readableBytes() const { return writerIndex_ - readerIndex_; }
  [[nodiscard]] std::size_t writableBytes() const { return capacity_ - writerIndex_; }
  [[nodiscard]] std::size_t prependableBytes() const {
    return data_ == nullptr ? kCheapPrepend : readerIndex_;
  }
  [[nodiscard]] bool empty() const { return readerIndex_ == writerIndex_; }
  /// Bytes of memory of its own; 0 if it is new or settled empty, or stands on a lent block.
  [[nodiscard]] std::size_t ownedBytes() const { return own_ == nullptr ? 0 : capacity_; }

  /// The first readable byte.
  [[nodiscard]] const char* peek() const { return data_ + readerIndex_; }
  /// All readable bytes.
  [[nodiscard]] std::string_view view() const { return {peek(), readableBytes()}; }
  /// The next number in network byte order, which stays where it is.
  template <std::integral Number>
  [[nodiscard]] Number peekInt() const {
    return decode<Number>(view().substr(0, checked(sizeof(Number))));
  }

  /// Use up the first `size` bytes.
  void retrieve(std::size_t size) {
    readerIndex_ += checked(size);
    if (empty()) retrieveAll();
  }
  void retrieveAll() { readerIndex_ = writerIndex_ = data_ == nullptr ? 0 : kCheapPrepend; }
  [[nodiscard]] std::string retrieveAsString(std::size_t size);
  [[nodiscard]] std::string retrieveAllAsString() { return retrieveAsString(readableBytes()); }
  template <std::integral Number>
  [[nodiscard]] Number readInt() {
    const Number number = peekInt<Number>();
    retrieve(sizeof(Number));
    return number;
  }

  /// Lifetime: `bytes` are not of this Buffer, which may move its own to have room.
  void append(std::string_view bytes);
  void append(const void* bytes, std::size_t size) {
    append(std::string_view(static_cast<const char*>(bytes), size));
  }
  /// In network byte order.
  template <std::integral Number>
  void appendInt(Number number) {
    char bytes[sizeof(Number)];
    encode(number, bytes);
    append(bytes, sizeof bytes);
  }

  /// Puts bytes before the first readable one. At most prependableBytes(), which is at least
  /// kCheapPrepend until something has been prepended.
  void prepend(std::string_view bytes);
  template <std::integral Number>
  void prependInt(Number number) {
    char bytes[sizeof(Number)];
    encode(number, bytes);
    prepend({bytes, sizeof bytes});
  }

  /// For writing in place: make room, write at beginWrite(), say how much with hasWritten().
  /// Errors: throws std::bad_alloc, also for a size that no memory holds; the bytes stay.
  void ensureWritable(std::size_t size);
  [[nodiscard]] char* beginWrite() { return data_ + writerIndex_; }
  void hasWritten(std::size_t size);

  /// One read from `fd`, a socket or anything else that can be read, appended.
  /// Units: IoResult::bytes is 0 at the end of the stream.
  [[nodiscard]] IoResult readFd(int fd);
  /// The same, with the help of `block`, which must be larger than kCheapPrepend. If this Buffer is
  /// empty it then stands on `block`, and nothing is copied or allocated: call settle() before the
  /// block is used again.
  [[nodiscard]] IoResult readFd(int fd, std::span<char> block);
  /// Moves what is left on a lent block into memory of its own, and gives back what memory is not
  /// needed.
  void settle() {
    if (empty()) {
      release();
    } else {
      settleRest();
    }
  }

 private:
  template <std::integral Number>
  static void encode(Number number, char* bytes) {
    for (std::size_t i = sizeof(Number); i-- > 0;) {
      bytes[i] = static_cast<char>(number & 0xFF);
      if constexpr (sizeof(Number) > 1) number = static_cast<Number>(number >> 8);
    }
  }
  template <std::integral Number>
  static Number decode(std::string_view bytes) {
    std::uint64_t number = 0;
    for (const char byte : bytes)
      number = number << 8 | static_cast<unsigned char>(byte);
    return static_cast<Number>(number);
  }

  std::size_t checked(std::size_t size) const {
    if (size > readableBytes()) abortAskedForMore(size);
    return size;
  }
  [[noreturn]] void abortAskedForMore(std::size_t size) const;
  [[nodiscard]] bool onLentBlock() const { return data_ != own_.get(); }
  void moveToOwnMemory(std::size_t capacity);
  [[nodiscard]] IoResult readBehindTheRest(int fd, std::span<char> block);
  void settleRest();
  void release() {
    own_.reset();
    data_ = nullptr;
    capacity_ = readerIndex_ = writerIndex_ = 0;
  }

  std::unique_ptr<char[]> own_;
  char* data_ = nullptr;  // own_, or a lent block
  std::size_t capacity_ = 0;
  std::size_t readerIndex_ = 0;
  std::size_t writerIndex_ = 0;
};

}  // namespace rung
