// The end for having been idle: of whom it is said, and of whom it is not.

#include <doctest/doctest.h>
#include <sys/socket.h>

#include <chrono>
#include <functional>
#include <string>

#include "rung/net/EventLoop.h"

#include "tests/support/ChangeCallbacks.h"
#include "tests/support/Client.h"
#include "tests/support/Observed.h"
#include "tests/support/ServerThread.h"

using namespace std::chrono_literals;
using rung::CloseReason;
using rung::EventLoop;
using rung::TcpConnectionPtr;
using rung::TcpServer;
using rung::testing::changeCallbacks;
using rung::testing::Observed;
using rung::testing::ServerThread;

namespace {

/// Does `work` every 10 ms on the loop, `times` times. The loop that turns the wheel does it, so
/// that on a slow machine both are slow.
void onBeat(EventLoop* loop, int times, const std::function<void()>& work) {
  rung::CountDownLatch done(times);
  const rung::TimerId beat = loop->runEvery(10ms, [&] {
    work();
    done.countDown();
  });
  done.wait();
  ServerThread::runOn(loop, [&] { loop->cancel(beat); });
}

// What refreshed a connection was wrapped around the server's message callback. One that had its
// own was closed though it talked.
TEST_CASE("TcpServer idle timeout: who talks stays, whoever handles its messages") {
  Observed f([](TcpServer& s) { s.setIdleTimeout(80ms, 10ms); });
  const TcpConnectionPtr connection = f.connection();
  f.server.inLoop([&] {
    changeCallbacks(*connection, [](rung::ConnectionCallbacks& own) {
      own.message = [](const TcpConnectionPtr&, rung::Buffer& buffer, rung::Timestamp) {
        buffer.retrieveAll();
      };
    });
  });
  onBeat(f.server.loop(), 40, [&] { f.client.send("x"); });
  CHECK(f.downs == 0);
  CHECK(f.client.receiveAll().empty());
  CHECK(f.ended() == 0);
  CHECK(connection->closeReason() == CloseReason::idle);
}

// A push every 50 ms, read at once: whenever somebody looked, no output waited, and that was taken
// for silence.
TEST_CASE("TcpServer idle timeout: who is sent something now and then stays") {
  Observed f([](TcpServer& s) { s.setIdleTimeout(80ms, 10ms); });
  const TcpConnectionPtr connection = f.connection();
  onBeat(f.server.loop(), 40, [&] { connection->send("x"); });
  CHECK(f.downs == 0);
  CHECK(f.client.receiveAll().size() >= 40);
  CHECK(f.ended() == 0);
  CHECK(connection->closeReason() == CloseReason::idle);
}

// The kernel says "writable" only when much of its own buffer is free again. A peer that reads 16
// MiB slowly was cut between two of these.
TEST_CASE("TcpServer idle timeout: a peer that reads at a trickle stays, its window full") {
  Observed f([](TcpServer& s) { s.setIdleTimeout(150ms, 10ms); });
  const TcpConnectionPtr connection = f.connection();
  connection->send(std::string(16 << 20, 'x'));
  std::string piece(20'000, '\0');
  std::size_t left = 0;
  onBeat(f.server.loop(), 120, [&] {
    (void)recv(f.client.fd(), piece.data(), piece.size(), MSG_DONTWAIT);
    left = connection->outputBytes();
  });
  CHECK(f.downs == 0);
  CHECK(left > 8 << 20);
  CHECK(f.ended() == 0);
  CHECK(connection->closeReason() == CloseReason::idle);
  CHECK(connection->outputBytes() > 8 << 20);
}

// A queue that grew was taken for progress: 249 MiB waited for a peer that never read.
TEST_CASE("TcpServer idle timeout: a peer that never reads is closed, though one goes on sending") {
  Observed f([](TcpServer& s) { s.setIdleTimeout(80ms, 10ms); });
  const TcpConnectionPtr connection = f.connection();
  const rung::TimerId beat =
      f.server.loop()->runEvery(10ms, [&] { connection->send(std::string(100'000, 'x')); });
  CHECK(f.ended() == 0);
  CHECK(connection->closeReason() == CloseReason::idle);
  f.server.inLoop([&] { f.server.loop()->cancel(beat); });
}

// It waited for the server's own work, and the application could not say so.
TEST_CASE("TcpServer idle timeout: one that is held is not idle, until it is let go") {
  Observed f([](TcpServer& s) { s.setIdleTimeout(50ms, 10ms); });
  auto hold = f.connection()->hold();
  onBeat(f.server.loop(), 30, [] {});
  CHECK(f.downs == 0);
  const TcpConnectionPtr connection = hold.connection();
  hold.release();
  CHECK(f.ended() == 0);
  CHECK(connection->closeReason() == CloseReason::idle);
}

}  // namespace
