#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "rung/base/ThreadPool.h"
#include "rung/net/EventLoop.h"
#include "rung/net/InetAddress.h"
#include "rung/net/TcpServer.h"

/// Answers lines "N" with "N: its prime factors", computed by a pool of workers.
/// The answers of a connection come in the order of its requests, although the workers end in any
/// order: each request has a place in its connection's Session, and an answer waits there for those
/// before it. Nothing here is locked: a Session belongs to the I/O thread of its connection, and
/// workers post their answers to it.
/// All is bounded: a line, the requests of a connection under way (beyond them, nothing more is
/// read from it), and what waits for a worker (beyond it, the answer is "busy").
/// Thread: the base loop's.
class FactorServer : rung::noncopyable {
 public:
  static constexpr std::uint64_t kMaxNumber = 10'000'000'000'000'000;
  static constexpr std::size_t kMaxLineBytes = 64;
  static constexpr std::size_t kMaxPending = 16;

  FactorServer(rung::EventLoop* loop, const rung::InetAddress& address, std::size_t maxQueue);
  ~FactorServer();

  /// Starts the workers; common::serve() starts the rest.
  void start(int ioThreads, int workers);
  /// Takes no more requests, and calls `done` when those under way are answered.
  void finish(std::function<void()> done);

  [[nodiscard]] rung::TcpServer& tcp() { return server_; }

 private:
  struct Session;

  static Session& sessionOf(const rung::TcpConnectionPtr& connection);
  void advance(const rung::TcpConnectionPtr& connection);
  bool takeRequests(const rung::TcpConnectionPtr& connection);
  void request(const rung::TcpConnectionPtr& connection, std::string_view line);
  bool compute(const rung::TcpConnectionPtr& connection, std::uint64_t id, std::uint64_t number);
  void deliver(const std::weak_ptr<rung::TcpConnection>& asker, std::uint64_t id,
               std::string answer);
  void requestEnded();

  rung::EventLoop* const loop_;
  std::atomic<bool> finishing_{false};
  std::atomic<std::size_t> underWay_{0};  // requests that workers have, or will have
  std::function<void()> done_;
  rung::ThreadPool pool_;
  rung::TcpServer server_;  // last, so that it goes first: its callbacks use the rest
};
