#include "file-transfer/SendfileServer.h"

#include <sys/sendfile.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

#include "rung/base/Logging.h"
#include "rung/net/Channel.h"

namespace transfer {

/// One client: its socket and how far it is.
class SendfileServer::Client : rung::noncopyable, public std::enable_shared_from_this<Client> {
 public:
  Client(SendfileServer& server, rung::EventLoop* loop, rung::Socket socket)
      : server_(server), loop_(loop), socket_(std::move(socket)), channel_(loop, socket_.fd()) {}
  ~Client() { channel_.remove(); }

  void start() {
    channel_.tie(shared_from_this());
    channel_.setWriteCallback([this] { handleWrite(); });
    channel_.setReadCallback([this](rung::Timestamp) { handleRead(); });
    channel_.setErrorCallback([this] { finish(); });
    channel_.setCloseCallback([this] { finish(); });
    try {
      channel_.enableWriting();
    } catch (const std::system_error&) {
      return finish();  // no room in epoll
    }
    watchProgress();
  }

 private:
  static constexpr std::size_t kTurnBytes = 1 << 20;  // then it is the next one's turn

  void handleWrite() {
    const std::size_t left = server_.source_.sizeBytes() - static_cast<std::size_t>(offset_);
    if (left == 0) return waitForEnd();
    const ssize_t n =
        ::sendfile(socket_.fd(), server_.source_.fd(), &offset_, std::min(left, kTurnBytes));
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n == 0) LOG_ERROR << "a client is cut: the file has become shorter";
    if (n <= 0) finish();
  }

  /// All is with the kernel. Closing now, with bytes from the client unread, would reset the
  /// connection and could cost it the end of the file; so the end is the client's.
  void waitForEnd() {
    socket_.shutdownWrite();
    channel_.disableWriting();
    channel_.enableReading();
  }

  void handleRead() {
    char ignored[4096];
    const ssize_t n = ::recv(socket_.fd(), ignored, sizeof ignored, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) finish();
  }

  void watchProgress() {
    loop_->runAfter(server_.stall_, [weak = weak_from_this(), before = offset_] {
      const auto self = weak.lock();
      if (self == nullptr) return;
      if (self->offset_ == before) return self->finish();
      self->watchProgress();
    });
  }

  void finish() {
    channel_.remove();
    server_.remove(shared_from_this());
  }

  SendfileServer& server_;
  rung::EventLoop* const loop_;
  rung::Socket socket_;
  rung::Channel channel_;
  off_t offset_ = 0;
};

SendfileServer::SendfileServer(rung::EventLoop* loop, const rung::InetAddress& address, int threads,
                               std::chrono::seconds stall, const Source& source)
    : loop_(loop),
      stall_(stall),
      source_(source),
      acceptor_(loop, address),
      threads_(std::make_unique<rung::EventLoopThreadPool>(loop, "sendfile")) {
  threads_->setThreadNum(threads);
}

SendfileServer::~SendfileServer() {
  threads_.reset();  // no loop but the base one is left, and that one does not run: no callback
  for (auto& [loop, clients] : clients_)
    clients.clear();
}

void SendfileServer::start() {
  threads_->start();
  for (rung::EventLoop* loop : threads_->getAllLoops())
    clients_[loop];
  acceptor_.setNewConnectionCallback(
      [this](rung::Socket socket, const rung::InetAddress&) { add(std::move(socket)); });
  acceptor_.listen();
}

void SendfileServer::add(rung::Socket socket) {
  ++count_;
  rung::EventLoop* loop = threads_->getNextLoop();
  const auto client = std::make_shared<Client>(*this, loop, std::move(socket));
  loop->runInLoop([this, loop, client] {
    clients_.at(loop).insert(client);
    client->start();
  });
}

void SendfileServer::remove(const std::shared_ptr<Client>& client) {
  if (clients_.at(rung::EventLoop::ofCurrentThread()).erase(client) == 0) return;
  loop_->queueInLoop([this] {
    if (--count_ == 0 && whenEmpty_) std::exchange(whenEmpty_, {})();
  });
}

void SendfileServer::stop(std::chrono::seconds deadline, std::function<void()> done) {
  acceptor_.close();
  if (count_ == 0) return done();
  whenEmpty_ = done;
  loop_->runAfter(deadline, std::move(done));
}

}  // namespace transfer
