#include "relay/Connector.h"

#include <sys/socket.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "rung/net/EventLoop.h"

namespace relay {

void Connector::start(const rung::InetAddress& target, std::chrono::milliseconds timeout) {
  const int error = tryStart(target);
  if (error != 0) timeout = {};  // said in the next round, as all that fails
  deadline_ = loop_->runAfter(timeout, [weak = weak_from_this(), error] {
    if (const auto self = weak.lock()) self->finish(error == 0 ? ETIMEDOUT : error);
  });
}

int Connector::tryStart(const rung::InetAddress& target) {
  try {
    socket_ = rung::Socket::create(target.family());
    // EINTR: it goes on in the background, as with EINPROGRESS.
    if (::connect(socket_.fd(), target.data(), target.length()) < 0 && errno != EINPROGRESS &&
        errno != EINTR) {
      return errno;
    }
    channel_ = std::make_unique<rung::Channel>(loop_, socket_.fd());
    channel_->tie(shared_from_this());
    channel_->setWriteCallback([this] { finish(socket_.takeError()); });
    channel_->enableWriting();
    return 0;
  } catch (const std::system_error& e) {  // no descriptor, or no room in epoll
    return e.code().value();
  }
}

void Connector::finish(int error) {
  const Done done = std::exchange(done_, {});
  if (!done) return;
  loop_->cancel(deadline_);
  // The Channel may be the caller, so it stays until this object goes.
  if (channel_ != nullptr) channel_->remove();
  rung::Socket socket = std::exchange(socket_, {});
  if (error != 0) socket.close();
  done(std::move(socket), error);
}

void Connector::cancel() {
  done_ = {};
  if (channel_ != nullptr) channel_->remove();
  socket_.close();
}

}  // namespace relay
