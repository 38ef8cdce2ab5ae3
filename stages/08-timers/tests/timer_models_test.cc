// Two other ways to keep timers, as in the books. They are what TimerHeap is compared with: here by
// what they do, in the benchmarks by what they cost.

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <map>
#include <random>
#include <set>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include "rung/net/TimerHeap.h"

using rung::Task;
using rung::TimerHeap;
using rung::TimerId;

namespace {

using Clock = TimerHeap::Clock;
using Callback = std::function<void()>;

/// A sorted set, as in muduo, and a second tree that finds a timer's place in it when it is
/// cancelled: O(log n), two allocations a timer, and a cache miss for each level of each tree.
class SetOfTimers {
 public:
  using Id = std::uint64_t;

  Id add(Clock::time_point deadline, Callback callback) {
    const Id id = ++last_;
    order_.insert({deadline, id});
    timers_.insert({id, {deadline, std::move(callback)}});
    return id;
  }
  bool cancel(Id id) {
    const auto found = timers_.find(id);
    if (found == timers_.end()) return false;
    order_.erase({found->second.first, id});
    timers_.erase(found);
    return true;
  }
  Clock::time_point earliest() const {
    return order_.empty() ? Clock::time_point::max() : order_.begin()->first;
  }
  void expire(Clock::time_point now) {
    while (earliest() <= now) {
      const auto timer = timers_.extract(order_.begin()->second);
      order_.erase(order_.begin());
      timer.mapped().second();
    }
  }
  std::size_t size() const { return order_.size(); }

 private:
  std::set<std::pair<Clock::time_point, Id>> order_;  // the id makes equal deadlines differ
  std::map<Id, std::pair<Clock::time_point, Callback>> timers_;
  Id last_ = 0;
};

/// A binary heap, and a map from the id to the place in it, which each swap has to keep right.
class HeapWithMap {
 public:
  using Id = std::uint64_t;

  Id add(Clock::time_point deadline, Callback callback) {
    const Id id = ++last_;
    places_[id] = heap_.size();
    heap_.push_back({deadline, id, std::move(callback)});
    up(heap_.size() - 1);
    return id;
  }
  bool cancel(Id id) {
    const auto found = places_.find(id);
    if (found == places_.end()) return false;
    removeAt(found->second);
    return true;
  }
  Clock::time_point earliest() const {
    return heap_.empty() ? Clock::time_point::max() : heap_.front().deadline;
  }
  void expire(Clock::time_point now) {
    while (earliest() <= now) {
      const Callback callback = std::move(heap_.front().callback);
      removeAt(0);
      callback();
    }
  }
  std::size_t size() const { return heap_.size(); }

 private:
  struct Node {
    Clock::time_point deadline;
    Id id;
    Callback callback;
    bool operator<(const Node& other) const {
      return std::tie(deadline, id) < std::tie(other.deadline, other.id);
    }
  };

  void swapNodes(std::size_t a, std::size_t b) {
    std::swap(heap_[a], heap_[b]);
    places_[heap_[a].id] = a;
    places_[heap_[b].id] = b;
  }
  void removeAt(std::size_t place) {
    swapNodes(place, heap_.size() - 1);
    places_.erase(heap_.back().id);
    heap_.pop_back();
    if (place == heap_.size()) return;
    up(place);
    down(place);
  }
  void up(std::size_t place) {
    for (; place > 0 && heap_[place] < heap_[(place - 1) / 2]; place = (place - 1) / 2) {
      swapNodes(place, (place - 1) / 2);
    }
  }
  void down(std::size_t place) {
    for (;;) {
      std::size_t least = place;
      for (std::size_t child : {2 * place + 1, 2 * place + 2}) {
        if (child < heap_.size() && heap_[child] < heap_[least]) least = child;
      }
      if (least == place) return;
      swapNodes(place, least);
      place = least;
    }
  }

  std::vector<Node> heap_;
  std::unordered_map<Id, std::size_t> places_;
  Id last_ = 0;
};

/// TimerHeap with the same face.
class HeapOfSlots {
 public:
  using Id = TimerId;

  Id add(Clock::time_point deadline, Task callback) {
    return heap_.add(deadline, Clock::duration::zero(), std::move(callback));
  }
  bool cancel(Id id) { return heap_.remove(id).has_value(); }
  Clock::time_point earliest() const { return heap_.earliest(); }
  void expire(Clock::time_point now) {
    heap_.takeExpired(now, batch_);
    for (const auto& expired : batch_)
      heap_.start(expired.id)();
    batch_.clear();
  }
  std::size_t size() const { return heap_.size(); }

 private:
  TimerHeap heap_;
  std::vector<TimerHeap::Expired> batch_;
};

/// Chosen anew in each run; RUNG_SEED repeats one.
std::uint64_t chooseSeed() {
  const char* wanted = std::getenv("RUNG_SEED");
  return wanted != nullptr ? std::strtoull(wanted, nullptr, 10) : std::random_device()();
}

/// Does the same to both, and returns at which operation they first differ; -1 if nowhere.
template <class Model>
int firstDifference(std::uint64_t seed, int operations) {
  std::mt19937_64 random(seed);
  const auto below = [&](std::uint64_t limit) { return random() % limit; };
  HeapOfSlots timers;
  Model model;
  std::vector<std::pair<TimerId, typename Model::Id>> ids;
  std::vector<int> ran;
  std::vector<int> modelRan;
  std::uint64_t now = 0;
  for (int i = 0; i < operations; ++i) {
    const std::uint64_t dice = below(100);
    if (dice < 55) {
      // Few different deadlines, so that many are equal, and some that have passed.
      const Clock::time_point deadline(std::chrono::nanoseconds(now + below(3000)) -
                                       std::chrono::nanoseconds(now / 10 % 50));
      ids.push_back({timers.add(deadline, [&ran, i] { ran.push_back(i); }),
                     model.add(deadline, [&modelRan, i] { modelRan.push_back(i); })});
    } else if (dice < 95) {
      if (ids.empty()) continue;
      // Of the ids of all times: half of them are old, and their slots have new owners.
      const auto& [id, modelId] =
          ids[ids.size() - 1 - below(std::min<std::size_t>(ids.size(), 4000))];
      if (timers.cancel(id) != model.cancel(modelId)) return i;
    } else {
      now += below(60);
      timers.expire(Clock::time_point(std::chrono::nanoseconds(now)));
      model.expire(Clock::time_point(std::chrono::nanoseconds(now)));
      if (ran != modelRan) return i;
      ran.clear();
      modelRan.clear();
    }
    if (timers.size() != model.size() || timers.earliest() != model.earliest()) return i;
  }
  return -1;
}

TEST_CASE("TimerHeap: a million random operations, as a sorted set does them") {
  const std::uint64_t seed = chooseSeed();
  MESSAGE("RUNG_SEED=", seed);
  CHECK(firstDifference<SetOfTimers>(seed, 1'000'000) == -1);
}

TEST_CASE("TimerHeap: a million random operations, as a binary heap with a map does them") {
  const std::uint64_t seed = chooseSeed();
  MESSAGE("RUNG_SEED=", seed);
  CHECK(firstDifference<HeapWithMap>(seed, 1'000'000) == -1);
}

}  // namespace
