#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "rung/base/CountDownLatch.h"
#include "rung/net/TcpServer.h"

#include "tests/stress/ModelConnection.h"
#include "tests/stress/ModelScript.h"
#include "tests/support/ServerThread.h"

namespace rung::testing {

/// What rounds have done. A model in which nothing happens finds nothing.
enum Figure : std::uint8_t {
  kConnections,
  kFrames,
  kBytes,
  kRefused,
  kCleanEnds,
  kHalfCloses,
  kShutdowns,
  kClosed,
  kHeld,
  kAtHighWater,
  kLeftUnread,
  kStopped,
  kAcceptsNoMore,
  kDestroyed,
  kPeer,
  kLocal,
  kReset,
  kForced,
  kLingerExpired,
  kCutByStop,
  kFigures
};
using Figures = std::array<std::uint64_t, kFigures>;
inline constexpr std::array<const char*, kFigures> kFigureNames{
    "connections",
    "frames that were accepted",
    "bytes that arrived",
    "refused sends",
    "connections whose peer read to the end",
    "of these, with a peer that had half-closed",
    "shut down by a thread",
    "closed with a time to linger",
    "held for a thread",
    "at the high-water mark",
    "times that a message was left for later",
    "in a server that stop() ended",
    "in a server that accepts no more",
    "in a server that was destroyed",
    "ended: peer",
    "ended: local",
    "ended: reset",
    "ended: forced",
    "ended: lingerExpired",
    "ended: stopped"};

/// A plan as it runs, with real threads and sockets, and what is to be said of it then.
/// Lifetime: run() once, then the rest. The plan must outlive it.
class Round {
 public:
  explicit Round(const RoundPlan& plan);

  void run();
  /// The laws that connection `i` broke, in words; empty if none.
  [[nodiscard]] std::string judge(std::size_t i) const;
  void count(Figures& figures) const;

 private:
  using Ending = RoundPlan::Ending;

  void setUp(TcpServer& server);
  void runPeer(ModelConnection& model);
  void end(ServerThread& server);
  void stop(ServerThread& server);
  void stopAccepting(ServerThread& server);
  void awaitTheEnd(const TcpServer& server);
  void settleAll();
  ModelConnection& modelOf(const TcpConnectionPtr& connection);
  /// Whether it ended as its peer did, with nothing lost.
  [[nodiscard]] static bool endedInOrder(const ModelConnection& model);
  [[nodiscard]] bool mayEndFor(CloseReason reason, const ModelConnection& model) const;
  [[nodiscard]] std::string judgeStop() const;
  [[nodiscard]] std::string judgeReason(const ModelConnection& model) const;
  [[nodiscard]] static std::string judgeFrames(const ModelConnection& model);
  [[nodiscard]] static std::string judgeEnd(const ModelConnection& model);
  [[nodiscard]] std::string judgeHold(const ModelConnection& model) const;

  const RoundPlan& plan_;
  std::vector<std::unique_ptr<ModelConnection>> connections_;
  InetAddress address_;
  std::chrono::steady_clock::time_point cutFrom_;  // the server's end may cut from here on
  CountDownLatch stopped_{1};
  TcpServer::StopResult result_;
  std::chrono::steady_clock::time_point answeredAt_;  // by stop()
  std::vector<EventLoop*> loops_;                     // those that serve
  std::string problem_;                               // of the server
};

}  // namespace rung::testing
