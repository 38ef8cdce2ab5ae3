#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "rung/base/UniqueFd.h"
#include "rung/net/InetAddress.h"

#include "tests/stress/ModelScript.h"
#include "tests/support/Slow.h"

namespace rung::testing {

/// What takes longer is stuck.
inline std::chrono::milliseconds patience() {
  return std::chrono::milliseconds(static_cast<int>(20'000 * slowness()));
}

/// Where a frame comes from. A refused send() uses up its number, so that its bytes would show.
struct FrameId {
  std::uint16_t connection;
  std::uint16_t actor;
  std::uint32_t number;  // from 0, for each actor
};

/// One send() of the model: a header, and `size` bytes that no other frame has.
[[nodiscard]] std::string frameOf(FrameId id, std::uint32_t size);
[[nodiscard]] constexpr std::size_t frameBytes(std::uint32_t size) {
  return 16 + std::size_t{size};
}

/// What a stream of frames held.
struct Frames {
  std::vector<std::vector<std::uint32_t>> ofActor;  // the numbers, as they came
  std::size_t bytesOfLast = 0;                      // of a frame that is not whole
  std::string problem;
};
[[nodiscard]] Frames framesIn(std::string_view stream, std::uint16_t connection,
                              std::size_t actors);

/// What peers send: byte n of it is inputPattern()[n % kInputPattern].
inline constexpr std::size_t kInputPattern = 4093;
[[nodiscard]] std::string_view inputPattern();

/// A client on the plain socket calls that follows its plan. It never waits longer than patience().
/// Thread: its own; the results may be read once run() has returned.
class ModelPeer {
 public:
  /// The server knows connection n by its address, 127.0.1.n+1.
  static std::string ipOf(std::size_t connection) {
    return "127.0.1." + std::to_string(connection + 1);
  }
  static std::size_t connectionOf(const InetAddress& peer);

  /// False, with error(): the server does not listen any more.
  bool connect(const InetAddress& server, const PeerPlan& plan, std::size_t connection);
  /// `neverUp` tells whether the server will not accept it any more: of a handshake that a closing
  /// listener cuts short, the kernel may tell its client nothing.
  void run(const std::function<bool()>& neverUp);

  [[nodiscard]] const std::string& received() const { return received_; }
  /// It read to the end of the stream, a FIN, before it did anything that may lose bytes.
  [[nodiscard]] bool sawEnd() const { return sawEnd_; }
  /// errno of the read that failed.
  [[nodiscard]] int error() const { return error_; }
  [[nodiscard]] bool stuck() const { return stuck_; }
  [[nodiscard]] bool halfClosed() const { return halfClosed_; }
  /// It read no more, and let go of the connection.
  [[nodiscard]] bool left() const { return left_; }
  [[nodiscard]] std::size_t sentBytes() const { return sentBytes_; }

 private:
  enum class Read { some, nothing, end };

  void perform(const PeerStep& step);
  void sendSome(std::size_t bytes);
  void readUpTo(std::size_t bytes);
  void readToEnd(const std::function<bool()>& neverUp);
  Read readOnce(std::size_t atMost, std::chrono::milliseconds wait);

  const PeerPlan* plan_ = nullptr;
  UniqueFd fd_;
  std::vector<char> block_;
  std::uint32_t reads_ = 0;
  std::string received_;
  std::size_t sentBytes_ = 0;
  int error_ = 0;
  bool sawEnd_ = false;
  bool stuck_ = false;
  bool halfClosed_ = false;
  bool left_ = false;
};

}  // namespace rung::testing
