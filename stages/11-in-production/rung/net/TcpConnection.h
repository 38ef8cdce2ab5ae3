#pragma once

#include <any>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "rung/base/Deadline.h"
#include "rung/base/Task.h"
#include "rung/base/noncopyable.h"
#include "rung/net/Callbacks.h"
#include "rung/net/Channel.h"
#include "rung/net/CloseReason.h"
#include "rung/net/ReceivingHalf.h"
#include "rung/net/SendingHalf.h"
#include "rung/net/Socket.h"
#include "rung/net/TimerId.h"

namespace rung {

/// One connection, of TCP or of a Unix domain: reads into a Buffer and calls back, sends without
/// ever blocking, and ends in an orderly way, with any behaviour of the peer.
/// The calls of one thread take effect in their order. All bytes of a send() that returned true are
/// handed to the kernel before the FIN, unless the connection breaks or is cut; then closeReason()
/// says so, and outputBytes() how many are lost.
/// Thread: loop, where nothing else is said; the wrong thread aborts. All callbacks run on the
/// loop's thread.
/// Lifetime: shared between the server, until the connection is down, and each holder of a
/// TcpConnectionPtr. It may be kept for any time: once down it holds no descriptor, and every call
/// on it is harmless, on any thread, also when server and loop are gone.
/// Errors: none of a connection's errors throws; they end it. See closeReason(). An exception from
/// a callback ends the process with a message that names both; std::bad_alloc ends the connection.
/// A call on another thread throws std::bad_alloc if there is no memory for its task, and does
/// nothing then.
/// Source: muduo net/TcpConnection.h.
class TcpConnection : noncopyable, public std::enable_shared_from_this<TcpConnection> {
 public:
  class Hold;

  /// For TcpServer, and for tests: `socket` is connected; `profile` names the loop.
  TcpConnection(std::shared_ptr<const ConnectionProfile> profile, std::uint64_t id, Socket socket,
                const InetAddress& peer);
  ~TcpConnection();

  /// Unique among the connections of a server, in the order in which they were accepted.
  /// Thread: any.
  [[nodiscard]] std::uint64_t id() const { return id_; }
  /// "echo-127.0.0.1:40001#7", or "echo-unix:#7"; made when asked for.
  /// Thread: any.
  [[nodiscard]] std::string name() const;
  /// Thread: any.
  [[nodiscard]] const InetAddress& peerAddress() const { return peer_; }
  /// The process at the other end of a Unix-domain connection, as it was when it connected; nullopt
  /// for TCP, and once the connection is down, and its callback for that has returned.
  [[nodiscard]] std::optional<PeerCredentials> peerCredentials() const {
    assertInLoopThread("peerCredentials()");
    return socket_.peerCredentials();
  }
  /// 0.0.0.0:0 once the connection is down, and its callback for that has returned.
  [[nodiscard]] InetAddress localAddress() const;
  /// Thread: any.
  /// Lifetime: ask only from a callback, or while you know that the loop exists.
  [[nodiscard]] EventLoop* loop() const { return profile_->loop; }
  /// False before the connection is up, and after it went down.
  /// Thread: any.
  [[nodiscard]] bool connected() const;
  /// Why it went down, or will: the first cause.
  /// Thread: any.
  [[nodiscard]] CloseReason closeReason() const { return reason_.load(); }
  /// errno of that cause; 0 for an orderly end, and for what this side decided.
  /// Thread: any.
  [[nodiscard]] int error() const { return error_.load(); }

  /// Sends bytes, after all that was sent before. Bytes that the kernel does not take at once are
  /// kept, without limit: see ConnectionLimits for what to do about slow readers.
  /// A string that is moved in is not copied again; on another thread than the loop's, views are
  /// copied, and a Buffer is emptied.
  /// Thread: any. Sends of one thread stay in order.
  /// Errors: returns false, and keeps nothing, after shutdown(), close() or forceClose(), once the
  /// connection is going down, and where the write fails at once. Where it throws std::bad_alloc, a
  /// Buffer keeps its bytes, and a string that was moved in does not.
  bool send(std::string_view bytes);
  bool send(std::string&& bytes);
  bool send(const char* text) { return send(std::string_view(text)); }
  bool send(const void* bytes, std::size_t size) {
    return send(std::string_view(static_cast<const char*>(bytes), size));
  }
  bool send(Buffer& buffer);
  /// Sends the pieces one behind the other, as one send(). On the loop's thread the kernel gets up
  /// to 64 of them in one system call, so a small header leaves in one segment with its body.
  bool send(std::span<const std::string_view> pieces);
  /// Sends bytes [offset, offset + length) of a regular file, after all that was sent before; to
  /// its end if you do not say otherwise. The kernel copies them from its page cache: a peer that
  /// reads slowly holds the descriptor and no memory. For the water marks, and in outputBytes(), a
  /// file that waits weighs 64 KiB more than its bytes. What is not in the page cache is read from
  /// the disk meanwhile, and the loop waits for that. A file that is changed while it waits is sent
  /// as it is then.
  /// Thread: any. In order with the thread's other sends.
  /// Lifetime: the descriptor is closed when the last byte is sent, or none can be any more.
  /// Errors: as send(). Throws std::invalid_argument if the file cannot be read, is not a regular
  /// one or does not have these bytes, and std::system_error if the descriptor is none. A file that
  /// becomes shorter meanwhile ends the connection with CloseReason::writeFailed and ENODATA. A
  /// connection that ends, in whatever way, while a file waits is reset, so that the part does not
  /// pass for the whole; not over a Unix-domain socket, whose kernel side has no reset.
  bool sendFile(UniqueFd file, std::uint64_t offset = 0,
                std::uint64_t length = FileRange::kToItsEnd);

  /// No more sends; once all that was sent is out, the peer is told (FIN). Reading goes on until
  /// the peer closes too, and messages are still called back: close() is for a peer whose messages
  /// are not wanted any more, and which may never close.
  /// Thread: any.
  void shutdown();
  /// No more sends, and no more messages: all that was sent goes out, then the FIN; input is thrown
  /// away. If the peer has not closed after `linger`, the owner of the connection, a TcpServer,
  /// cuts it. If there are several calls, the one that ends first counts.
  /// Thread: any.
  template <class Rep, class Period>
  void close(std::chrono::duration<Rep, Period> linger) {
    closeWithin(saturate<std::chrono::steady_clock::duration>(linger));
  }
  /// Ends the connection in a task, behind what the loop is doing, also with output unsent. There
  /// are no more sends.
  /// Thread: any.
  void forceClose();
  /// As forceClose(), with a reset in place of the FIN: the peer learns that the stream broke off.
  /// The kernel throws away what it has not sent, and keeps no TIME_WAIT. A Unix-domain socket has
  /// no reset: there the peer sees the end of the stream, unless bytes of its own are unread here.
  /// Thread: any.
  void reset();

  /// Keeps the sending side open for work that goes on elsewhere: see Hold.
  /// Thread: any. To be sure that it comes in time, take it in the message callback.
  [[nodiscard]] Hold hold();

  /// Stops and resumes reading, so that the peer is held back by TCP itself. A reset is noticed
  /// meanwhile, and so is the end of both directions if no byte is unread; else that comes after
  /// startRead(). See MessageCallback for what was left unread.
  /// Thread: any.
  void stopRead();
  void startRead();
  /// Whether bytes are wanted at the moment: not stopped, not held back by a slow reader.
  [[nodiscard]] bool isReading() const;

  /// Errors: returns false, with errno, once the connection is down, and its callback for that has
  /// returned.
  bool setTcpNoDelay(bool on);

  /// The descriptor, for an option or a question that has no name here. Do not close it, read from
  /// it or write to it.
  /// Lifetime: of the connection; -1 once it is down, and its callback for that has returned.
  [[nodiscard]] int fd() const {
    assertInLoopThread("fd()");
    return socket_.fd();
  }

  /// Bytes of accepted sends that the kernel does not have yet, those that are on their way from
  /// other threads included, and 64 KiB for each file that waits. Once the connection is down: how
  /// many were lost.
  /// Thread: any.
  [[nodiscard]] std::size_t outputBytes() const { return sending_.unsentBytes(); }
  /// The bytes that the message callback has left unread; in that callback, its Buffer.
  /// Lifetime: of the reference, until the next read. Ask again each time.
  [[nodiscard]] Buffer& inputBuffer();

  /// Timers of this connection: as those of EventLoop, but they end with it. A task does not run
  /// once the connection is down. At that moment, and not when the timer would have run, its
  /// captures are destroyed; so it may hold the TcpConnectionPtr. A protocol with a timeout of an
  /// hour keeps nothing of connections that are over.
  /// Lifetime: may be called from callbacks, the task itself included.
  /// Errors: a connection that is not up gets no timer, and an id that names none. Exceptions of
  /// the task are as those of the connection's callbacks. Aborts if `task` is empty. runEvery()
  /// throws std::invalid_argument unless `interval` is at least a nanosecond.
  template <class Rep, class Period>
  TimerId runAfter(std::chrono::duration<Rep, Period> delay, Task task) {
    return addTimer(saturate<std::chrono::steady_clock::duration>(delay), false, std::move(task));
  }
  template <class Rep, class Period>
  TimerId runEvery(std::chrono::duration<Rep, Period> interval, Task task) {
    return addTimer(saturate<std::chrono::steady_clock::duration>(interval), true, std::move(task));
  }
  /// Ends a timer of this connection.
  /// Errors: returns false, and does nothing, if it has none of this id.
  bool cancel(TimerId id);

  /// Any value that you want to keep with the connection.
  void setContext(std::any value) { context() = std::move(value); }
  [[nodiscard]] std::any& context();

  /// Callbacks and limits of this connection alone, in place of those of its server. A set may be
  /// shared by many connections. To change one callback, copy callbacks(), change that, and set it.
  /// nullptr stands for the server's.
  /// Lifetime: may be called from callbacks. Does nothing once the connection is down.
  void setCallbacks(std::shared_ptr<const ConnectionCallbacks> callbacks);
  [[nodiscard]] const ConnectionCallbacks& callbacks() const {
    assertInLoopThread("callbacks()");
    return current();
  }

  /// For the owner. Established: starts reading and calls back "up"; if the kernel refuses to watch
  /// the socket, the connection closes instead, and the log tells of the first one. Drain: the
  /// drain callback, or the end of the sending side once nothing waits and nothing is held.
  /// Destroyed: ends it if it has not ended yet.
  void connectEstablished();
  void drain();
  void connectDestroyed();
  /// For the owner: calls back, if the connection is up.
  void visit(const ConnectionCallback& callback);
  /// For the owner: as forceClose(), for another reason.
  void cut(CloseReason reason);
  /// For the owner: ConnectionProfile::ticks when bytes moved last, whether it is held, and how
  /// many bytes the kernel has that the peer has not acknowledged: tcp(7), SIOCOUTQ.
  [[nodiscard]] std::uint32_t movedAt() const { return movedAt_; }
  [[nodiscard]] bool isHeld() const { return sending_.held(); }
  [[nodiscard]] int unacknowledgedBytes() const;
  /// The owner's note on where it keeps this connection.
  [[nodiscard]] std::uint32_t index() const { return index_; }
  void setIndex(std::uint32_t index) { index_ = index & kLargestIndex; }

 private:
  static constexpr std::uint32_t kLargestIndex = (1U << 24) - 1;
  enum class State : std::uint8_t { connecting, connected, disconnecting, disconnected };
  /// Whether user code may be waiting for us to return: then the end comes in a task.
  enum class Caller { loop, user };

  struct Timer {
    TimerId id;
    bool repeats;
    Task task;  // empty while it runs
  };

  /// Data that few connections have.
  struct Extras {
    std::shared_ptr<const ConnectionCallbacks> callbacks;
    std::any context;
    std::list<Timer> timers{};
    Timer* running = nullptr;  // the one of `timers` whose task runs; nullptr once it is cancelled
  };

  // Ends.
  void note(CloseReason reason, int error);
  void end();
  void endSoon(CloseReason reason, int error);
  void giveUp();
  void endOutput(CloseReason reason, int error);
  /// Changes the interest of the Channel; false if the kernel refuses, which ends the connection.
  bool watch(void (Channel::*change)());
  /// Of what nobody needs once it is down.
  void letGo() {
    if (extras_ != nullptr) endTimers();
    dropOutput();
    socket_.close();
  }
  void dropOutput() {
    // A FIN would let a part of a file pass for the whole.
    if (sending_.drop()) (void)socket_.setResetOnClose();
  }
  void stopSending();
  void closeWithin(std::chrono::steady_clock::duration linger);
  void closeInLoop(std::chrono::steady_clock::duration linger);
  [[nodiscard]] bool owes() const;
  void advance(Caller caller);

  // In TcpConnectionReading.cc.
  void handleRead(Timestamp receiveTime);
  IoResult readAndTell(Timestamp receiveTime);
  IoResult discard();
  void readFailed(int error);
  void tellMessage(Timestamp receiveTime);
  [[nodiscard]] bool mayAnswer() const;
  void offerWhatIsLeft();
  void offerSoon();
  void checkInputLimit();
  void handleEndOfStream();
  void handleHangUp();
  void handleError();
  void updateReading();

  // In TcpConnectionTimers.cc.
  TimerId addTimer(std::chrono::steady_clock::duration delay, bool repeats, Task&& task);
  void runTimer(std::list<Timer>::iterator timer);
  void endTimers();

  // In TcpConnectionSending.cc.
  template <class Bytes>
  bool sendHere(Bytes&& bytes);
  template <class Bytes>
  bool sendFromElsewhere(Bytes bytes);
  template <class Bytes>
  void sendPromised(Bytes&& bytes);
  template <class Bytes>
  bool write(Bytes&& bytes, std::size_t promised);
  template <class Bytes>
  bool keep(Bytes&& bytes, std::size_t taken, std::size_t promised);
  class Refused;
  void takeBack(std::size_t bytes);
  void handleWrite();
  void writeFailed(int error);
  void backBelowHighWater();
  void tellWaterMark(const char* which, WaterMarkCallback ConnectionCallbacks::*callback);
  void tellWriteComplete();
  void releaseHold() noexcept;

  // For all of these: templates and inline ones are in TcpConnectionCalls.h.
  /// Runs `work(*this)` on the loop; not at all if the loop is gone.
  template <class Work>
  void post(Work work);
  /// Calls one of the user's callbacks, if it is set. `which` names it.
  template <class Callback, class... Arguments>
  void call(const char* which, const Callback& callback, Arguments&&... arguments);
  void callbackThrew(const char* which);
  [[nodiscard]] bool inLoopThread() const;
  void assertInLoopThread(const char* what) const;
  [[nodiscard]] const ConnectionCallbacks& current() const {
    return extras_ == nullptr ? profile_->callbacks : *extras_->callbacks;
  }
  Extras& extras();
  void moved() { movedAt_ = profile_->ticks; }
  void received(std::size_t bytes) {
    profile_->counters.bytesIn.add(bytes);
    moved();
  }
  void sent(std::size_t bytes) {
    profile_->counters.bytesOut.add(bytes);
    moved();
  }

  // In an order, and with attributes, that leave no gap: an idle connection stays below 300 bytes
  // (tools/bench --only idle).
  const std::shared_ptr<const ConnectionProfile> profile_;  // other threads look at this only
  const std::uint64_t id_;
  Socket socket_;
  const InetAddress peer_;
  [[no_unique_address]] SendingHalf sending_;
  std::atomic<std::int16_t> error_ = 0;  // room enough for errno
  [[no_unique_address]] ReceivingHalf receiving_;
  std::uint32_t movedAt_ = 0;
  std::uint32_t index_ : 24 = 0;
  bool endWhenFree_ : 1 = false;  // once nothing is owed, no more is sent
  std::atomic<State> state_ = State::connecting;
  std::atomic<CloseReason> reason_ = CloseReason::none;
  Channel channel_;
  std::unique_ptr<Extras> extras_;
};

/// While one lives, neither the peer's FIN, nor idle time, nor TcpServer::stop() before its
/// deadline ends the sending side of the connection: for an answer that is computed elsewhere.
/// Idle time counts anew from its end.
///
///     pool.run([hold = connection->hold(), question] { hold->send(answer(question)); });
///
/// It does not prevent an end by a call: shutdown(), close(), forceClose(). It cannot keep a peer
/// that is gone, and does nothing then.
/// Thread: any, one at a time.
/// Lifetime: move-only; shares the connection. It ends when it is destroyed, or before that with
/// release(), after all that its thread has sent.
/// Errors: never fails. Without memory to tell the loop of the end, the connection finds itself
/// free at its next event, or when it is idle.
class [[nodiscard]] TcpConnection::Hold {
 public:
  /// Holds nothing.
  Hold() = default;
  Hold(Hold&&) noexcept = default;
  Hold& operator=(Hold&& other) noexcept {
    if (this != &other) {
      release();
      connection_ = std::move(other.connection_);
    }
    return *this;
  }
  ~Hold() { release(); }

  void release() noexcept;
  /// Whether it holds a connection.
  [[nodiscard]] explicit operator bool() const { return connection_ != nullptr; }
  /// The connection; only while it holds one.
  [[nodiscard]] const TcpConnectionPtr& connection() const { return connection_; }
  TcpConnection* operator->() const { return connection_.get(); }

 private:
  friend class TcpConnection;
  explicit Hold(TcpConnectionPtr connection) : connection_(std::move(connection)) {}

  TcpConnectionPtr connection_;
};

}  // namespace rung
