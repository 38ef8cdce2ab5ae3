#pragma once

#include <any>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "rung/base/noncopyable.h"
#include "rung/net/Buffer.h"
#include "rung/net/Callbacks.h"
#include "rung/net/Channel.h"
#include "rung/net/OutputBuffer.h"
#include "rung/net/Socket.h"

namespace rung {

/// One TCP connection: reads into a Buffer and calls back, sends without ever blocking, and ends in
/// an orderly way whatever the peer does.
/// Thread: loop, where nothing else is said. All callbacks run on the loop's thread.
/// Lifetime: shared between the server, until the connection is down, and whoever keeps a
/// TcpConnectionPtr. It may be kept as long as you like: once down it holds no descriptor, and
/// every call on it is harmless, also when server and loop are gone. Errors: none of a connection's
/// errors throws; they end it. See error(). Source: muduo net/TcpConnection.h.
class TcpConnection : noncopyable, public std::enable_shared_from_this<TcpConnection> {
 public:
  /// For TcpServer, and for tests: `socket` is connected; `profile` names the loop.
  TcpConnection(std::shared_ptr<const ConnectionProfile> profile, std::uint64_t id, Socket socket,
                const InetAddress& peer);
  ~TcpConnection();

  /// Unique among the connections of a server, in the order in which they were accepted.
  /// Thread: any.
  [[nodiscard]] std::uint64_t id() const { return id_; }
  /// "echo-127.0.0.1:40001#7"; made when asked for. Thread: any.
  [[nodiscard]] std::string name() const;
  /// Thread: any.
  [[nodiscard]] const InetAddress& peerAddress() const { return peer_; }
  /// 0.0.0.0:0 once the connection is down.
  [[nodiscard]] InetAddress localAddress() const { return socket_.localAddress(); }
  /// Lifetime: ask only from a callback, or while you know that the loop exists. Thread: any.
  [[nodiscard]] EventLoop* loop() const { return sharedProfile_->loop; }
  /// False before the connection is up, and after it went down. Thread: any.
  [[nodiscard]] bool connected() const;
  /// Why it went down: errno of the call that failed, 0 for an orderly end.
  [[nodiscard]] int error() const { return error_; }

  /// Sends bytes, after all that was sent before. What the kernel does not take at once is kept,
  /// without limit: see ConnectionLimits for what to do about slow readers.
  /// A string that is moved in is not copied again; on another thread than the loop's, views are
  /// copied, and a Buffer is emptied.
  /// Returns false, and sends nothing, once shutdown() was called or the connection is going down.
  /// Thread: any. Sends of one thread stay in order.
  bool send(std::string_view bytes);
  bool send(std::string&& bytes);
  bool send(const char* text) { return send(std::string_view(text)); }
  bool send(const void* bytes, std::size_t size) {
    return send(std::string_view(static_cast<const char*>(bytes), size));
  }
  bool send(Buffer& buffer);

  /// No more sends; once all that was sent is out, the peer is told (FIN). Reading goes on until
  /// the peer closes too: a peer that never does keeps the connection, unless forceClose() ends it.
  /// Thread: any.
  void shutdown();
  /// Ends the connection in the loop's next round, whatever waits to be sent.
  /// Thread: any.
  void forceClose();

  /// Stops and resumes reading, so that the peer is held back by TCP itself.
  /// Thread: any.
  void stopRead();
  void startRead();
  /// Whether bytes are wanted at the moment: not stopped, not held back by a slow reader.
  [[nodiscard]] bool isReading() const { return channel_.isReading(); }

  /// Returns false, with errno, once the connection is down.
  bool setTcpNoDelay(bool on) { return socket_.setTcpNoDelay(on); }

  /// Bytes that wait to be sent.
  [[nodiscard]] std::size_t outputBytes() const { return output_.bytes(); }
  /// What the message callback has left unread; in that callback, its Buffer.
  /// Lifetime: of the reference, until the next read. Ask again each time.
  [[nodiscard]] Buffer& inputBuffer();

  /// Whatever you want to keep with the connection.
  void setContext(std::any value) { context() = std::move(value); }
  [[nodiscard]] std::any& context();

  /// For this connection alone; a server sets them for all of its own. May be called from
  /// callbacks.
  void setConnectionCallback(ConnectionCallback callback);
  void setMessageCallback(MessageCallback callback);
  void setWriteCompleteCallback(WriteCompleteCallback callback);
  void setHighWaterMarkCallback(WaterMarkCallback callback);
  void setLowWaterMarkCallback(WaterMarkCallback callback);
  void setHalfCloseCallback(HalfCloseCallback callback);
  void setLimits(ConnectionLimits limits);

  /// For the owner. Established: starts reading and calls back "up"; if the kernel refuses to watch
  /// the socket, the connection closes instead. Destroyed: ends it if it has not ended yet.
  void connectEstablished();
  void connectDestroyed();
  /// The owner's note on where it keeps this connection.
  [[nodiscard]] std::uint32_t index() const { return index_; }
  void setIndex(std::uint32_t index) { index_ = index; }

 private:
  enum class State { connecting, connected, disconnecting, disconnected };

  void handleRead(Timestamp receiveTime);
  IoResult readAndTell(Timestamp receiveTime);
  void handleWrite();
  void handleHangUp();
  void handleError();
  void handleEndOfStream();
  void checkInputLimit();
  void handleClose();

  template <class Bytes>
  bool sendHere(Bytes&& bytes);
  void sendInLoop(std::string&& bytes);
  template <class Bytes>
  void write(Bytes&& bytes);
  void writeFailed(int error);
  void endOutput(int error);
  void outputGrew();
  void tellWaterMark(WaterMarkCallback ConnectionProfile::*which);
  void outputDrained();
  void shutdownInLoop();
  void closeSoon();
  void updateReading();
  /// Changes the interest of the Channel; false if the kernel refuses, which ends the connection.
  bool watch(void (Channel::*change)());
  template <class Change>
  void changeProfile(Change change);
  /// Runs `task(*this)` on the loop; not at all if the loop is gone.
  template <class Work>
  void post(Work work);

  [[nodiscard]] bool inLoopThread() const;
  [[nodiscard]] const ConnectionProfile& profile() const {
    return ownProfile_ == nullptr ? *sharedProfile_ : *ownProfile_;
  }

  const std::shared_ptr<const ConnectionProfile> sharedProfile_;  // other threads look at this only
  std::unique_ptr<const ConnectionProfile> ownProfile_;  // for a connection with its own callbacks
  const std::uint64_t id_;
  Socket socket_;
  const InetAddress peer_;
  std::atomic<State> state_{State::connecting};
  int error_ = 0;
  bool readWanted_ = true;  // the user's wish
  bool aboveHighWater_ = false;
  bool endOfStream_ = false;  // the peer will send no more
  bool writeClosed_ = false;  // our FIN is out, or the peer will read no more
  std::uint32_t index_ = 0;
  Channel channel_;
  // An idle connection owns none of these three (tools/bench --only idle).
  std::unique_ptr<Buffer> input_;  // nullptr: nothing was left unread
  OutputBuffer output_;
  std::unique_ptr<std::any> context_;
};

}  // namespace rung
