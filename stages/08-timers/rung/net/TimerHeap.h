#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "rung/base/Task.h"
#include "rung/net/TimerId.h"

namespace rung {

/// Which of many timers is due next: a heap of four children a node over a table of slots.
/// It has no clock and no descriptor, so a test can choose the time. It runs no callback: it gives
/// them to its owner, who runs and destroys them while no lock is held. It knows the position in
/// the heap for each slot, so cancelling needs no search. Once there have been as many timers
/// before, adding and cancelling allocate no memory. Four children and not two: the heap is half as
/// deep, and the four lie in one or two cache lines.
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
  /// means once; a negative one is undefined, and so is one with a deadline before the clock's
  /// zero.
  TimerId add(Clock::time_point deadline, Clock::duration interval, Task&& callback);

  /// Removes the timer, which may be waiting, due, or a repeating one that is running. Returns its
  /// callback, which is empty while it runs; the caller destroys it.
  /// Errors: returns nothing if `id` names no timer: it is a default one, or the timer is over or
  /// was cancelled before.
  [[nodiscard]] std::optional<Task> remove(TimerId id);

  /// When the next one is due; time_point::max() if none is waiting.
  [[nodiscard]] Clock::time_point earliest() const {
    return heap_.empty() ? (Clock::time_point::max)() : heap_.front().deadline;
  }

  /// Appends the timers that are due at `now` to `batch`, in the order in which they must run. They
  /// leave the heap, but can still be removed: start() then returns an empty callback.
  /// Errors: throws std::bad_alloc; the timers that are not in `batch` then stay in the heap.
  void takeExpired(Clock::time_point now, std::vector<Expired>& batch);

  /// The callback of a timer that was due, to be run now; empty if it was removed in the meantime.
  /// This ends a timer that runs once; its id then names no timer.
  [[nodiscard]] Task start(TimerId id);

  /// Makes a repeating timer wait again. Its deadlines are a grid: the first one, and one after
  /// each interval. It waits for the first of them after `now`, so it does not drift, and leaves
  /// out those that it missed.
  /// Does nothing, not even to `callback`, if the timer was removed while it ran.
  void finish(TimerId id, Clock::time_point now, Task&& callback);

  /// How many are waiting.
  [[nodiscard]] std::size_t size() const { return heap_.size(); }

 private:
  /// One slot: what to call, when, and which timer it is.
  struct Timer {
    std::uint64_t serial = 0;  // larger for each timer that is added; 0 while the slot is free
    Clock::time_point deadline;
    Clock::duration interval{0};  // zero: once
    Task callback;
  };

  // A copy of the values that decide the order. So sifting, and taking out due timers, reads no
  // slot.
  struct Entry {
    Clock::time_point deadline;
    std::uint64_t serial;
    std::uint32_t slot;
    bool repeats;

    [[nodiscard]] bool isBefore(const Entry& other) const {
      return deadline != other.deadline ? deadline < other.deadline : serial < other.serial;
    }
  };

  // Slots come in chunks and never move, so growing copies none and takes no pause.
  static constexpr std::uint32_t kSlotsPerChunk = 256;
  static constexpr std::size_t kChildren = 4;
  static constexpr std::uint32_t kNoSlot = UINT32_MAX;
  // The position of a timer that is due or running, and so not in the heap.
  static constexpr std::uint32_t kNowhere = UINT32_MAX;

  [[nodiscard]] Timer& timerIn(std::uint32_t slot) const {
    return chunks_[slot / kSlotsPerChunk][slot % kSlotsPerChunk];
  }
  [[nodiscard]] bool isCurrent(TimerId id) const {
    return id && id.heap_ == number_ && timerIn(id.slot_).serial == id.serial_;
  }
  [[nodiscard]] std::uint32_t takeSlot();
  void freeSlot(std::uint32_t slot);
  void push(const Entry& entry);
  void erase(std::size_t position);
  void siftUp(std::size_t position, const Entry& entry);
  void siftDown(std::size_t position, const Entry& entry);
  void place(std::size_t position, const Entry& entry);

  [[nodiscard]] static std::uint32_t nextNumber();

  // Each heap of a process has a number of its own: an id of one loop names no timer of another.
  std::uint32_t number_ = nextNumber();
  std::vector<Entry> heap_;
  std::vector<std::unique_ptr<Timer[]>> chunks_;
  // For each slot, the position of its timer in the heap; for a free slot, the next free one. Not
  // in the slots, since each step of a sift writes one: for half a million timers, these 2 MB stay
  // in the cache, and the slots do not (tools/bench --only timer-cancel-random-500000).
  std::vector<std::uint32_t> positions_;
  std::uint32_t firstFree_ = kNoSlot;
  std::uint64_t lastSerial_ = 0;
};

}  // namespace rung
