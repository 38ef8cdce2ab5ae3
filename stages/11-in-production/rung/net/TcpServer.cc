#include "rung/net/TcpServer.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <list>
#include <new>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include "rung/base/CountDownLatch.h"
#include "rung/base/Deadline.h"
#include "rung/base/Guarded.h"
#include "rung/base/LogLimit.h"
#include "rung/base/Logging.h"
#include "rung/base/Mutex.h"
#include "rung/net/ConnectionSet.h"
#include "rung/net/EventLoop.h"
#include "rung/net/Mailbox.h"
#include "rung/net/TcpConnection.h"

namespace rung {

namespace {

/// How long stop() waits, after its deadline, for loops to cut what is left.
constexpr std::chrono::milliseconds kCutTime{100};
constexpr std::chrono::milliseconds kMemoryRetry{1};
constexpr std::chrono::seconds kBetweenRefusals{10};

/// Where there is no other way: waits for the memory that `function` takes.
template <class Function>
auto forSure(Function function) {
  for (;;) {
    try {
      return function();
    } catch (const std::bad_alloc&) {
      std::this_thread::sleep_for(kMemoryRetry);
    }
  }
}

bool postForSure(Mailbox& mailbox, Task task) {
  return forSure([&] { return mailbox.post(std::move(task)); });
}

EventLoop* checkedLoop(EventLoop* loop, const std::string& name) {
  if (loop == nullptr) LOG_FATAL << "TcpServer " << name << " without an EventLoop";
  return loop;
}

}  // namespace

/// The server itself. All of it belongs to the base loop's thread; other threads reach it through
/// the loop's Mailbox, and never own it.
class TcpServer::Core : noncopyable, public std::enable_shared_from_this<Core> {
 public:
  Core(EventLoop* loop, Endpoint endpoint, const std::string& name, Acceptor::Options options)
      : mailbox(loop->mailbox()),
        threadPool(std::make_unique<EventLoopThreadPool>(loop, name)),
        loop_(loop),
        acceptor_(std::make_unique<Acceptor>(loop, std::move(endpoint), std::move(options))),
        listenAddress_(acceptor_->localAddress()),
        listenText_(acceptor_->addressText()),
        stopTimer_(std::make_unique<TimerFd>(loop, [this] { stopTimerExpired(); })) {
    counts->noDescriptor = acceptor_->refusals();
    profile.serverName = name;
  }
  ~Core() { shutDown(); }

  void start();
  void stopAccepting();
  /// `done` holds one callback: a node that the caller made, since here memory may be short.
  void stop(std::chrono::steady_clock::duration deadline, std::list<StopCallback>& done);
  /// Ends everything now. Also on another thread, once the base loop is gone. Whoever still has a
  /// reference then may let go of it on any thread.
  void shutDown();
  void forEach(const std::shared_ptr<ConnectionSet::Visit>& visit);
  /// What calls `done`, on the base loop, unless the server is gone by then.
  static Task teller(const std::shared_ptr<Core>& core, std::function<void()> done);

  [[nodiscard]] bool started() const { return !sets_.empty(); }
  [[nodiscard]] const InetAddress& listenAddress() const { return listenAddress_; }
  [[nodiscard]] const std::string& listenText() const { return listenText_; }
  [[nodiscard]] UniqueFd listenFd() RUNG_EXCLUDES(closingMutex_);
  const std::shared_ptr<Mailbox> mailbox;
  const std::shared_ptr<ConnectionSet::Counts> counts = std::make_shared<ConnectionSet::Counts>();
  std::unique_ptr<EventLoopThreadPool> threadPool;
  ThreadInitCallback threadInit;
  ThreadInitCallback threadExit;
  ConnectionProfile profile;
  IdleTimeout idle;
  // The number and its Beyond in one, since both change while connections come.
  std::atomic<std::size_t> limit{0};

 private:
  struct OnItsWay;
  enum class Phase { running, asking, draining, cutting, stopped, shutDown };

  void newConnection(Socket socket, const InetAddress& peer);
  std::shared_ptr<ConnectionSet> nextSet();
  [[nodiscard]] bool full(Beyond beyond) const;
  [[nodiscard]] bool hasRoom();
  void refuse(Socket socket);
  void askToDrain();
  void stopTimerExpired();
  static void postStopped(Mailbox& base, std::weak_ptr<Core> weak) noexcept;
  void stopped();
  void answer();
  void closeAcceptor();

  void closing() RUNG_EXCLUDES(closingMutex_);

  EventLoop* const loop_;
  std::unique_ptr<Acceptor> acceptor_;
  const InetAddress listenAddress_;
  const std::string listenText_;
  Mutex closingMutex_;
  bool closing_ RUNG_GUARDED_BY(closingMutex_) = false;  // the Acceptor is for this loop alone
  // Made with the server: at its end, descriptors may be scarce.
  std::unique_ptr<TimerFd> stopTimer_;
  std::vector<std::shared_ptr<ConnectionSet>> sets_;  // one for each loop that serves
  std::size_t nextSet_ = 0;
  std::uint64_t nextId_ = 1;
  LogLimit refusals_{kBetweenRefusals};

  bool starting_ = false;
  Phase phase_ = Phase::running;
  std::chrono::steady_clock::time_point deadline_;
  std::shared_ptr<ConnectionSet::Drain> drain_;  // while some sets do not know of it
  std::size_t asked_ = 0;                        // sets that do
  std::size_t cutBefore_ = 0;
  std::size_t stoppedWith_ = 0;
  StopResult result_;
  std::list<StopCallback> stopCallbacks_;
};

void TcpServer::Core::start() {
  loop_->assertInLoopThread();
  if (acceptor_ == nullptr) {
    throw std::logic_error("TcpServer " + profile.serverName + ": start() after stop()");
  }
  if (acceptor_->listening()) return;
  if (!started()) {  // else an earlier call came as far as listen(), which threw
    starting_ = true;
    try {
      threadPool->setThreadExitCallback(threadExit);
      // Each set is made on the thread of its loop, the threads one after the other.
      threadPool->start([this](EventLoop* loop) {
        ConnectionProfile own = profile;
        own.loop = loop;
        own.mailbox = loop->mailbox();
        sets_.push_back(ConnectionSet::create(std::move(own), counts, idle));
        if (threadInit) threadInit(loop);
      });
    } catch (...) {
      starting_ = false;
      sets_.clear();
      throw;
    }
    starting_ = false;
    if (acceptor_ == nullptr) return;  // the callback has destroyed the server
  }
  acceptor_->setNewConnectionCallback(
      [weak = weak_from_this()](Socket socket, const InetAddress& peer) {
        // Strong for the length of the call: a callback in it may destroy the server.
        if (const auto core = weak.lock()) core->newConnection(std::move(socket), peer);
      });
  acceptor_->setRoomCallback([this] { return hasRoom(); });
  counts->roomCallback = [base = mailbox, weak = weak_from_this()] {
    try {
      (void)base->post([weak] {
        const auto core = weak.lock();
        if (core != nullptr && core->acceptor_ != nullptr) core->acceptor_->resume();
      });
    } catch (const std::bad_alloc&) {  // the Acceptor asks again by itself
    }
  };
  acceptor_->listen();
}

/// In turn, but for those whose loop has ended; nullptr if all have.
std::shared_ptr<ConnectionSet> TcpServer::Core::nextSet() {
  for (std::size_t i = 0; i < sets_.size(); ++i) {
    const auto& set = sets_[nextSet_++ % sets_.size()];
    if (set->mailbox().loop() != nullptr) return set;
  }
  return nullptr;
}

/// Counts a connection that is on its way to its set, should it never arrive there.
struct TcpServer::Core::OnItsWay {
  explicit OnItsWay(std::shared_ptr<ConnectionSet::Counts> c) : counts(std::move(c)) {
    ++counts->live;
  }
  OnItsWay(OnItsWay&&) noexcept = default;
  ~OnItsWay() {
    if (counts == nullptr) return;
    // Either its loop is gone, or bad_alloc is on its way out of newConnection().
    ++(std::uncaught_exceptions() > 0 ? counts->noMemory : counts->neverArrived);
    counts->oneLess();
  }

  std::shared_ptr<ConnectionSet::Counts> counts;  // nullptr: it has arrived
};

bool TcpServer::Core::full(Beyond beyond) const {
  const std::size_t now = limit;
  const std::size_t most = now / 2;
  return most > 0 && now % 2 == static_cast<std::size_t>(beyond) && counts->live >= most;
}

/// Only here and in newConnection(), both on the base loop's thread, does the number of connections
/// grow: so the limit is exact.
bool TcpServer::Core::hasRoom() {
  if (!full(Beyond::wait)) return true;
  counts->wantsRoom = true;
  if (full(Beyond::wait)) return false;
  counts->wantsRoom = false;  // one has ended in between
  return true;
}

void TcpServer::Core::refuse(Socket socket) {
  (void)socket.setResetOnClose();
  counts->overLimit.add(1);
  if (!refusals_.next()) return;
  LOG_WARN << "TcpServer " << profile.serverName << " serves as many connections as it may, "
           << limit / 2 << ", refusing more; " << counts->overLimit.value() << " refused so far";
}

void TcpServer::Core::newConnection(Socket socket, const InetAddress& peer) {
  counts->accepted.add(1);
  if (full(Beyond::refuse)) return refuse(std::move(socket));
  OnItsWay count(counts);
  const auto set = nextSet();
  if (set == nullptr) return;
  auto connection =
      std::make_shared<TcpConnection>(set->profile(), nextId_++, std::move(socket), peer);
  auto arrive = [set, connection = std::move(connection), count = std::move(count)]() mutable {
    count.counts.reset();  // the set counts it from here on
    set->add(connection);
  };
  if (set->mailbox().isInLoopThread()) {
    arrive();
  } else {
    (void)set->mailbox().post(std::move(arrive));
  }
}

// In a callback for one that waited the server may be destroyed, or stopped once more.
void TcpServer::Core::stopAccepting() {
  closing();
  if (acceptor_ != nullptr) acceptor_->stopAccepting();
  closeAcceptor();
}

void TcpServer::Core::stop(std::chrono::steady_clock::duration deadline,
                           std::list<StopCallback>& done) {
  if (phase_ == Phase::shutDown) return;
  stopCallbacks_.splice(stopCallbacks_.end(), done);
  if (phase_ == Phase::stopped) return answer();
  if (phase_ != Phase::running) return;
  phase_ = Phase::asking;
  deadline_ = deadlineAfter(deadline);
  stopAccepting();
  if (phase_ != Phase::asking) return;  // a callback for one that waited has destroyed it
  cutBefore_ = counts->cut;
  stoppedWith_ = counts->live;
  askToDrain();
}

void TcpServer::Core::askToDrain() {
  try {
    if (drain_ == nullptr) {
      drain_ = std::make_shared<ConnectionSet::Drain>(
          [base = mailbox, weak = weak_from_this()] { postStopped(*base, weak); });
    }
    // Sent behind the connections that this loop has handed over already.
    for (; asked_ < sets_.size(); ++asked_)
      (void)sets_[asked_]->mailbox().post(
          [set = sets_[asked_], drain = drain_] { set->drain(drain); });
    phase_ = Phase::draining;
    stopTimer_->arm(deadline_);
    drain_.reset();
  } catch (const std::bad_alloc&) {
    stopTimer_->arm(std::min(deadline_, deadlineAfter(kMemoryRetry)));
  }
}

/// The deadline comes twice: a loop whose callback does not return cannot cut its connections; then
/// the answer does not wait for it.
void TcpServer::Core::stopTimerExpired() {
  if (phase_ == Phase::asking && std::chrono::steady_clock::now() < deadline_) return askToDrain();
  // Once more, should there be no memory for the tasks, or for the cuts.
  stopTimer_->arm(kCutTime);
  if (std::exchange(phase_, Phase::cutting) == Phase::cutting)
    postStopped(*mailbox, weak_from_this());
  try {
    for (const auto& set : sets_)
      (void)set->mailbox().post([set] { set->cut(); });
  } catch (const std::bad_alloc&) {
  }
}

void TcpServer::Core::answer() {
  for (const StopCallback& done : std::exchange(stopCallbacks_, {})) {
    if (!done) continue;
    runGuarded([&] { done(result_); }, [&] { return "stop callback of " + profile.serverName; });
  }
}

/// As a task: the answer may destroy the server, and with it who is calling.
void TcpServer::Core::postStopped(Mailbox& base, std::weak_ptr<Core> weak) noexcept {
  try {
    (void)base.post([weak = std::move(weak)] {
      if (const auto core = weak.lock()) core->stopped();
    });
  } catch (const std::bad_alloc&) {  // the timer asks again
  }
}

void TcpServer::Core::stopped() {
  if (phase_ == Phase::stopped || phase_ == Phase::shutDown) return;
  phase_ = Phase::stopped;
  stopTimer_->disarm();
  result_.cut = std::min(counts->cut - cutBefore_ + counts->live, stoppedWith_);
  result_.drained = stoppedWith_ - result_.cut;
  drain_.reset();
  answer();
}

void TcpServer::Core::forEach(const std::shared_ptr<ConnectionSet::Visit>& visit) {
  for (const auto& set : sets_)
    postForSure(set->mailbox(), [set, visit] { set->visit(*visit); });
}

Task TcpServer::Core::teller(const std::shared_ptr<Core>& core, std::function<void()> done) {
  Task task = [weak = std::weak_ptr(core), done = std::move(done)] {
    const auto self = weak.lock();
    if (self == nullptr || self->phase_ == Phase::shutDown) return;
    runGuarded(done, [&] { return "end of forEachConnection of " + self->profile.serverName; });
  };
  return [base = core->mailbox, task = std::make_unique<Task>(std::move(task))] {
    (void)postForSure(*base, std::move(*task));
  };
}

void TcpServer::Core::closing() {
  const MutexLock lock(closingMutex_);
  closing_ = true;
}

UniqueFd TcpServer::Core::listenFd() {
  const MutexLock lock(closingMutex_);
  return closing_ ? UniqueFd() : acceptor_->duplicateFd();
}

void TcpServer::Core::closeAcceptor() {
  closing();
  if (acceptor_ == nullptr) return;
  acceptor_->close();
  // We may be in its callback: the object goes in the loop's next round.
  postForSure(*mailbox, [closed = std::move(acceptor_)] {});
}

void TcpServer::Core::shutDown() {
  phase_ = Phase::shutDown;
  stopTimer_.reset();
  closeAcceptor();
  for (const auto& set : std::exchange(sets_, {})) {
    if (set->mailbox().isInLoopThread()) {
      set->destroy();
    } else {
      postForSure(set->mailbox(), [set] { set->destroy(); });
    }
  }
  // Ends the I/O loops; each runs first what was just sent to it. Not from within its start(): then
  // the base loop is all there is.
  if (!starting_) threadPool.reset();
}

TcpServer::TcpServer(EventLoop* loop, Endpoint endpoint, std::string name,
                     Acceptor::Options options)
    : core_(std::make_shared<Core>(checkedLoop(loop, name), std::move(endpoint), name,
                                   std::move(options))) {}

TcpServer::~TcpServer() {
  const std::shared_ptr<Mailbox> mailbox = core_->mailbox;
  if (mailbox->isInLoopThread()) {
    core_->shutDown();
    return;
  }
  // A thread that has a loop may be waited for itself: by that base loop, to start or end its I/O
  // threads, or by another server's destructor that does the same as this one.
  const bool mayWait = EventLoop::ofCurrentThread() == nullptr && mailbox->looping();
  using namespace std::chrono_literals;
  const auto done = forSure([] { return std::make_shared<CountDownLatch>(1); });
  // A copy: the callbacks that run meanwhile may ask this server.
  const bool posted = postForSure(*mailbox, [core = core_, done] {
    core->shutDown();
    done->countDown();
  });
  if (!posted) return;  // the base loop is gone: the Core ends here
  if (!mayWait) return;
  // The loop may end between the question and the post, and not come to the task any more.
  while (!done->waitUntil(std::chrono::steady_clock::now() + 20ms) && mailbox->looping()) {
  }
}

void TcpServer::assertNotStarted(const char* what) const {
  if (core_->started()) LOG_FATAL << "TcpServer " << name() << ": " << what << " after start()";
}

ConnectionCallbacks& TcpServer::callbacksBeforeStart(const char* what) {
  assertNotStarted(what);
  return core_->profile.callbacks;
}

void TcpServer::setThreadNum(int numThreads) {
  core_->threadPool->setThreadNum(numThreads);
}
void TcpServer::setThreadInitCallback(ThreadInitCallback callback) {
  assertNotStarted("setThreadInitCallback");
  core_->threadInit = std::move(callback);
}
void TcpServer::setThreadExitCallback(ThreadInitCallback callback) {
  assertNotStarted("setThreadExitCallback");
  core_->threadExit = std::move(callback);
}
void TcpServer::setConnectionCallback(ConnectionCallback callback) {
  callbacksBeforeStart("setConnectionCallback").connection = std::move(callback);
}
void TcpServer::setMessageCallback(MessageCallback callback) {
  callbacksBeforeStart("setMessageCallback").message = std::move(callback);
}
void TcpServer::setWriteCompleteCallback(WriteCompleteCallback callback) {
  callbacksBeforeStart("setWriteCompleteCallback").writeComplete = std::move(callback);
}

void TcpServer::setIdle(std::chrono::milliseconds timeout, std::chrono::milliseconds tick) {
  assertNotStarted("setIdleTimeout");
  (void)TimingWheel::bucketsFor(timeout, tick);  // refuses what makes no wheel
  core_->idle = {timeout, tick};
}

void TcpServer::start() {
  const auto core = core_;  // a callback in it may destroy this object
  core->start();
}

void TcpServer::stopAccepting() {
  (void)core_->mailbox->post([weak = std::weak_ptr(core_)] {
    if (const auto core = weak.lock()) core->stopAccepting();
  });
}

void TcpServer::stopWithin(std::chrono::steady_clock::duration deadline, StopCallback done) {
  std::list<StopCallback> one;
  one.push_back(std::move(done));
  // Weak: if the server is destroyed before the loop comes to it, `done` is not called any more.
  (void)core_->mailbox->post(
      [weak = std::weak_ptr(core_), deadline, done = std::move(one)]() mutable {
        if (const auto core = weak.lock()) core->stop(deadline, done);
      });
}

const std::string& TcpServer::name() const {
  return core_->profile.serverName;
}
InetAddress TcpServer::listenAddress() const {
  return core_->listenAddress();
}
const std::string& TcpServer::listenText() const {
  return core_->listenText();
}
UniqueFd TcpServer::listenFd() const {
  return core_->listenFd();
}
std::size_t TcpServer::connectionCount() const {
  return core_->counts->live;
}
ServerStats TcpServer::stats() const {
  return core_->counts->stats();
}

void TcpServer::setMaxConnections(std::size_t most, Beyond beyond) {
  core_->limit = std::min(most, SIZE_MAX / 2) * 2 + static_cast<std::size_t>(beyond);
}

void TcpServer::forEachConnection(ConnectionCallback callback, std::function<void()> done) {
  if (!callback) LOG_FATAL << "TcpServer " << name() << ": forEachConnection without a callback";
  const auto visit = std::make_shared<ConnectionSet::Visit>(std::move(callback));
  try {
    if (done) visit->over = Core::teller(core_, std::move(done));
    (void)core_->mailbox->post([weak = std::weak_ptr(core_), visit] {
      if (const auto core = weak.lock()) core->forEach(visit);
    });
  } catch (...) {
    visit->over = {};
    throw;
  }
}

}  // namespace rung
