#include "rung/net/ReceivingHalf.h"

#include <sys/socket.h>

#include <cerrno>
#include <utility>

namespace rung {

namespace {

/// Large, since a megabyte then takes two reads and not sixteen: half the processor time of an echo
/// of 1 MiB (tools/bench --only echo-1m). What small messages do not touch of it takes no memory.
/// The bytes that are read begin a cache line, behind the room for prepending: the kernel's copying
/// is faster then by some percent of all that an echo of 16 KiB takes (tools/bench --only
/// echo-16k).
struct ReadBlock {
  static constexpr std::size_t kCacheLine = 64;
  static constexpr std::size_t kStart = kCacheLine - Buffer::kCheapPrepend;

  alignas(kCacheLine) char bytes[kStart + (std::size_t{512} << 10)];
};

}  // namespace

// A pointer, since a loop with static storage may still run when the thread-local objects of the
// main thread are gone; what such a loop reads with is never deleted.
constinit thread_local ReceivingHalf::Lent* ReceivingHalf::lent_ = nullptr;

ReceivingHalf::Lent& ReceivingHalf::makeLent() {
  struct Reader : Lent {
    Reader() { block = std::span(memory->bytes).subspan(ReadBlock::kStart); }

    const std::unique_ptr<ReadBlock> memory = std::make_unique_for_overwrite<ReadBlock>();
  };
  struct Deleter {
    ~Deleter() { delete static_cast<Reader*>(std::exchange(lent_, nullptr)); }
  };
  static thread_local const Deleter deleter;
  lent_ = new Reader;
  return *lent_;
}

IoResult ReceivingHalf::discardFrom(int fd) {
  drop();
  const std::span<char> block = lentByThisThread().block;
  const ssize_t n = ::recv(fd, block.data(), block.size(), 0);
  if (n < 0) return {.error = errno};
  return {.bytes = static_cast<std::size_t>(n)};
}

void ReceivingHalf::keep(bool cannotGoOn) {
  if (discards) buffer_->retrieveAll();
  buffer_->settle();
  stuck = !buffer_->empty() && cannotGoOn;
}

}  // namespace rung
