#include "rung/net/Acceptor.h"

#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <new>
#include <system_error>

#include "rung/base/Guarded.h"
#include "rung/base/Logging.h"
#include "rung/net/EventLoop.h"
#include "rung/net/ListeningSocket.h"

namespace rung {

namespace {

constexpr std::chrono::seconds kBetweenWarnings{10};

EventLoop* checkedLoop(EventLoop* loop, const Endpoint& endpoint) {
  if (loop == nullptr) LOG_FATAL << "Acceptor on " << endpoint.toText() << " without an EventLoop";
  return loop;
}

}  // namespace

Acceptor::Acceptor(EventLoop* loop, Endpoint endpoint, Options options)
    : loop_(checkedLoop(loop, endpoint)),
      options_(std::move(options)),
      acceptSocket_(listeningSocket(endpoint, options_, socketFile_)),
      localAddress_(acceptSocket_.localAddress()),
      addressText_(rung::addressText(acceptSocket_)),
      acceptChannel_(loop, acceptSocket_.fd()),
      retryTimer_(loop, [this] { resume(); }) {
  acceptChannel_.setReadCallback([this](Timestamp) { handleRead(); });
  openReserve();
  if (!reserveFd_.valid()) {
    throw std::system_error(errno, std::generic_category(),
                            "eventfd, the descriptor in reserve for " + addressText_);
  }
}

Acceptor::~Acceptor() {
  if (inCallback_) {
    LOG_FATAL << "Acceptor on " << addressText_ << " destroyed by its own callback";
  }
  acceptChannel_.remove();
}

void Acceptor::listen() {
  loop_->assertInLoopThread();
  if (!acceptSocket_.listens()) acceptSocket_.listen(options_.backlog, addressText_);
  acceptChannel_.enableReading();
  listening_ = true;
}

void Acceptor::stopAccepting() {
  loop_->assertInLoopThread();
  if (std::exchange(draining_, true)) return;  // called again, by the callback
  // As many as the queue holds, which is one more than the backlog. Not until it is empty: clients
  // may come as fast as they are taken.
  for (auto left = static_cast<unsigned>(options_.backlog) + 1ULL; listening_ && left > 0; --left) {
    if (!acceptOne()) break;
  }
  close();
}

void Acceptor::close() {
  listening_ = false;
  retryTimer_.disarm();
  acceptChannel_.remove();
  acceptSocket_.close();
  socketFile_.remove();
  reserveFd_.reset();
}

// Accepts several for each event, so that newcomers do not wait for one round each. Not all: epoll
// is level-triggered and reports the rest again, and other connections get their turn in between.
void Acceptor::handleRead() {
  int left = options_.acceptsPerEvent - 1;
  if (!acceptOne() || left == 0) return;
  // It is cheap to ask how many wait. An accept on an empty queue is not cheap: Linux makes a file
  // before it looks into the queue. Mostly there is one connection.
  for (left = std::min(left, acceptSocket_.waiting()); left > 0 && acceptOne(); --left) {
  }
}

bool Acceptor::acceptOne() {
  if (roomCallback_ && !roomCallback_()) return pause();
  if (!reserveFd_.valid()) openReserve();  // lost in an earlier shortage: comes before newcomers
  Socket::Accepted accepted = acceptSocket_.accept();
  if (accepted.error != 0) return handleError(accepted.error);
  if (!newConnectionCallback_) return true;
  bool goOn = true;
  const bool outer = std::exchange(inCallback_, true);
  runGuarded(
      [&] {
        try {
          prepare(accepted.socket);
          newConnectionCallback_(std::move(accepted.socket), accepted.peer);
        } catch (const std::bad_alloc&) {  // the connection is closed by now
          goOn = handleError(ENOMEM);
        }
      },
      [&] { return "the callback of the Acceptor on " + addressText_; });
  inCallback_ = outer;
  return goOn && listening_;
}

void Acceptor::prepare(Socket& accepted) const {
  // The one option that a Unix-domain socket does not inherit.
  if (options_.sendBufferBytes > 0 && localAddress_.isUnix()) {
    (void)accepted.setOption(SOL_SOCKET, SO_SNDBUF, options_.sendBufferBytes);  // it was taken once
  }
  if (!options_.prepareAccepted) return;
  try {
    options_.prepareAccepted(accepted.fd());
  } catch (const std::bad_alloc&) {
    ++*refused_;
    throw;
  }
}

bool Acceptor::handleError(int error) {
  switch (error) {
    case EAGAIN:  // nobody waits any more
      return false;
    case EINTR:         // a signal
    case ECONNABORTED:  // the peer has given up
    case EPROTO:
    // Linux reports errors of the new connection's network as errors of accept: accept(2).
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH:
    case ETIMEDOUT:
      return true;
    case EMFILE:  // this process is out of descriptors: its connections will free some
      warn("out of descriptors, closing new connections", error);
      return refuseOne();
    default:  // ENFILE, ENOBUFS, ENOMEM: the machine is short of something. EPERM: a firewall, or a
              // filter of system calls, which may last. Also any other error.
      warn("accept fails, trying again soon", error);
      return pause();
  }
}

bool Acceptor::refuseOne() {
  reserveFd_.reset();
  // This accept gets the number just freed, unless another thread was faster.
  Socket::Accepted unlucky = acceptSocket_.accept();
  if (unlucky.error == 0) ++*refused_;
  const bool stillShort = unlucky.error == EMFILE || unlucky.error == ENFILE;
  unlucky.socket.close();
  openReserve();
  if (stillShort || !reserveFd_.valid()) return pause();
  return true;
}

bool Acceptor::pause() {
  if (!listening_) return false;  // a callback has closed it, and then run out of memory
  acceptChannel_.disableReading();
  retryTimer_.arm(kPause);
  return false;
}

void Acceptor::resume() {
  if (!listening_) return;
  try {
    acceptChannel_.enableReading();
  } catch (const std::system_error& e) {
    warn("cannot watch the listening socket", e.code().value());
    retryTimer_.arm(kPause);
  }
}

void Acceptor::openReserve() {
  // Any descriptor would do. An eventfd needs no file, and each loop has one anyway.
  reserveFd_ = UniqueFd(::eventfd(0, EFD_CLOEXEC));
}

// Peers decide how often this happens, so the log gets only one line in each interval.
void Acceptor::warn(const char* what, int error) {
  const auto now = TimerFd::Clock::now();
  if (now < nextWarning_) return;
  nextWarning_ = now + kBetweenWarnings;
  try {
    LOG_WARN << "listening on " << addressText_ << ": " << what << ": "
             << std::generic_category().message(error) << "; " << refused() << " refused so far";
  } catch (const std::bad_alloc&) {
    // There is no memory for the warning.
  }
}

}  // namespace rung
