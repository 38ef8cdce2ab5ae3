#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "rung/base/InlineFunction.h"
#include "rung/base/Timestamp.h"
#include "rung/base/noncopyable.h"

namespace rung {

class EventLoop;

/// One descriptor, the events its owner wants to hear of, and whom to call when they happen.
/// A Channel neither owns the descriptor nor reads from it: that is the business of its owner (an
/// Acceptor, a TcpConnection, your own class).
/// Thread: loop.
/// Lifetime: a member of its owner. Call remove() before the Channel or the descriptor goes; both
/// must outlive a callback that is running. Destroying a registered Channel aborts.
/// Source: epoll_ctl(2), poll(2); muduo net/Channel.h.
class Channel : noncopyable {
 public:
  /// Room for one pointer, since nearly all capture `this` and no more. A server has four of them
  /// for each connection, and a std::function takes twice as much (tools/bench --only idle).
  using EventCallback = InlineFunction<void(), sizeof(void*)>;
  using ReadEventCallback = InlineFunction<void(Timestamp receiveTime), sizeof(void*)>;

  Channel(EventLoop* loop, int fd);
  ~Channel();

  /// Called when there is something to read, or an end of file, or an error that a read tells of.
  void setReadCallback(ReadEventCallback callback) { readCallback_ = std::move(callback); }
  /// Called when there is room to write again.
  void setWriteCallback(EventCallback callback) { writeCallback_ = std::move(callback); }
  /// Called on a hang-up with nothing left to read. Without one, the read callback is.
  void setCloseCallback(EventCallback callback) { closeCallback_ = std::move(callback); }
  /// Called on an error with nothing to read. Without one, the read or write callback is.
  void setErrorCallback(EventCallback callback) { errorCallback_ = std::move(callback); }

  /// Keeps the owner alive while a callback runs: the Channel holds a weak reference, and makes it
  /// strong for the length of each handleEvent(). Without it, a callback that drops the last
  /// reference to the owner would destroy the Channel that is calling it.
  void tie(const std::shared_ptr<void>& owner);

  /// Tell the demultiplexer what to watch for. They cost no system call when nothing changes.
  /// Errors: throw std::system_error when the kernel refuses the descriptor (EPERM for a regular
  /// file, ENOSPC or ENOMEM when it watches too many); the interest is then as before.
  void enableReading() { setInterest(events_ | kReadEvent); }
  void disableReading() { setInterest(events_ & ~kReadEvent); }
  void enableWriting() { setInterest(events_ | kWriteEvent); }
  void disableWriting() { setInterest(events_ & ~kWriteEvent); }
  /// No event at all, not even EPOLLERR or EPOLLHUP, which the kernel otherwise always reports.
  void disableAll() { setInterest(kNoneEvent); }
  /// Report a change once (EPOLLET) and not as long as it lasts. epoll only.
  void enableEdgeTriggered() { setInterest(events_ | kEdgeTriggered); }
  [[nodiscard]] bool isReading() const { return (events_ & kReadEvent) != 0; }
  [[nodiscard]] bool isWriting() const { return (events_ & kWriteEvent) != 0; }
  [[nodiscard]] bool isNoneEvent() const { return (events_ & ~kEdgeTriggered) == kNoneEvent; }

  /// Ends the watch. May be called from the Channel's own callbacks, and more than once.
  void remove();

  /// Calls back for what setRevents() said. An exception from a callback ends the process.
  void handleEvent(Timestamp receiveTime) noexcept;

  [[nodiscard]] int fd() const { return fd_; }
  /// nullptr once the loop is gone.
  [[nodiscard]] EventLoop* ownerLoop() const { return loop_; }
  [[nodiscard]] std::uint32_t events() const { return events_; }
  /// "7: IN OUT": for log lines.
  [[nodiscard]] std::string eventsToString() const;
  [[nodiscard]] std::string reventsToString() const;

  // For the Poller: what happened, and its own note on where the Channel stands.
  void setRevents(std::uint32_t revents) { revents_ = revents; }
  [[nodiscard]] int index() const { return index_; }
  void setIndex(int index) { index_ = index; }
  /// The loop is being destroyed before the Channel: nothing is registered any more.
  void loopGone();

  /// The Poller knows nothing of this Channel.
  static constexpr int kNew = -1;

 private:
  // EPOLLPRI is not asked for: one urgent byte would be reported for as long as the peer likes.
  static constexpr std::uint32_t kNoneEvent = 0;
  static const std::uint32_t kReadEvent;
  static const std::uint32_t kWriteEvent;
  static const std::uint32_t kEdgeTriggered;

  void setInterest(std::uint32_t events);
  void handleHangUpOrError(std::uint32_t happened, Timestamp receiveTime);

  EventLoop* loop_;
  const int fd_;
  std::uint32_t events_ = kNoneEvent;
  std::uint32_t revents_ = 0;
  int index_ = kNew;
  bool tied_ = false;
  bool eventHandling_ = false;
  std::weak_ptr<void> tie_;
  ReadEventCallback readCallback_;
  EventCallback writeCallback_;
  EventCallback closeCallback_;
  EventCallback errorCallback_;
};

}  // namespace rung
