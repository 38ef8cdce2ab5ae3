#pragma once

#include <chrono>
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

  /// Waits for at most `timeout` and appends the ready Channels, their revents set. The list
  /// belongs to the loop, which reuses its memory and strikes out what is removed while it is
  /// worked off. Errors: a signal ends the wait early with nothing appended. Units: milliseconds;
  /// negative waits for ever.
  virtual Timestamp poll(std::chrono::milliseconds timeout, ChannelList& activeChannels) = 0;

  /// Registers the Channel, or changes what is watched for, to channel->events().
  /// Errors: throws std::system_error when the kernel refuses the descriptor.
  virtual void updateChannel(Channel* channel) = 0;

  /// Forgets the Channel. Its descriptor must still be open.
  virtual void removeChannel(Channel* channel) = 0;

  [[nodiscard]] bool hasChannel(const Channel* channel) const;

 protected:
  Poller() = default;

  /// Enters the Channel in the table; two Channels on one descriptor are a programmer's error.
  void remember(Channel* channel);
  void forget(const Channel* channel);

 private:
  /// Indexed by descriptor. The kernel hands out the lowest free number, so this stays dense.
  std::vector<Channel*> channels_;
};

}  // namespace rung
