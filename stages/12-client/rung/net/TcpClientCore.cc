#include "rung/net/TcpClientCore.h"

#include <new>
#include <utility>

#include "rung/base/Guarded.h"
#include "rung/net/EventLoop.h"
#include "rung/net/Mailbox.h"
#include "rung/net/TcpConnection.h"

// How a client connects, loses its connection, and connects again. Its interface, and how other
// threads come here, is in TcpClient.cc.

namespace rung {

TcpClient::Core::Core(EventLoop* loop, const Target& where, const std::string& name,
                      Options options)
    : mailbox(loop->mailbox()),
      target(where),
      profile(std::make_shared<ConnectionProfile>()),
      loop_(loop),
      connector_(loop, std::move(options.attempt)) {
  if (options.reconnect) backoff_.emplace(*options.reconnect);
  profile->loop = loop;
  profile->mailbox = mailbox;
  profile->serverName = name;
  // A timer of the connection: it ends with it.
  profile->lingerCallback = [](const TcpConnectionPtr& connection, Clock::duration linger) {
    connection->runAfter(linger,
                         [late = connection.get()] { late->cut(CloseReason::lingerExpired); });
  };
}

// Weak: the Core owns the connection, and that owns the profile.
void TcpClient::Core::own() {
  profile->closeCallback = [weak = weak_from_this()](const TcpConnectionPtr& connection) {
    if (const auto self = weak.lock()) self->wentDown(connection);
  };
}

template <class Work>
Task TcpClient::Core::weakly(Work work) {
  return [weak = weak_from_this(), work] {
    if (const auto self = weak.lock()) work(*self);
  };
}

void TcpClient::Core::connect() {
  if (phase_ == Phase::leaving) again_ = true;
  if (phase_ == Phase::waiting) loop_->cancel(retryTimer_);
  if (phase_ == Phase::idle || phase_ == Phase::waiting) attempt();
}

void TcpClient::Core::attempt() {
  phase_ = Phase::trying;
  try {
    connector_.connect(target, [weak = weak_from_this()](Connector::Result result) {
      if (const auto self = weak.lock()) self->attempted(std::move(result));
    });
  } catch (const std::bad_alloc&) {
    failedHere(ConnectStep::resolve, ENOMEM);
  }
}

void TcpClient::Core::attempted(Connector::Result result) {
  if (result.failure) return failed(*result.failure);
  try {
    cameUp(std::move(result.socket), result.peer);
  } catch (const std::bad_alloc&) {
    failedHere(ConnectStep::watch, ENOMEM);
  }
}

void TcpClient::Core::cameUp(Socket socket, const InetAddress& peer) {
  const auto connection =
      std::make_shared<TcpConnection>(profile, nextId_, std::move(socket), peer);
  ++nextId_;
  phase_ = Phase::up;
  upSince_ = Clock::now();
  (void)exchangeConnection(connection);
  establishing_ = true;
  connection->connectEstablished();
  establishing_ = false;
}

/// The connection is over, and the user knows; it does not know the client any more.
void TcpClient::Core::wentDown(const TcpConnectionPtr& connection) {
  if (this->connection() != connection) return;
  (void)exchangeConnection(nullptr);
  const CloseReason reason = connection->closeReason();
  const Phase before = std::exchange(phase_, Phase::idle);
  if (reason == CloseReason::loopGone) return;
  if (before == Phase::stopping) {
    drained_ = reason != CloseReason::stopped && connection->outputBytes() == 0;
    return stopped();
  }
  if (before == Phase::leaving) {
    if (std::exchange(again_, false)) attempt();
    return;
  }
  if (establishing_) return failedHere(ConnectStep::watch, connection->error());
  if (!backoff_) return;
  if (Clock::now() - upSince_ >= backoff_->options().stableAfter) backoff_->reset();
  if (!waitForNext()) failedHere(ConnectStep::resolve, ENOMEM);
}

void TcpClient::Core::failed(const ConnectFailure& failure) {
  phase_ = Phase::idle;
  // First the timer, since the callback may destroy the client.
  tell(failure, waitForNext());
}

void TcpClient::Core::failedHere(ConnectStep step, int error) {
  failed(failureOf(step, error));
}

/// For want of memory, mostly: so there may be none for the text.
ConnectFailure TcpClient::Core::failureOf(ConnectStep step, int error) const {
  ConnectFailure failure;
  failure.step = step;
  failure.error = errnoCode(error);
  try {
    failure.target = target.toText();
  } catch (const std::bad_alloc&) {
  }
  return failure;
}

/// Without memory for the timer there is no next attempt.
std::optional<Backoff::Duration> TcpClient::Core::waitForNext() {
  if (!backoff_) return std::nullopt;
  const Backoff::Duration wait = backoff_->next();
  try {
    retryTimer_ = loop_->runAfter(wait, weakly([](Core& self) { self.attempt(); }));
  } catch (const std::bad_alloc&) {
    return std::nullopt;
  }
  phase_ = Phase::waiting;
  return wait;
}

void TcpClient::Core::tell(const ConnectFailure& failure,
                           std::optional<Backoff::Duration> retryIn) {
  if (!failureCallback || phase_ == Phase::shutDown) return;
  runGuarded([&] { failureCallback(failure, retryIn); },
             [&] { return "the failure callback of TcpClient " + profile->serverName; });
}

/// Whether there was anything to give up.
bool TcpClient::Core::giveUpTrying() {
  const bool trying = phase_ == Phase::trying || phase_ == Phase::waiting;
  if (!trying && !again_) return false;
  again_ = false;
  connector_.cancel();
  if (EventLoop* loop = mailbox->loop()) loop->cancel(retryTimer_);
  if (trying) phase_ = Phase::idle;
  return true;
}

void TcpClient::Core::disconnect(Clock::duration linger) {
  const bool gaveUp = giveUpTrying();
  if (phase_ == Phase::up || phase_ == Phase::leaving) {
    phase_ = Phase::leaving;
    connection()->close(linger);
  }
  if (gaveUp) tell(failureOf(ConnectStep::cancelled, ECANCELED), std::nullopt);
}

void TcpClient::Core::stop(Clock::duration deadline, std::list<StopCallback>& done) {
  if (phase_ == Phase::shutDown) return;
  stopCallbacks_.splice(stopCallbacks_.end(), done);
  if (phase_ == Phase::stopped) return stopped();
  if (phase_ == Phase::stopping) return;
  const bool gaveUp = giveUpTrying();
  const bool idle = phase_ == Phase::idle;
  phase_ = idle ? Phase::stopped : Phase::stopping;
  if (!idle) drain(deadline);
  if (gaveUp) tell(failureOf(ConnectStep::cancelled, ECANCELED), std::nullopt);
  if (idle && phase_ == Phase::stopped) stopped();
}

void TcpClient::Core::drain(Clock::duration deadline) {
  const TcpConnectionPtr connection = this->connection();
  try {
    if (deadline != (Clock::duration::max)()) {
      stopTimer_ = loop_->runAfter(deadline, weakly([](Core& self) {
                                     if (const auto late = self.connection()) {
                                       late->cut(CloseReason::stopped);
                                     }
                                   }));
    }
    connection->drain();
  } catch (const std::bad_alloc&) {  // nobody would cut it
    connection->cut(CloseReason::stopped);
  }
}

void TcpClient::Core::stopped() {
  phase_ = Phase::stopped;
  loop_->cancel(stopTimer_);
  for (const StopCallback& done : std::exchange(stopCallbacks_, {})) {
    if (!done || phase_ == Phase::shutDown) continue;
    runGuarded([&] { done(drained_); },
               [&] { return "the stop callback of TcpClient " + profile->serverName; });
  }
}

void TcpClient::Core::shutDown() {
  if (std::exchange(phase_, Phase::shutDown) == Phase::shutDown) return;
  connector_.cancel();
  if (EventLoop* loop = mailbox->loop()) {  // else it has taken its timers along
    loop->cancel(retryTimer_);
    loop->cancel(stopTimer_);
  }
  if (const auto connection = exchangeConnection(nullptr)) connection->connectDestroyed();
}

TcpConnectionPtr TcpClient::Core::connection() const {
  const MutexLock lock(mutex_);
  return connection_;
}

TcpConnectionPtr TcpClient::Core::exchangeConnection(TcpConnectionPtr connection) {
  const MutexLock lock(mutex_);
  return std::exchange(connection_, std::move(connection));
}

}  // namespace rung
