#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>

#include "rung/base/InlineFunction.h"
#include "rung/base/Timestamp.h"
#include "rung/base/noncopyable.h"

namespace rung {

class EventLoop;

/// One descriptor, the events that its owner wants to hear of, and the callbacks for them.
/// A Channel neither owns the descriptor nor reads from it: its owner does both (an Acceptor, a
/// TcpConnection, your own class).
/// Thread: loop.
/// Lifetime: a member of its owner. Call remove() before you destroy the Channel or close the
/// descriptor; both must outlive a callback that is running. Destroying a registered Channel
/// aborts.
/// Source: epoll_ctl(2), poll(2); muduo net/Channel.h.
class Channel : noncopyable {
 public:
  /// Room for one pointer, since nearly all capture `this` and no more. A server has four of them
  /// for each connection, and a std::function takes twice as much (tools/bench --only idle).
  using EventCallback = InlineFunction<void(), sizeof(void*)>;
  using ReadEventCallback = InlineFunction<void(Timestamp receiveTime), sizeof(void*)>;

  Channel(EventLoop* loop, int fd);
  ~Channel();

  // A callback may set callbacks, its own too: they take effect when it has returned.
  /// Called when there is something to read, or an end of file, or an error that a read reports.
  void setReadCallback(ReadEventCallback callback) { set(readCallback_, std::move(callback)); }
  /// Called when there is room to write again.
  void setWriteCallback(EventCallback callback) { set(writeCallback_, std::move(callback)); }
  /// Called on a hang-up with nothing left to read. If it is not set, the read callback is called.
  /// Also called, if the Channel is tied, when its loop is destroyed first: ownerLoop() is nullptr
  /// then.
  void setCloseCallback(EventCallback callback) { set(closeCallback_, std::move(callback)); }
  /// Called on an error with nothing to read. If it is not set, the read or write callback is
  /// called.
  void setErrorCallback(EventCallback callback) { set(errorCallback_, std::move(callback)); }

  /// Keeps the owner alive while a callback runs: the Channel holds a weak reference, and makes it
  /// strong for the length of each handleEvent(). Without it, a callback that drops the last
  /// reference to the owner would destroy the Channel that is calling it.
  void tie(const std::shared_ptr<void>& owner);

  /// Change the events that the demultiplexer watches for. No system call if nothing changes. An
  /// event that is switched off calls no callback, also if the kernel has reported it already.
  /// Errors: throw std::system_error when the kernel refuses the descriptor (EPERM for a regular
  /// file, ENOSPC or ENOMEM when it watches too many); the interest is then as before.
  void enableReading() { setInterest(events_ | kReadEvent); }
  void disableReading() { setInterest(events_ & ~kReadEvent); }
  /// As disableReading(), but errors and hang-ups are reported as long as they last, although
  /// nothing else may be wanted.
  void pauseReading() { setInterest((events_ & ~kReadEvent) | kErrorEvent); }
  void enableWriting() { setInterest(events_ | kWriteEvent); }
  void disableWriting() { setInterest(events_ & ~kWriteEvent); }
  /// No event at all, not even EPOLLERR or EPOLLHUP, which the kernel otherwise always reports.
  void disableAll() { setInterest(kNoneEvent); }
  /// Report a change once (EPOLLET) and not as long as it lasts. epoll only.
  void enableEdgeTriggered() { setInterest(events_ | kEdgeTriggered); }
  [[nodiscard]] bool isReading() const { return (events_ & kReadEvent) != 0; }
  [[nodiscard]] bool isWriting() const { return (events_ & kWriteEvent) != 0; }
  /// Whether the event that is being handled, or was last, came with an error.
  [[nodiscard]] bool hadError() const { return (revents_ & kErrorEvent) != 0; }
  [[nodiscard]] bool isNoneEvent() const { return (events_ & ~kEdgeTriggered) == kNoneEvent; }

  /// Ends the watch. May be called from the Channel's own callbacks, and more than once.
  void remove();

  /// Runs the callbacks for the events that setRevents() has set.
  /// Lifetime: not to be called from one of them; a callback may let another Channel handle events.
  /// Errors: an exception from a callback ends the process. The message names the callback, the
  /// descriptor and the exception; base/Guarded.h says how to see where it was thrown.
  void handleEvent(Timestamp receiveTime) noexcept;

  [[nodiscard]] int fd() const { return fd_; }
  /// nullptr once the loop is gone.
  [[nodiscard]] EventLoop* ownerLoop() const { return loop_; }
  [[nodiscard]] std::uint32_t events() const { return events_; }
  /// "7: IN OUT": for log lines.
  [[nodiscard]] std::string eventsToString() const;
  [[nodiscard]] std::string reventsToString() const;

  // For the Poller: what happened, and its own note on where the Channel stands.
  [[nodiscard]] std::uint32_t revents() const { return revents_; }
  void setRevents(std::uint32_t revents) { revents_ = static_cast<std::uint16_t>(revents); }
  /// A reference that keeps the owner alive, if the Channel is tied and its owner exists.
  [[nodiscard]] std::shared_ptr<void> owner() const { return tie_.lock(); }
  [[nodiscard]] int index() const { return index_; }
  void setIndex(int index) { index_ = index; }
  /// Whether the kernel knows of it: epoll would report ERR and HUP also for no interest at all.
  [[nodiscard]] bool watched() const { return watched_; }
  void setWatched(bool watched) { watched_ = watched; }
  /// The loop is being destroyed before the Channel: nothing is registered any more.
  void loopGone();
  /// Calls the close callback, since the loop is gone. The caller keeps the owner alive.
  void tellLoopGone() noexcept;

  /// The Poller knows nothing of this Channel.
  static constexpr int kNew = -1;

 private:
  // EPOLLPRI is not asked for: one urgent byte would be reported for as long as the peer likes.
  static constexpr std::uint32_t kNoneEvent = 0;
  static const std::uint32_t kReadEvent;
  static const std::uint32_t kWriteEvent;
  static const std::uint32_t kEdgeTriggered;
  static const std::uint32_t kErrorEvent;  // always reported; asking for it makes an interest

  struct Change;

  /// Sets it at once, or after the running callback has returned: that may be the one in `place`.
  template <class Callback>
  void set(Callback& place, std::type_identity_t<Callback> callback) {
    if (!eventHandling_) {
      place = std::move(callback);
    } else {
      changeLater([&place, to = std::move(callback)]() mutable { place = std::move(to); });
    }
  }
  void changeLater(EventCallback change);
  void makeChanges();
  template <class Callback, class... Arguments>
  void call(const char* kind, Callback& callback, Arguments... arguments);
  void setInterest(std::uint32_t events);
  void handleHangUpOrError(std::uint32_t happened, Timestamp receiveTime);

  static thread_local Change* changes;

  EventLoop* loop_;
  const int fd_;
  std::uint32_t events_ = kNoneEvent;
  int index_ = kNew;
  std::uint16_t revents_ = 0;  // EPOLLET, the one bit above, is never reported
  bool tied_ : 1 = false;
  bool eventHandling_ : 1 = false;
  bool watched_ : 1 = false;
  bool changed_ : 1 = false;  // there are changes of this one
  std::weak_ptr<void> tie_;
  ReadEventCallback readCallback_;
  EventCallback writeCallback_;
  EventCallback closeCallback_;
  EventCallback errorCallback_;
};

}  // namespace rung
