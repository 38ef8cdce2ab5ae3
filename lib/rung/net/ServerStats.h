#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "rung/base/Mutex.h"
#include "rung/base/noncopyable.h"
#include "rung/net/CloseReason.h"
#include "rung/net/Counters.h"

namespace rung {

struct ConnectionProfile;

/// What a TcpServer has done since it was made. None of the numbers but `open` ever goes down.
/// While nothing is under way, accepted == open + all that `ended` + refusedOverLimit +
/// refusedNoMemory. They are read one after the other, so a connection that moves between them
/// meanwhile may be missing in the sum, or be in it twice.
/// Thread: any; it is a value.
struct ServerStats {
  /// Connections that the kernel gave to the server.
  std::uint64_t accepted = 0;
  /// Those that are up, or about to be.
  std::size_t open = 0;
  /// Those that are over, by their reason. With CloseReason::refused, most never came up.
  std::array<std::uint64_t, kCloseReasons> ended{};
  /// Closed at once: there was no descriptor, or no memory for ListenOptions::prepareAccepted
  /// (these are not among `accepted`), maxConnections was reached, or there was no memory.
  std::uint64_t refusedNoDescriptor = 0;
  std::uint64_t refusedOverLimit = 0;
  std::uint64_t refusedNoMemory = 0;
  /// Bytes that the kernel gave, also those that were thrown away, and bytes that it took, with
  /// those of files.
  std::uint64_t bytesIn = 0;
  std::uint64_t bytesOut = 0;

  [[nodiscard]] std::uint64_t endedBy(CloseReason reason) const {
    return ended[static_cast<std::size_t>(reason)];
  }
};

/// The counts of one server, on all its loops. What happens with every message is counted by each
/// loop for itself, in its ConnectionProfile; the rest is here.
/// Thread: any, where nothing else is said.
/// Lifetime: shared by the server and all that counts for it.
class ServerCounts : noncopyable {
 public:
  /// From now on, the counts of that loop are in the sums.
  void add(std::shared_ptr<const ConnectionProfile> loop) RUNG_EXCLUDES(mutex_);
  [[nodiscard]] ServerStats stats() const RUNG_EXCLUDES(mutex_);

  /// One of the `live` has ended.
  void oneLess() {
    --live;
    if (wantsRoom.load() && wantsRoom.exchange(false)) roomCallback();
  }

  std::atomic<std::size_t> live{0};
  std::atomic<std::size_t> cut{0};  // those that ended with output unsent, or were cut
  /// Those that were accepted and never came to their loop: it was gone, or there was no memory.
  std::atomic<std::size_t> neverArrived{0};
  std::atomic<std::size_t> noMemory{0};
  /// The base loop's: accepted; and refused, because of maxConnections.
  Counter accepted;
  Counter overLimit;
  std::shared_ptr<const std::atomic<std::size_t>> noDescriptor;  // the Acceptor's; set once
  /// Called when one ends while somebody waits for that. Set once. Never throws.
  std::atomic<bool> wantsRoom{false};
  std::function<void()> roomCallback;

 private:
  mutable Mutex mutex_;
  std::vector<std::shared_ptr<const ConnectionProfile>> loops_ RUNG_GUARDED_BY(mutex_);
};

}  // namespace rung
