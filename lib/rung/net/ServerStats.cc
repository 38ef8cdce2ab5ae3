#include "rung/net/ServerStats.h"

#include <utility>

#include "rung/net/Callbacks.h"

namespace rung {

void ServerCounts::add(std::shared_ptr<const ConnectionProfile> loop) {
  const MutexLock lock(mutex_);
  loops_.push_back(std::move(loop));
}

ServerStats ServerCounts::stats() const {
  ServerStats stats;
  stats.accepted = accepted.value();
  stats.open = live.load();
  stats.refusedNoDescriptor = noDescriptor == nullptr ? 0 : noDescriptor->load();
  stats.refusedOverLimit = overLimit.value();
  stats.refusedNoMemory = noMemory.load();
  stats.ended[static_cast<std::size_t>(CloseReason::loopGone)] = neverArrived.load();
  const MutexLock lock(mutex_);
  for (const auto& loop : loops_) {
    const LoopCounters& counters = loop->counters;
    stats.bytesIn += counters.bytesIn.value();
    stats.bytesOut += counters.bytesOut.value();
    for (std::size_t i = 0; i < kCloseReasons; ++i)
      stats.ended[i] += counters.ended[i].value();
  }
  return stats;
}

}  // namespace rung
