#include "rung/net/TcpServer.h"

#include <algorithm>
#include <atomic>
#include <stdexcept>
#include <utility>
#include <vector>

#include "rung/base/CountDownLatch.h"
#include "rung/base/Logging.h"
#include "rung/net/ConnectionSet.h"
#include "rung/net/EventLoop.h"
#include "rung/net/Mailbox.h"
#include "rung/net/TcpConnection.h"

namespace rung {

/// The server itself. All of it belongs to the base loop's thread; other threads reach it through
/// the loop's Mailbox, and never own it.
class TcpServer::Core : noncopyable, public std::enable_shared_from_this<Core> {
 public:
  Core(EventLoop* loop, const InetAddress& address, const std::string& name,
       Acceptor::Options options)
      : mailbox(loop->mailbox()),
        threadPool(std::make_unique<EventLoopThreadPool>(loop, name)),
        listenAddress_(address),
        loop_(loop),
        acceptor_(std::make_unique<Acceptor>(loop, address, options)),
        stopTimer_(loop, [this] { cutAll(); }) {
    listenAddress_ = acceptor_->localAddress();
    profile.serverName = name;
  }
  ~Core() { shutDown(); }

  void start();
  void stop(std::chrono::steady_clock::duration deadline, StopCallback done);
  /// Ends everything now. Also on another thread, once the base loop is gone.
  void shutDown();

  [[nodiscard]] bool started() const { return !sets_.empty(); }
  [[nodiscard]] const InetAddress& listenAddress() const { return listenAddress_; }
  /// Whether the calling thread runs one of the loops that serve connections.
  [[nodiscard]] bool onServingThread() const {
    return std::any_of(sets_.begin(), sets_.end(),
                       [](const auto& set) { return set->mailbox().isInLoopThread(); });
  }

  const std::shared_ptr<Mailbox> mailbox;
  const std::shared_ptr<std::atomic<std::size_t>> live =
      std::make_shared<std::atomic<std::size_t>>(0);
  std::unique_ptr<EventLoopThreadPool> threadPool;
  ThreadInitCallback threadInit;
  ConnectionProfile profile;
  IdleTimeout idle;

 private:
  enum class Phase { running, stopping, stopped };

  void newConnection(Socket socket, const InetAddress& peer);
  void cutAll();
  void setIsEmpty();
  void closeAcceptor();

  InetAddress listenAddress_;
  EventLoop* const loop_;
  std::unique_ptr<Acceptor> acceptor_;
  TimerFd stopTimer_;  // made with the server: at its end, descriptors may be scarce
  std::vector<std::shared_ptr<ConnectionSet>> sets_;  // one for each loop that serves
  std::uint64_t nextId_ = 1;

  Phase phase_ = Phase::running;
  std::size_t setsLeft_ = 0;
  std::size_t stoppedWith_ = 0;
  StopResult result_;
  std::vector<StopCallback> stopCallbacks_;
};

void TcpServer::Core::start() {
  loop_->assertInLoopThread();
  if (acceptor_ == nullptr || acceptor_->listening()) return;
  if (!started()) {  // else an earlier call came as far as listen(), which threw
    threadPool->start(threadInit);
    for (EventLoop* loop : threadPool->getAllLoops()) {
      ConnectionProfile own = profile;
      own.loop = loop;
      own.mailbox = loop->mailbox();
      sets_.push_back(ConnectionSet::create(std::move(own), live, idle));
    }
  }
  acceptor_->setNewConnectionCallback(
      [weak = weak_from_this()](Socket socket, const InetAddress& peer) {
        // Strong for the length of the call: a callback in it may destroy the server.
        if (const auto core = weak.lock()) core->newConnection(std::move(socket), peer);
      });
  acceptor_->listen();
}

void TcpServer::Core::newConnection(Socket socket, const InetAddress& peer) {
  const EventLoop* loop = threadPool->getNextLoop();
  const auto set = *std::find_if(sets_.begin(), sets_.end(), [loop](const auto& candidate) {
    return candidate->profile()->loop == loop;
  });
  auto connection =
      std::make_shared<TcpConnection>(set->profile(), nextId_++, std::move(socket), peer);
  live->fetch_add(1, std::memory_order_relaxed);  // also while it is on its way
  if (set->mailbox().isInLoopThread()) {
    set->add(connection);
  } else if (!set->mailbox().post(
                 [set, connection = std::move(connection)] { set->add(connection); })) {
    // That loop has ended; the connection went with the task, and its socket with it.
    live->fetch_sub(1, std::memory_order_relaxed);
  }
}

void TcpServer::Core::stop(std::chrono::steady_clock::duration deadline, StopCallback done) {
  if (phase_ == Phase::stopped) {
    if (done) done(result_);
    return;
  }
  stopCallbacks_.push_back(std::move(done));
  if (phase_ == Phase::stopping) return;
  phase_ = Phase::stopping;
  closeAcceptor();
  stoppedWith_ = live->load();
  stopTimer_.arm(deadline);
  setsLeft_ = sets_.size() + 1;  // one for this function, should there be no set at all
  for (const auto& set : sets_) {
    // Sent behind the connections that this loop has handed over already.
    (void)set->mailbox().post([set, base = mailbox, weak = weak_from_this()] {
      set->drain([base, weak] {
        (void)base->post([weak] {
          if (const auto core = weak.lock()) core->setIsEmpty();
        });
      });
    });
  }
  setIsEmpty();
}

void TcpServer::Core::cutAll() {
  for (const auto& set : sets_) {
    (void)set->mailbox().post([set, base = mailbox, weak = weak_from_this()] {
      const std::size_t count = set->cut();
      (void)base->post([weak, count] {
        if (const auto core = weak.lock()) core->result_.cut += count;
      });
    });
  }
}

void TcpServer::Core::setIsEmpty() {
  if (--setsLeft_ > 0) return;
  phase_ = Phase::stopped;
  stopTimer_.disarm();
  result_.drained = stoppedWith_ - std::min(stoppedWith_, result_.cut);
  const auto callbacks = std::exchange(stopCallbacks_, {});
  for (const StopCallback& done : callbacks) {
    if (done) done(result_);
  }
}

void TcpServer::Core::closeAcceptor() {
  if (acceptor_ == nullptr) return;
  acceptor_->close();
  // We may be in its callback: the object goes in the loop's next round.
  (void)mailbox->post([closed = std::move(acceptor_)] {});
}

void TcpServer::Core::shutDown() {
  closeAcceptor();
  for (const auto& set : std::exchange(sets_, {})) {
    if (set->mailbox().isInLoopThread()) {
      set->destroy();
    } else {
      (void)set->mailbox().post([set] { set->destroy(); });
    }
  }
  // Ends the I/O loops; each runs first what was just sent to it.
  threadPool.reset();
}

TcpServer::TcpServer(EventLoop* loop, const InetAddress& listenAddress, std::string name,
                     Acceptor::Options options)
    : core_(std::make_shared<Core>(loop, listenAddress, name, options)) {}

TcpServer::~TcpServer() {
  const std::shared_ptr<Mailbox> mailbox = core_->mailbox;
  if (mailbox->isInLoopThread()) {
    core_->shutDown();
    return;
  }
  const bool mayWait = !core_->onServingThread() && mailbox->looping();
  const auto done = std::make_shared<CountDownLatch>(1);
  // The base loop becomes the owner. If it is gone, the Core ends here.
  const bool posted = mailbox->post([core = std::move(core_), done] {
    core->shutDown();
    done->countDown();
  });
  if (!posted || !mayWait) return;
  using namespace std::chrono_literals;
  // The loop may end between the question and the post, and not come to the task any more.
  while (!done->waitUntil(std::chrono::steady_clock::now() + 20ms) && mailbox->looping()) {
  }
}

ConnectionProfile& TcpServer::profileBeforeStart(const char* what) {
  if (core_->started()) LOG_FATAL << "TcpServer " << name() << ": " << what << " after start()";
  return core_->profile;
}

void TcpServer::setThreadNum(int numThreads) {
  core_->threadPool->setThreadNum(numThreads);
}
void TcpServer::setThreadInitCallback(ThreadInitCallback callback) {
  profileBeforeStart("setThreadInitCallback");
  core_->threadInit = std::move(callback);
}
void TcpServer::setConnectionCallback(ConnectionCallback callback) {
  profileBeforeStart("setConnectionCallback").connectionCallback = std::move(callback);
}
void TcpServer::setMessageCallback(MessageCallback callback) {
  profileBeforeStart("setMessageCallback").messageCallback = std::move(callback);
}
void TcpServer::setWriteCompleteCallback(WriteCompleteCallback callback) {
  profileBeforeStart("setWriteCompleteCallback").writeCompleteCallback = std::move(callback);
}
void TcpServer::setHighWaterMarkCallback(WaterMarkCallback callback) {
  profileBeforeStart("setHighWaterMarkCallback").highWaterMarkCallback = std::move(callback);
}
void TcpServer::setLowWaterMarkCallback(WaterMarkCallback callback) {
  profileBeforeStart("setLowWaterMarkCallback").lowWaterMarkCallback = std::move(callback);
}
void TcpServer::setHalfCloseCallback(HalfCloseCallback callback) {
  profileBeforeStart("setHalfCloseCallback").halfCloseCallback = std::move(callback);
}
void TcpServer::setLimits(const ConnectionLimits& limits) {
  profileBeforeStart("setLimits").limits = limits;
}

void TcpServer::setIdleTimeout(std::chrono::milliseconds timeout, std::chrono::milliseconds tick) {
  profileBeforeStart("setIdleTimeout");
  if (timeout.count() <= 0 || tick.count() <= 0) {
    throw std::invalid_argument("idle timeout of " + std::to_string(timeout.count()) +
                                " ms with a tick of " + std::to_string(tick.count()) + " ms");
  }
  core_->idle = {timeout, tick};
}

void TcpServer::start() {
  core_->start();
}

void TcpServer::stop(std::chrono::steady_clock::duration deadline, StopCallback done) {
  // Weak: if the server is destroyed before the loop comes to it, `done` is not called any more.
  (void)core_->mailbox->post(
      [weak = std::weak_ptr(core_), deadline, done = std::move(done)]() mutable {
        if (const auto core = weak.lock()) core->stop(deadline, std::move(done));
      });
}

const std::string& TcpServer::name() const {
  return core_->profile.serverName;
}
InetAddress TcpServer::listenAddress() const {
  return core_->listenAddress();
}
std::size_t TcpServer::connectionCount() const {
  return core_->live->load();
}

}  // namespace rung
