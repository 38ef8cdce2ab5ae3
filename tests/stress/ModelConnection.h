#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "rung/base/CountDownLatch.h"
#include "rung/net/Buffer.h"
#include "rung/net/Callbacks.h"
#include "rung/net/CloseReason.h"
#include "rung/net/Mailbox.h"
#include "rung/net/TcpConnection.h"

#include "tests/stress/ModelPeer.h"
#include "tests/stress/ModelScript.h"

namespace rung::testing {

struct ModelConnection;

/// One thread, as one connection sees it: all callbacks of a connection are one actor.
/// Thread: the actor's. Others look at it when the round is over.
class ModelActor {
 public:
  ModelActor(ModelConnection& model, std::uint16_t number) : model_(model), number_(number) {}

  void perform(const Step& step, const TcpConnectionPtr& connection);
  void sleepAndPerform(const Script& script, const TcpConnectionPtr& connection);
  void shutdown(const TcpConnectionPtr& connection);
  /// Until the end of the script. If it is `due`, every send() until then must return true.
  void takeOver(TcpConnection::Hold hold, bool due) {
    hold_ = std::move(hold);
    due_ = due;
  }
  /// A send() that must return false.
  void expectRefusal(const TcpConnectionPtr& connection, const char* when);
  /// Keeps the first one.
  void complain(const std::string& what);

  [[nodiscard]] std::string name() const;
  [[nodiscard]] const std::string& problem() const { return problem_; }
  [[nodiscard]] bool hasShutDown() const { return hasShutDown_; }
  [[nodiscard]] std::uint32_t attempts() const { return attempts_; }
  /// The numbers of the frames for which send() returned true.
  [[nodiscard]] const std::vector<std::uint32_t>& accepted() const { return accepted_; }
  [[nodiscard]] std::size_t acceptedBytes() const { return acceptedBytes_; }
  /// How many sends that were due returned false.
  [[nodiscard]] std::uint32_t refusedThoughDue() const { return refusedThoughDue_; }
  bool send(Do how, std::uint32_t size, const TcpConnectionPtr& connection);

 private:
  void close(std::chrono::microseconds linger, const TcpConnectionPtr& connection);
  void hold(const TcpConnectionPtr& connection);
  void setSomething(const Step& step, const TcpConnectionPtr& connection);

  ModelConnection& model_;
  const std::uint16_t number_;
  std::vector<std::uint32_t> accepted_;
  std::uint32_t attempts_ = 0;
  std::size_t acceptedBytes_ = 0;
  bool hasShutDown_ = false;
  TcpConnection::Hold hold_;
  bool due_ = false;
  std::uint32_t refusedThoughDue_ = 0;
  std::string problem_;
};

/// A connection of the model: its plan, its two sides, and what they have seen.
/// Lifetime: outlives the server.
struct ModelConnection {
  ModelConnection(const ConnectionPlan& connectionPlan, std::size_t connectionNumber);

  // The callbacks.
  void up(const TcpConnectionPtr& live);
  void down(const TcpConnectionPtr& live);
  void message(const TcpConnectionPtr& live, Buffer& buffer);
  void handOver(const TcpConnectionPtr& live);
  void use(std::string_view bytes);
  void called(On callback, const TcpConnectionPtr& live);

  void setCallbacks(const TcpConnectionPtr& live);
  /// It is up, or, with nullptr, never will be. The first call counts.
  bool settle(const TcpConnectionPtr& live);
  /// The body of a worker's thread.
  void work(std::size_t worker);

  const ConnectionPlan& plan;
  const std::size_t number;
  ModelPeer peer;
  std::vector<std::unique_ptr<ModelActor>> actors;  // [0]: the callbacks; [n]: worker n

  std::atomic<bool> isSettled{false};
  CountDownLatch settled{1};
  TcpConnectionPtr connection;       // once settled
  std::shared_ptr<Mailbox> mailbox;  // likewise

  bool stays = false;  // longer than it should
  bool late = false;   // it came up when the server had ended

  std::atomic<std::size_t> workersLeft;
  std::atomic<bool> finishing{false};   // from here on nobody stops reading
  std::atomic<bool> cut{false};         // somebody has called forceClose()
  std::atomic<bool> closed{false};      // or close()
  std::atomic<bool> closedSoon{false};  // with a linger of next to nothing
  CountDownLatch handedOver{1};         // `held` is there, or never will be
  TcpConnection::Hold held;
  bool heldInTime = false;

  // The loop's, until the round is over.
  int ups = 0;
  int downs = 0;
  int error = 0;
  CloseReason reason = CloseReason::none;
  std::size_t lostBytes = 0;
  std::size_t highWaterMark;
  bool readingStopped = false;  // by the callback that runs
  bool closedByCallback = false;
  std::uint64_t timesLeft = 0;  // that a careful callback has left something
  std::size_t inputBytes = 0;
  std::chrono::steady_clock::time_point downAt;
  std::array<std::size_t, kCallbacks.size()> calls{};
};

}  // namespace rung::testing
