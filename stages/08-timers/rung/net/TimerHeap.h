#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "rung/base/Task.h"
#include "rung/net/Timer.h"
#include "rung/net/TimerId.h"

namespace rung {

/// Which of many timers is due next: a heap of four children a node over a table of slots.
/// It knows no clock and no descriptor, so that a test can tell it what time it is, and it calls
/// nothing: it hands the callbacks out, so that its owner can run and destroy them where no lock is
/// held. For each slot it is noted where in the heap its timer stands; so cancelling needs no
/// search, and neither that nor adding allocates once there have been as many timers before. Four
/// children and not two: the heap is half as deep, and the four lie in one or two cache lines.
/// Thread: one at a time.
/// Lifetime: movable; a heap that was moved from may only be assigned to or destroyed.
/// Units: add, remove O(log n); earliest O(1); memory 124 bytes a timer, kept for the next ones.
class TimerHeap {
 public:
  using Clock = std::chrono::steady_clock;

  /// A timer that is due, to be given to start().
  struct Expired {
    TimerId id;
    bool repeats;
  };

  /// Timers of equal deadline are due in the order in which they were added. An `interval` of zero
  /// means once; a negative one is undefined.
  TimerId add(Clock::time_point deadline, Clock::duration interval, Task&& callback);

  /// Forgets the timer, be it waiting, due, or a repeating one that is running.
  /// Errors: nothing if `id` names no timer of the present: default, over, or cancelled before.
  /// Otherwise its callback, which is empty while it is running; destroying it is up to the caller.
  [[nodiscard]] std::optional<Task> remove(TimerId id);

  /// When the next one is due; time_point::max() if none is waiting.
  [[nodiscard]] Clock::time_point earliest() const {
    return heap_.empty() ? Clock::time_point::max() : heap_.front().deadline;
  }

  /// Appends all that are due at `now` to `batch`, in the order in which they are to run. They do
  /// not wait any more, but can still be removed: start() then says so.
  void takeExpired(Clock::time_point now, std::vector<Expired>& batch);

  /// The callback of a timer that was due, to be run now; empty if it was removed in the meantime.
  /// A timer that runs once is over with this, and its id void.
  [[nodiscard]] Task start(TimerId id);

  /// Makes a repeating timer wait again, for the first deadline after `now` on the grid which its
  /// first deadline and its interval make: it does not drift, and what it missed is left out.
  /// Does nothing, not even to `callback`, if the timer was removed while it ran.
  void finish(TimerId id, Clock::time_point now, Task&& callback);

  /// How many are waiting.
  [[nodiscard]] std::size_t size() const { return heap_.size(); }

 private:
  // What decides is here as well as in the slot, so that sifting, and taking out what is due, reads
  // no other memory.
  struct Entry {
    Clock::time_point deadline;
    std::uint64_t serial;
    std::uint32_t slot;
    bool repeats;

    [[nodiscard]] bool isBefore(const Entry& other) const {
      return deadline != other.deadline ? deadline < other.deadline : serial < other.serial;
    }
  };

  // Slots come in chunks, and stay where they are: growing moves none, and costs no pause.
  static constexpr std::uint32_t kSlotsPerChunk = 256;
  static constexpr std::size_t kChildren = 4;
  static constexpr std::uint32_t kNoSlot = UINT32_MAX;
  // The position of a timer that is due or running, and so not in the heap.
  static constexpr std::uint32_t kNowhere = UINT32_MAX;

  [[nodiscard]] Timer& timerIn(std::uint32_t slot) const {
    return chunks_[slot / kSlotsPerChunk][slot % kSlotsPerChunk];
  }
  [[nodiscard]] bool isCurrent(TimerId id) const {
    return id && id.slot_ < positions_.size() && timerIn(id.slot_).serial == id.serial_;
  }
  [[nodiscard]] std::uint32_t takeSlot();
  void freeSlot(std::uint32_t slot);
  void push(const Entry& entry);
  void erase(std::size_t position);
  void siftUp(std::size_t position, const Entry& entry);
  void siftDown(std::size_t position, const Entry& entry);
  void place(std::size_t position, const Entry& entry);

  std::vector<Entry> heap_;
  std::vector<std::unique_ptr<Timer[]>> chunks_;
  // By slot: where in the heap its timer stands; of a free slot, which one is free next. Apart from
  // the slots, since each step of a sift writes one: of half a million timers, these 2 MB stay in
  // the cache and the slots do not (tools/bench --only timer-cancel-random-500000).
  std::vector<std::uint32_t> positions_;
  std::uint32_t firstFree_ = kNoSlot;
  std::uint64_t lastSerial_ = 0;
};

}  // namespace rung
