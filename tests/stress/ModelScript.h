#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace rung::testing {

/// All that a thread of the model may ask of a connection. For one more: a name here, a row in
/// kActions, and a case in ModelActor::perform().
enum class Do : std::uint8_t {
  sendView,
  sendString,
  sendBuffer,
  shutdown,
  close,
  closeSoon,
  forceClose,
  hold,
  release,
  stopRead,
  startRead,
  setCallbacks,
  setLimits,
  look,
  spin
};

/// Units: the weights count relative to each other.
struct Action {
  const char* name;
  int onWorker;
  int inCallback;
  bool cuts = false;  // ends the connection whatever waits: only where the plan allows it
};
inline constexpr std::array<Action, 15> kActions{{
    {"sendView", 8, 8},
    {"sendString", 8, 6},
    {"sendBuffer", 4, 4},
    {"shutdown", 3, 1},
    {"close", 1, 1},
    {"closeSoon", 6, 2, true},
    {"forceClose", 3, 2, true},
    {"hold", 3, 2},
    {"release", 2, 0},
    {"stopRead", 2, 2},
    {"startRead", 3, 2},
    {"setCallbacks", 1, 2},
    {"setLimits", 1, 2},
    {"look", 1, 1},
    {"spin", 2, 4},
}};

/// Units: size is bytes for sends and limits, microseconds for spin.
struct Step {
  Do what;
  std::uint32_t size = 0;
  std::uint32_t pauseMicros = 0;  // before it
};
using Script = std::vector<Step>;

/// Each call of one of these callbacks takes the next step of its script.
inline constexpr std::array kCallbacks{"up",       "message",   "writeComplete", "highWater",
                                       "lowWater", "halfClose", "drain"};
enum class On : std::uint8_t { up, message, writeComplete, highWater, lowWater, halfClose, drain };

struct PeerStep {
  enum class What : std::uint8_t { send, read, pause, halfClose };
  What what;
  std::uint32_t amount = 0;  // bytes, or microseconds
};

struct PeerPlan {
  enum class Ending : std::uint8_t { readOn, reset, close };
  bool eager = false;             // begins before the server has called "up"
  int receiveBytes = 0;           // SO_RCVBUF, 0: as it is
  std::uint32_t readBytes = 0;    // at most so many at once, for the first slowReads reads
  std::uint32_t pauseMicros = 0;  // before each of these
  std::uint32_t slowReads = 0;
  std::vector<PeerStep> steps;
  Ending ending = Ending::readOn;

  [[nodiscard]] bool halfCloses() const;
};

struct ConnectionPlan {
  const char* story = nullptr;
  std::vector<Script> workers;  // at least one
  std::array<Script, kCallbacks.size()> callbacks;
  std::uint32_t highWaterMark = 0;  // 0: the usual limits
  bool halfCloseCallback = false;
  bool holdsAnswers = false;  // the first message holds the connection for worker 1
  bool careful = false;       // the message callback leaves what it cannot answer now
  PeerPlan peer;

  /// The peer's doing ends it, so that no thread has to call shutdown(). A callback for the peer's
  /// FIN means that the server ends it, whatever comes behind that.
  [[nodiscard]] bool peerEndsIt() const {
    if (!halfCloseCallback) return peer.ending != PeerPlan::Ending::readOn || peer.halfCloses();
    return peer.ending == PeerPlan::Ending::reset && !peer.halfCloses();
  }
};

/// All choices of one round. What the threads then do at the same time is the machine's choice.
struct RoundPlan {
  enum class Ending : std::uint8_t { none, stop, stopSoon, stopAccepting, destroy };
  std::uint64_t seed = 0;
  int threads = 0;
  int sendBytes = 0;  // SO_SNDBUF of the server's sockets, 0: as it is
  bool watchesIdle = false;
  bool drainCallback = false;
  Ending ending = Ending::none;
  std::uint32_t endAfterMicros = 0;
  std::uint32_t deadlineMicros = 0;  // of stopSoon
  std::vector<ConnectionPlan> connections;
};

[[nodiscard]] RoundPlan planOf(std::uint64_t seed);

/// For whoever looks for the fault: a line a script.
[[nodiscard]] std::string describe(const RoundPlan& plan);
[[nodiscard]] std::string describe(const ConnectionPlan& plan);

}  // namespace rung::testing
