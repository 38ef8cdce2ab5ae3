#pragma once

#include <any>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "rung/base/noncopyable.h"
#include "rung/net/Buffer.h"
#include "rung/net/Callbacks.h"
#include "rung/net/Channel.h"
#include "rung/net/OutputBuffer.h"
#include "rung/net/Socket.h"

namespace rung {

/// One TCP connection: reads into a Buffer and calls back, sends without ever blocking, and ends
/// when the peer closes.
/// Thread: loop, where nothing else is said; the wrong thread aborts. All callbacks run on the
/// loop's thread.
/// Lifetime: shared between the server, until the connection is down, and each holder of a
/// TcpConnectionPtr. It may be kept for any time: once down it holds no descriptor, and every call
/// on it is harmless, on any thread, also when server and loop are gone.
/// Errors: none of a connection's errors throws; they end it. See error(). An exception from a
/// callback ends the process with a message that names both; std::bad_alloc ends the connection.
/// A call on another thread throws std::bad_alloc if there is no memory for its task, and does
/// nothing then.
/// Source: muduo net/TcpConnection.h.
class TcpConnection : noncopyable, public std::enable_shared_from_this<TcpConnection> {
 public:
  /// For TcpServer, and for tests: `socket` is connected; `profile` names the loop.
  TcpConnection(std::shared_ptr<const ConnectionProfile> profile, std::uint64_t id, Socket socket,
                const InetAddress& peer);
  ~TcpConnection();

  /// Unique among the connections of a server, in the order in which they were accepted.
  /// Thread: any.
  [[nodiscard]] std::uint64_t id() const { return id_; }
  /// "echo-127.0.0.1:40001#7"; made when asked for.
  /// Thread: any.
  [[nodiscard]] std::string name() const;
  /// Thread: any.
  [[nodiscard]] const InetAddress& peerAddress() const { return peer_; }
  /// 0.0.0.0:0 once the connection is down, and its callback for that has returned.
  [[nodiscard]] InetAddress localAddress() const;
  /// Thread: any.
  /// Lifetime: ask only from a callback, or while you know that the loop exists.
  [[nodiscard]] EventLoop* loop() const { return profile_->loop; }
  /// False before the connection is up, and after it went down.
  /// Thread: any.
  [[nodiscard]] bool connected() const;
  /// errno of the cause of its end; 0 for an orderly end, and for what this side decided.
  /// Thread: any.
  [[nodiscard]] int error() const { return error_.load(); }

  /// Sends bytes, after all that was sent before. Bytes that the kernel does not take at once are
  /// kept, without limit.
  /// A string that is moved in is not copied again; on another thread than the loop's, views are
  /// copied, and a Buffer is emptied.
  /// Thread: any. Sends of one thread stay in order.
  /// Errors: returns false, and keeps nothing, after shutdown() or forceClose(), once the
  /// connection is going down, where the write fails at once, and where there is no memory for the
  /// rest, of which a part may be out.
  bool send(std::string_view bytes);
  bool send(std::string&& bytes);
  bool send(const char* text) { return send(std::string_view(text)); }
  bool send(const void* bytes, std::size_t size) {
    return send(std::string_view(static_cast<const char*>(bytes), size));
  }
  bool send(Buffer& buffer);

  /// No more sends; once all that was sent is out, the peer is told (FIN). Reading goes on until
  /// the peer closes too, and messages are still called back.
  /// Thread: any.
  void shutdown();
  /// Ends the connection in a task, behind what the loop is doing, also with output unsent. There
  /// are no more sends.
  /// Thread: any.
  void forceClose();

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

  /// Bytes that wait in the loop for the kernel, without those on their way from other threads.
  /// Once the connection is down: how many of them were lost.
  [[nodiscard]] std::size_t outputBytes() const {
    assertInLoopThread("outputBytes()");
    return output_.bytes();
  }
  /// The bytes that the message callback has left unread; in that callback, its Buffer.
  [[nodiscard]] Buffer& inputBuffer() {
    assertInLoopThread("inputBuffer()");
    return input_;
  }

  /// Any value that you want to keep with the connection.
  void setContext(std::any value) { context() = std::move(value); }
  [[nodiscard]] std::any& context() {
    assertInLoopThread("context()");
    return context_;
  }

  /// For the owner. Established: starts reading and calls back "up"; if the kernel refuses to watch
  /// the socket, the connection closes instead, and the log tells of the first one. Drain: the
  /// server stops: what waits goes out, and no more sends are taken. Destroyed: ends it if it has
  /// not ended yet.
  void connectEstablished();
  void drain() { shutdown(); }
  void connectDestroyed();
  /// For the owner: ConnectionProfile::ticks when bytes moved last, and how many bytes the kernel
  /// has that the peer has not acknowledged: tcp(7), SIOCOUTQ.
  [[nodiscard]] std::uint32_t movedAt() const { return movedAt_; }
  [[nodiscard]] int unacknowledgedBytes() const;
  /// The owner's note on where it keeps this connection.
  [[nodiscard]] std::uint32_t index() const { return index_; }
  void setIndex(std::uint32_t index) { index_ = index; }

 private:
  enum class State : std::uint8_t { connecting, connected, disconnecting, disconnected };

  void end(int error);
  void endSoon(int error);
  void stopSending();
  void finish();

  void handleRead(Timestamp receiveTime);
  void handleWrite();
  template <class Bytes>
  bool sendInLoop(Bytes&& bytes);
  bool sendFromElsewhere(std::string&& bytes);

  /// Runs `work(*this)` on the loop; not at all if the loop is gone.
  template <class Work>
  void post(Work work);
  /// Calls one of the user's callbacks, if it is set. `which` names it.
  template <class Callback, class... Arguments>
  void call(const char* which, const Callback& callback, Arguments&&... arguments);
  /// Changes the interest of the Channel; false if the kernel refuses, which ends the connection.
  bool watch(void (Channel::*change)());
  [[nodiscard]] bool inLoopThread() const;
  void assertInLoopThread(const char* what) const;
  void moved() { movedAt_ = profile_->ticks; }

  const std::shared_ptr<const ConnectionProfile> profile_;  // other threads look at this only
  const std::uint64_t id_;
  Socket socket_;
  const InetAddress peer_;
  std::atomic<State> state_ = State::connecting;
  std::atomic<int> error_ = 0;
  bool finWanted_ = false;  // once all is sent
  bool finSent_ = false;
  std::uint32_t movedAt_ = 0;
  std::uint32_t index_ = 0;
  Channel channel_;
  Buffer input_;
  OutputBuffer output_;
  std::any context_;
};

}  // namespace rung
