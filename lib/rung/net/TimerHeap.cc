#include "rung/net/TimerHeap.h"

#include <algorithm>
#include <atomic>
#include <utility>

namespace rung {

TimerId TimerHeap::add(Clock::time_point deadline, Clock::duration interval, Task&& callback) {
  const std::uint32_t slot = takeSlot();
  Timer& timer = timerIn(slot);
  timer.serial = ++lastSerial_;
  timer.deadline = deadline;
  timer.interval = interval;
  timer.callback = std::move(callback);
  push({deadline, timer.serial, slot, interval != Clock::duration::zero()});
  return {timer.serial, slot, number_};
}

std::uint32_t TimerHeap::nextNumber() {
  static std::atomic<std::uint32_t> last{0};
  return last.fetch_add(1, std::memory_order_relaxed) + 1;
}

std::optional<Task> TimerHeap::remove(TimerId id) {
  if (!isCurrent(id)) return std::nullopt;
  Timer& timer = timerIn(id.slot_);
  if (positions_[id.slot_] != kNowhere) erase(positions_[id.slot_]);
  std::optional<Task> callback(std::move(timer.callback));
  freeSlot(id.slot_);
  return callback;
}

void TimerHeap::takeExpired(Clock::time_point now, std::vector<Expired>& batch) {
  while (!heap_.empty() && heap_.front().deadline <= now) {
    const Entry due = heap_.front();
    batch.push_back({TimerId(due.serial, due.slot, number_), due.repeats});
    erase(0);
    positions_[due.slot] = kNowhere;
  }
}

Task TimerHeap::start(TimerId id) {
  if (!isCurrent(id)) return {};
  Timer& timer = timerIn(id.slot_);
  Task callback = std::move(timer.callback);
  if (timer.interval == Clock::duration::zero()) freeSlot(id.slot_);
  return callback;
}

void TimerHeap::finish(TimerId id, Clock::time_point now, Task&& callback) {
  if (!isCurrent(id)) return;
  Timer& timer = timerIn(id.slot_);
  timer.callback = std::move(callback);
  const Clock::duration late = std::max(now - timer.deadline, Clock::duration::zero());
  timer.deadline += late / timer.interval * timer.interval;
  // An interval may be as long as the range of the clock.
  timer.deadline += std::min(timer.interval, Clock::time_point::max() - timer.deadline);
  push({timer.deadline, timer.serial, id.slot_, true});
}

std::uint32_t TimerHeap::takeSlot() {
  if (firstFree_ != kNoSlot) return std::exchange(firstFree_, positions_[firstFree_]);
  const auto slot = static_cast<std::uint32_t>(positions_.size());
  if (slot == chunks_.size() * kSlotsPerChunk) {
    chunks_.push_back(std::make_unique<Timer[]>(kSlotsPerChunk));
  }
  positions_.push_back(kNowhere);
  return slot;
}

void TimerHeap::freeSlot(std::uint32_t slot) {
  timerIn(slot).serial = 0;
  positions_[slot] = std::exchange(firstFree_, slot);
}

void TimerHeap::push(const Entry& entry) {
  heap_.push_back(entry);
  siftUp(heap_.size() - 1, entry);
}

void TimerHeap::erase(std::size_t position) {
  const Entry last = heap_.back();
  heap_.pop_back();
  if (position == heap_.size()) return;
  // The last entry takes the place. It comes from another branch, so it may have to go up or down.
  if (position > 0 && last.isBefore(heap_[(position - 1) / kChildren])) {
    siftUp(position, last);
  } else {
    siftDown(position, last);
  }
}

void TimerHeap::siftUp(std::size_t position, const Entry& entry) {
  while (position > 0) {
    const std::size_t parent = (position - 1) / kChildren;
    if (!entry.isBefore(heap_[parent])) break;
    place(position, heap_[parent]);
    position = parent;
  }
  place(position, entry);
}

void TimerHeap::siftDown(std::size_t position, const Entry& entry) {
  for (;;) {
    const std::size_t first = position * kChildren + 1;
    if (first >= heap_.size()) break;
    const std::size_t end = std::min(first + kChildren, heap_.size());
    std::size_t least = first;
    for (std::size_t child = first + 1; child < end; ++child) {
      if (heap_[child].isBefore(heap_[least])) least = child;
    }
    if (!heap_[least].isBefore(entry)) break;
    place(position, heap_[least]);
    position = least;
  }
  place(position, entry);
}

void TimerHeap::place(std::size_t position, const Entry& entry) {
  heap_[position] = entry;
  positions_[entry.slot] = static_cast<std::uint32_t>(position);
}

}  // namespace rung
