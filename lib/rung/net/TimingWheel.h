#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "rung/base/noncopyable.h"
#include "rung/net/TimerId.h"

namespace rung {

class EventLoop;
class Mailbox;

/// Finds out which of many objects have been idle for too long: the connections of one loop.
/// With a timer for each, every message would move a timer in a heap. Here a message stores one
/// number. The wheel is a ring of buckets, one for each tick. It looks at an entry only when its
/// bucket comes up, once per timeout: if the entry was refreshed in the meantime, it moves to the
/// bucket of its last refresh; otherwise it is idle. The price is precision: an entry is expired
/// between `timeout` and `timeout + tick` after its last refresh, never earlier.
/// The wheel counts ticks and reads no clock. While the loop is stuck, the wheel stands still: a
/// connection whose messages could not be read is not idle.
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
  /// The object that the wheel watches: a base class or a member of your object.
  /// Lifetime: the user owns it, and may destroy it at any moment; it then leaves the wheel.
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

  /// Turns with a timer of `loop`; if `loop` is nullptr, with each call of tick().
  /// Errors: throws std::invalid_argument as bucketsFor() does, std::bad_alloc.
  /// Units: a timeout that is not a multiple of `tick` is rounded up to one.
  TimingWheel(EventLoop* loop, std::chrono::milliseconds timeout,
              std::chrono::milliseconds tick = std::chrono::seconds(1));
  ~TimingWheel();

  /// How many buckets a wheel of these times has, 16 bytes each: for a class that takes the times
  /// but makes the wheel later.
  /// Errors: throws std::invalid_argument, with both times in ms, unless they are more than zero
  /// and the buckets at most kMaxBuckets. For too many it names the least tick that would do.
  [[nodiscard]] static std::size_t bucketsFor(std::chrono::milliseconds timeout,
                                              std::chrono::milliseconds tick);
  /// 2 MiB. A timeout of a day with a tick of a second has 86,401.
  static constexpr std::size_t kMaxBuckets = 1 << 17;

  /// Watches `entry`, as refreshed now. It may be in this wheel already, but not in another.
  void add(Entry& entry);

  /// The entry was not idle until `ticksAgo`. No effect on an entry that is in no wheel: add() is
  /// for that.
  void refresh(Entry& entry, std::uint64_t ticksAgo = 0) { entry.refreshed_ = now_ - ticksAgo; }
  /// Whether its last refresh is too long ago.
  [[nodiscard]] bool isIdle(const Entry& entry) const {
    return now_ - entry.refreshed_ >= buckets_.size();
  }

  /// One tick has passed: expires what has been idle for too long.
  /// Not from a callback of an entry.
  void tick() noexcept;

 private:
  void onTimer();
  void startTimer();
  void turn() noexcept;
  [[nodiscard]] Link& bucketOf(std::uint64_t tick) {
    return buckets_[static_cast<std::size_t>(tick % buckets_.size())];
  }

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
