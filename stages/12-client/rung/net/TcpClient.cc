#include "rung/net/TcpClient.h"

#include <list>
#include <stdexcept>
#include <utility>

#include "rung/base/CountDownLatch.h"
#include "rung/base/Insist.h"
#include "rung/base/Logging.h"
#include "rung/net/EventLoop.h"
#include "rung/net/Mailbox.h"
#include "rung/net/TcpClientCore.h"
#include "rung/net/TcpConnection.h"

namespace rung {

namespace {

EventLoop* loopOfClient(EventLoop* loop, const std::string& name) {
  if (loop == nullptr) LOG_FATAL << "TcpClient " << name << " without an EventLoop";
  return loop;
}

bool postInsisting(Mailbox& mailbox, Task task) {
  return insist([&] { return mailbox.post(std::move(task)); });
}

}  // namespace

TcpClient::TcpClient(EventLoop* loop, const Target& target, std::string name)
    : TcpClient(loop, target, std::move(name), Options{}) {}

TcpClient::TcpClient(EventLoop* loop, const Target& target, std::string name, Options options)
    : core_(std::make_shared<Core>(loopOfClient(loop, name), target, name, std::move(options))) {
  core_->own();
}

TcpClient::~TcpClient() {
  const std::shared_ptr<Mailbox> mailbox = core_->mailbox;
  if (mailbox->isInLoopThread()) {
    const auto core = core_;  // a callback in it may ask this client
    core->shutDown();
    return;
  }
  // A thread that has a loop may be waited for itself, by that loop.
  const bool mayWait = EventLoop::ofCurrentThread() == nullptr && mailbox->looping();
  const auto done = insist([] { return std::make_shared<CountDownLatch>(1); });
  // A copy: the callbacks that run meanwhile may ask this client.
  const bool posted = postInsisting(*mailbox, [core = core_, done] {
    core->shutDown();
    done->countDown();
  });
  if (!posted) return;  // the loop is gone: the Core ends here
  if (!mayWait) return;
  // The loop may end between the question and the post, and not come to the task any more.
  using namespace std::chrono_literals;
  while (!done->waitUntil(std::chrono::steady_clock::now() + 20ms) && mailbox->looping()) {
  }
}

void TcpClient::assertNotStarted(const char* what) const {
  if (core_->started) LOG_FATAL << "TcpClient " << name() << ": " << what << " after connect()";
}

ConnectionCallbacks& TcpClient::callbacksBeforeConnect(const char* what) {
  assertNotStarted(what);
  return core_->profile->callbacks;
}

void TcpClient::setFailureCallback(FailureCallback callback) {
  assertNotStarted("setFailureCallback");
  core_->failureCallback = std::move(callback);
}

void TcpClient::connect() {
  if (core_->stopCalled) throw std::logic_error("TcpClient " + name() + ": connect() after stop()");
  core_->started = true;
  (void)core_->mailbox->post([weak = std::weak_ptr(core_)] {
    if (const auto core = weak.lock()) core->connect();
  });
}

void TcpClient::disconnectWithin(std::chrono::steady_clock::duration linger) {
  (void)core_->mailbox->post([weak = std::weak_ptr(core_), linger] {
    if (const auto core = weak.lock()) core->disconnect(linger);
  });
}

void TcpClient::stopWithin(std::chrono::steady_clock::duration deadline, StopCallback done) {
  std::list<StopCallback> one;
  one.push_back(std::move(done));
  (void)core_->mailbox->post(
      [weak = std::weak_ptr(core_), deadline, done = std::move(one)]() mutable {
        if (const auto core = weak.lock()) core->stop(deadline, done);
      });
  core_->stopCalled = true;
}

TcpConnectionPtr TcpClient::connection() const {
  return core_->connection();
}
const std::string& TcpClient::name() const {
  return core_->profile->serverName;
}
const Target& TcpClient::target() const {
  return core_->target;
}

}  // namespace rung
