#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <vector>

#include "rung/base/Timestamp.h"
#include "rung/base/noncopyable.h"

namespace rung {

class Channel;

/// Which system call a loop sleeps in.
enum class PollerKind { epoll, poll };

/// The demultiplexer: asks the kernel which of many descriptors are ready.
/// It is an interface because the loop above it should not care, and because two versions that pass
/// one table of tests explain each other. epoll(7) is the default; poll(2) is for comparison.
/// Thread: loop.
/// Lifetime: owned by its EventLoop; does not own the Channels.
class Poller : noncopyable {
 public:
  using ChannelList = std::vector<Channel*>;

  /// Errors: throws std::system_error if the kernel gives no descriptor.
  static std::unique_ptr<Poller> create(PollerKind kind);

  /// Tells the Channels that are still registered that their loop is gone.
  virtual ~Poller();

  /// Waits for at most `timeout`, sets the revents of the ready Channels, and appends them. The
  /// loop owns the list, reuses its memory, and takes out Channels that are removed during the
  /// batch.
  /// Errors: a signal ends the wait early with nothing appended; aborts with the name of the system
  /// call if the kernel refuses it, as it does when the descriptor of the Poller was closed.
  /// Units: milliseconds; negative waits for ever.
  virtual Timestamp poll(std::chrono::milliseconds timeout, ChannelList& activeChannels) = 0;

  /// Registers the Channel, or changes its interest, to channel->events().
  /// Errors: throws std::system_error when the kernel refuses the descriptor.
  virtual void updateChannel(Channel* channel) = 0;

  /// Forgets the Channel. Its descriptor must still be open.
  virtual void removeChannel(Channel* channel) = 0;

  /// The descriptor that is readable while poll() has something to report; -1 if there is none.
  [[nodiscard]] virtual int fd() const { return -1; }

  [[nodiscard]] bool hasChannel(const Channel* channel) const;

 protected:
  Poller() = default;

  /// Adds the Channel to the table; its place becomes Channel::index().
  void remember(Channel* channel);
  /// Takes it out, and moves the last one to its place. Returns that place.
  std::size_t forget(Channel* channel);
  /// Makes room for `wanted` more in `list`, and returns for how many there is room. These are
  /// fewer if memory is short: the kernel reports the others again.
  /// Errors: throws std::bad_alloc if there is room for none.
  static std::size_t roomIn(ChannelList& list, std::size_t wanted) {
    return list.capacity() - list.size() >= wanted ? wanted : makeRoom(list, wanted);
  }
  /// In no order. If it were indexed by descriptor, each loop would need room for the descriptors
  /// of all loops.
  [[nodiscard]] const ChannelList& channels() const { return channels_; }

 private:
  static std::size_t makeRoom(ChannelList& list, std::size_t wanted);

  ChannelList channels_;
};

}  // namespace rung
