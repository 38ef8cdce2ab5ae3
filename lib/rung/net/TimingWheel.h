#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

#include "rung/base/noncopyable.h"
#include "rung/net/TimerId.h"

namespace rung {

class EventLoop;
class Mailbox;

/// Finds out which of many objects have been idle for too long: the connections of one loop.
/// A timer for each would be moved in a heap with every message. Here a message costs the store of
/// one number: what turns is a ring of buckets, one for each tick, and only when a bucket comes up,
/// once per timeout, is an entry in it looked at. If it was refreshed in the meantime, it is moved
/// to the bucket of its last refresh, else it is idle. The price is precision: an entry is expired
/// between `timeout` and `timeout + tick` after its last refresh, never earlier.
/// Time is counted in ticks that took place, not read from a clock: while the loop is stuck, the
/// wheel stands still, and nobody is taken for idle whose messages could not be read.
/// Thread: loop.
/// Lifetime: made and destroyed on the loop's thread, or destroyed after the loop; its entries may
/// live longer than it. May be destroyed from the callback of an entry.
/// Source: Varghese and Lauck, "Hashed and Hierarchical Timing Wheels", 1987.
class TimingWheel : noncopyable {
  /// A place in a bucket, which is a ring of them: leaving it needs no search.
  struct Link : noncopyable {
    Link() = default;
    ~Link() { unlink(); }
    void unlink();
    void insertBefore(Link& other);
    void clear();

    Link* previous = this;
    Link* next = this;
  };

 public:
  /// What the wheel watches: a base class or a member of your object.
  /// Lifetime: the user's, who may destroy it at any moment; it then leaves the wheel.
  class Entry : private Link {
   public:
    virtual ~Entry() = default;

    /// Leaves the wheel. Does nothing if it is in none.
    void remove() { unlink(); }
    /// Whether it is in a wheel.
    [[nodiscard]] bool isWatched() const { return next != this; }

   private:
    friend class TimingWheel;

    /// Called when it has been idle for too long. It leaves the wheel afterwards, unless the
    /// callback refreshes it. The callback may destroy it, and add, refresh, remove and destroy any
    /// others. An exception from it ends the process.
    virtual void onIdle() = 0;

    std::uint64_t refreshed_ = 0;  // the tick of the last refresh
  };

  /// Starts to turn, with a timer of `loop`; if that is nullptr, when you call tick().
  /// Errors: throws std::invalid_argument unless both times are more than zero.
  /// Units: a timeout that is not a multiple of `tick` is rounded up to one.
  TimingWheel(EventLoop* loop, std::chrono::milliseconds timeout,
              std::chrono::milliseconds tick = std::chrono::seconds(1));
  ~TimingWheel();

  /// Watches `entry`, as refreshed now. It may be in this wheel already, but not in another.
  void add(Entry& entry);

  /// The entry is not idle. Of no effect on one that is in no wheel; that would be add().
  void refresh(Entry& entry) { entry.refreshed_ = now_; }

  /// One tick has passed: expires what has been idle for too long.
  /// Not from a callback of an entry.
  void tick() noexcept;

 private:
  void onTimer();
  void startTimer();
  void turn() noexcept;
  [[nodiscard]] bool isIdle(const Entry& entry) const {
    return now_ - entry.refreshed_ >= buckets_.size();
  }
  [[nodiscard]] Link& bucketOf(std::uint64_t tick) { return buckets_[tick % buckets_.size()]; }

  const std::chrono::milliseconds tick_;
  const std::shared_ptr<Mailbox> mailbox_;  // tells whether the loop is still there
  std::uint64_t now_ = 0;                   // in ticks
  TimerId timer_;
  // One more than the ticks of a timeout: a refresh may have come late within its tick.
  std::vector<Link> buckets_;
  Link due_;                   // the bucket that is being worked off
  bool* destroyed_ = nullptr;  // tells turn() that a callback has destroyed the wheel
};

static_assert(sizeof(TimingWheel::Entry) <= 32);

}  // namespace rung
