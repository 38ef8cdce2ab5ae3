#include "tests/stress/ModelPeer.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <thread>

#include "tests/support/ServerThread.h"

using namespace std::chrono_literals;

namespace rung::testing {

namespace {

struct Header {
  std::uint32_t mark;
  FrameId id;
  std::uint32_t size;
};
static_assert(sizeof(Header) == frameBytes(0));
constexpr std::uint32_t kMark = 0x52554e47;

/// A view into bytes that are made once: making them anew would take most of the time.
std::string_view payloadOf(FrameId id, std::uint32_t size) {
  static constexpr std::size_t kOffsets = 4096;
  static const std::string all = pattern((std::size_t{8} << 20) + kOffsets);
  const std::size_t offset = (id.number * 37U + id.actor * 1009U + id.connection * 211U) % kOffsets;
  return std::string_view(all).substr(offset, size);
}

}  // namespace

std::string frameOf(FrameId id, std::uint32_t size) {
  const Header header{kMark, id, size};
  std::string frame(sizeof header, '\0');
  std::memcpy(frame.data(), &header, sizeof header);
  return frame.append(payloadOf(id, size));
}

Frames framesIn(std::string_view stream, std::uint16_t connection, std::size_t actors) {
  Frames frames;
  frames.ofActor.resize(actors);
  const std::size_t all = stream.size();
  while (stream.size() >= sizeof(Header)) {
    Header header;
    std::memcpy(&header, stream.data(), sizeof header);
    const std::size_t here = std::min<std::size_t>(header.size, stream.size() - sizeof header);
    const bool known =
        header.mark == kMark && header.id.connection == connection && header.id.actor < actors;
    if (!known ||
        stream.substr(sizeof header, here) != payloadOf(header.id, header.size).substr(0, here)) {
      frames.problem =
          "bytes that nobody sent, in the frame at " + std::to_string(all - stream.size());
      return frames;
    }
    if (here < header.size) break;
    frames.ofActor[header.id.actor].push_back(header.id.number);
    stream.remove_prefix(sizeof header + here);
  }
  frames.bytesOfLast = stream.size();
  return frames;
}

std::string_view inputPattern() {
  static const std::string all = pattern(kInputPattern);
  return all;
}

std::size_t ModelPeer::connectionOf(const InetAddress& peer) {
  const std::string ip = peer.toIp();
  return static_cast<std::size_t>(std::stoi(ip.substr(ip.rfind('.') + 1))) - 1;
}

bool ModelPeer::connect(const InetAddress& server, const PeerPlan& plan, std::size_t connection) {
  plan_ = &plan;
  fd_ = UniqueFd(socket(server.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
  // The address now, the port when it connects: from all that are free for this server.
  const int on = 1;
  setsockopt(fd_.get(), IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
  const InetAddress own(ipOf(connection), 0);
  if (plan.receiveBytes > 0) {
    setsockopt(fd_.get(), SOL_SOCKET, SO_RCVBUF, &plan.receiveBytes, sizeof plan.receiveBytes);
  }
  if (bind(fd_.get(), own.data(), own.length()) == 0 &&
      ::connect(fd_.get(), server.data(), server.length()) == 0) {
    return true;
  }
  error_ = errno;
  return false;
}

void ModelPeer::run(const std::function<bool()>& neverUp) {
  block_.resize(1 << 16);
  for (const PeerStep& step : plan_->steps) {
    if (error_ == 0 && !sawEnd_) perform(step);
  }
  left_ = plan_->ending != PeerPlan::Ending::readOn && !sawEnd_ && error_ == 0;
  if (plan_->ending == PeerPlan::Ending::reset) {
    const linger now{1, 0};
    setsockopt(fd_.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
  } else if (plan_->ending == PeerPlan::Ending::readOn) {
    readToEnd(neverUp);
  }
  fd_.reset();
}

void ModelPeer::perform(const PeerStep& step) {
  switch (step.what) {
    case PeerStep::What::send:
      return sendSome(step.amount);
    case PeerStep::What::read:
      return readUpTo(step.amount);
    case PeerStep::What::pause:
      return std::this_thread::sleep_for(std::chrono::microseconds(step.amount));
    case PeerStep::What::halfClose:
      halfClosed_ = ::shutdown(fd_.get(), SHUT_WR) == 0;
  }
}

/// What the kernel does not take at once is not sent: a server that is held back by this very peer,
/// which reads nothing now, would wait for ever.
void ModelPeer::sendSome(std::size_t bytes) {
  while (bytes > 0 && !halfClosed_) {
    const std::string_view piece = inputPattern().substr(sentBytes_ % kInputPattern, bytes);
    const ssize_t n = ::send(fd_.get(), piece.data(), piece.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n <= 0) return;  // how the connection ended is for the reads to tell
    sentBytes_ += static_cast<std::size_t>(n);
    bytes -= static_cast<std::size_t>(n);
  }
}

/// Perhaps fewer: the server may have nothing to send now.
void ModelPeer::readUpTo(std::size_t bytes) {
  const std::size_t wanted = received_.size() + bytes;
  while (received_.size() < wanted) {
    if (readOnce(wanted - received_.size(), 1ms) != Read::some) return;
  }
}

void ModelPeer::readToEnd(const std::function<bool()>& neverUp) {
  static constexpr std::chrono::milliseconds kSlice{50};
  std::chrono::milliseconds waited{0};
  while (!sawEnd_ && error_ == 0) {
    if (readOnce(block_.size(), kSlice) == Read::some) {
      waited = 0ms;
    } else if ((waited += kSlice) >= patience() || neverUp()) {
      stuck_ = !sawEnd_ && error_ == 0 && !neverUp();
      return;
    }
  }
}

ModelPeer::Read ModelPeer::readOnce(std::size_t atMost, std::chrono::milliseconds wait) {
  atMost = std::min(atMost, block_.size());
  if (reads_++ < plan_->slowReads) {
    atMost = std::min<std::size_t>(atMost, plan_->readBytes);
    if (plan_->pauseMicros > 0) {
      std::this_thread::sleep_for(std::chrono::microseconds(plan_->pauseMicros));
    }
  }
  pollfd readable{fd_.get(), POLLIN, 0};
  if (poll(&readable, 1, static_cast<int>(wait.count())) <= 0) return Read::nothing;
  const ssize_t n = recv(fd_.get(), block_.data(), atMost, 0);
  if (n > 0) {
    received_.append(block_.data(), static_cast<std::size_t>(n));
    return Read::some;
  }
  sawEnd_ = n == 0;
  if (n < 0) error_ = errno;
  return Read::end;
}

}  // namespace rung::testing
