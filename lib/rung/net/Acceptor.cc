#include "rung/net/Acceptor.h"

#include <fcntl.h>

#include <cerrno>
#include <system_error>

#include "rung/base/Logging.h"
#include "rung/net/EventLoop.h"

namespace rung {

namespace {

constexpr std::chrono::seconds kBetweenWarnings{10};

Socket boundSocket(const InetAddress& address, const Acceptor::Options& options) {
  Socket socket = Socket::create(address.family());
  // Without it, a restarted server could not bind for a minute: connections that its predecessor
  // closed are in TIME_WAIT on the same port.
  if (!socket.setReuseAddress(true)) LOG_SYSERR << "setsockopt SO_REUSEADDR";
  if (options.tcpNoDelay && !socket.setTcpNoDelay(true)) LOG_SYSERR << "setsockopt TCP_NODELAY";
  if (options.reusePort && !socket.setReusePort(true)) {
    throw std::system_error(errno, std::generic_category(), "setsockopt SO_REUSEPORT");
  }
  socket.bind(address);
  return socket;
}

}  // namespace

Acceptor::Acceptor(EventLoop* loop, const InetAddress& listenAddress, Options options)
    : loop_(loop),
      options_(options),
      acceptSocket_(boundSocket(listenAddress, options)),
      localAddress_(acceptSocket_.localAddress()),
      acceptChannel_(loop, acceptSocket_.fd()),
      retryTimer_(loop, [this] { resume(); }) {
  acceptChannel_.setReadCallback([this](Timestamp) { handleRead(); });
  openReserve();
  if (!idleFd_.valid()) {
    throw std::system_error(errno, std::generic_category(), "open /dev/null");
  }
}

Acceptor::~Acceptor() {
  acceptChannel_.remove();
}

void Acceptor::listen() {
  loop_->assertInLoopThread();
  acceptSocket_.listen(options_.backlog, localAddress_);
  acceptChannel_.enableReading();
  listening_ = true;
}

void Acceptor::close() {
  listening_ = false;
  retryTimer_.disarm();
  acceptChannel_.remove();
  acceptSocket_.close();
}

// One connection for each event. Level-triggered, the rest is reported again; in between, the
// connections that exist get their turn.
void Acceptor::handleRead() {
  Socket::Accepted accepted = acceptSocket_.accept();
  if (accepted.error != 0) {
    handleError(accepted.error);
  } else if (newConnectionCallback_) {
    newConnectionCallback_(std::move(accepted.socket), accepted.peer);
  }
}

void Acceptor::handleError(int error) {
  switch (error) {
    case EAGAIN:        // the peer has given up between the event and now
    case EINTR:         // a signal; the next event follows at once
    case ECONNABORTED:  // likewise given up
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
      return;
    case EMFILE:  // this process is out of descriptors: its connections will free some
      warn("out of descriptors, closing new connections", error);
      refuseOne();
      return;
    default:  // ENFILE, ENOBUFS, ENOMEM: the machine is short of something. EPERM: a firewall, or a
              // filter of system calls, which may last. Also what nobody foresaw.
      warn("accept fails, trying again soon", error);
      pause();
  }
}

void Acceptor::refuseOne() {
  idleFd_.reset();
  // The number just freed serves for this accept, unless another thread was faster.
  Socket::Accepted unlucky = acceptSocket_.accept();
  if (unlucky.error == 0) ++refused_;
  const bool stillShort = unlucky.error == EMFILE || unlucky.error == ENFILE;
  unlucky.socket.close();
  openReserve();
  if (stillShort || !idleFd_.valid()) pause();
}

void Acceptor::pause() {
  acceptChannel_.disableReading();
  retryTimer_.arm(kPause);
}

void Acceptor::resume() {
  if (!idleFd_.valid()) openReserve();
  try {
    acceptChannel_.enableReading();
  } catch (const std::system_error& e) {
    warn("cannot watch the listening socket", e.code().value());
    retryTimer_.arm(kPause);
  }
}

void Acceptor::openReserve() {
  idleFd_ = UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
}

// Peers decide how often this happens, so time decides how often it is logged.
void Acceptor::warn(const char* what, int error) {
  const auto now = TimerFd::Clock::now();
  if (now < nextWarning_) return;
  nextWarning_ = now + kBetweenWarnings;
  LOG_WARN << "listening on " << localAddress_.toIpPort() << ": " << what << ": "
           << std::generic_category().message(error) << "; " << refused_ << " refused so far";
}

}  // namespace rung
