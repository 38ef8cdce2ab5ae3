// Back-pressure that reaches the message callback: what it leaves because it could not go on is
// offered again. And what waits to be sent: how much it is, and how much memory it takes.

#include <doctest/doctest.h>
#include <malloc.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "tests/support/Alone.h"
#include "tests/support/Client.h"
#include "tests/support/LoopRounds.h"
#include "tests/support/Observed.h"
#include "tests/support/QuietLog.h"
#include "tests/support/ServerThread.h"
#include "tests/support/Sockets.h"

using namespace std::chrono_literals;
using rung::Buffer;
using rung::CloseReason;
using rung::ConnectionProfile;
using rung::TcpConnectionPtr;
using rung::TcpServer;
using rung::Timestamp;
using rung::testing::Alone;
using rung::testing::BlockedLoop;
using rung::testing::eventually;
using rung::testing::fillKernel;
using rung::testing::kMuch;
using rung::testing::Observed;
using rung::testing::put;
using rung::testing::runRounds;
using rung::testing::take;

namespace {

/// Takes one line, without its newline. False if there is none that is whole.
bool takeLine(Buffer& buffer, std::string& line) {
  const std::size_t end = buffer.view().find('\n');
  if (end == std::string_view::npos) return false;
  line = buffer.retrieveAsString(end + 1);
  line.pop_back();
  return true;
}

/// "0\n1\n2\n…"
std::string numberedLines(int count) {
  std::string lines;
  for (int i = 0; i < count; ++i)
    lines += std::to_string(i) + "\n";
  return lines;
}

TEST_CASE("TcpConnection left: callbacks of its own may say that reading is not held back") {
  ConnectionProfile profile;
  profile.callbacks.limits = {.highWaterMark = 1, .lowWaterMark = 0};
  Alone f(std::move(profile));
  CHECK(f.connection->send(kMuch));
  REQUIRE_FALSE(f.connection->isReading());
  auto own = std::make_shared<rung::ConnectionCallbacks>();
  own->limits = {.highWaterMark = 1, .lowWaterMark = 0, .pauseReading = false};
  f.connection->setCallbacks(own);
  CHECK(f.connection->isReading());
}

TEST_CASE("TcpConnection left: callbacks of its own may say that what waits is not much") {
  ConnectionProfile profile;
  profile.callbacks.limits = {.highWaterMark = 1, .lowWaterMark = 0};
  Alone f(std::move(profile));
  CHECK(f.connection->send(kMuch));
  REQUIRE_FALSE(f.connection->isReading());
  auto own = std::make_shared<rung::ConnectionCallbacks>();
  own->limits = {.highWaterMark = 2 * kMuch.size(), .lowWaterMark = kMuch.size()};
  std::size_t low = 0;
  own->lowWaterMark = [&](const TcpConnectionPtr&, std::size_t bytes) { low = bytes; };
  f.connection->setCallbacks(own);
  CHECK(f.connection->isReading());
  runRounds(f.loop, 2);
  CHECK(low > 0);
  CHECK(low == f.connection->outputBytes());
}

TEST_CASE("TcpConnection left: with a high-water mark of 0, nothing unsent is not too much") {
  int calls = 0;
  ConnectionProfile profile;
  profile.callbacks.limits = {.highWaterMark = 0, .lowWaterMark = 0};
  profile.callbacks.message = [&](const TcpConnectionPtr& c, Buffer& buffer, Timestamp) {
    buffer.retrieve(1);
    if (++calls == 1) c->stopRead();
  };
  Alone f(std::move(profile));
  put(f.pair.theirs, "ab");
  runRounds(f.loop, 2);
  CHECK(calls == 1);
  f.connection->startRead();
  runRounds(f.loop, 2);
  CHECK(calls == 2);
}

// All that was read was answered, 219 MiB of it, as no mark stops a callback that has its requests
// already. One that stopped by itself stalled: what it had left was not offered again, 84 of 1,000
// were answered.
TEST_CASE("TcpConnection left: pipelined requests, answered as far as a slow reader allows") {
  // What comes behind the requests, while most of them wait: nothing, the peer's FIN, or a stop().
  enum class Then { nothing, halfClose, stop };
  constexpr struct {
    Then then;
    bool pauseReading;
  } kTests[] = {
      {Then::nothing, true}, {Then::halfClose, true}, {Then::halfClose, false}, {Then::stop, true}};
  for (const auto& test : kTests) {
    CAPTURE(static_cast<int>(test.then));
    CAPTURE(test.pauseReading);
    constexpr int kRequests = 400;
    constexpr std::size_t kHigh = 100'000;
    const std::string body(20'000, 'x');
    std::atomic<std::size_t> most{0};
    Observed f([&](TcpServer& s) {
      s.setLimits(
          {.highWaterMark = kHigh, .lowWaterMark = 10'000, .pauseReading = test.pauseReading});
      s.setMessageCallback([&](const TcpConnectionPtr& c, Buffer& buffer, Timestamp) {
        std::string line;
        while (c->outputBytes() < kHigh && takeLine(buffer, line))
          c->send(line + " " + body + "\n");
        most = std::max(most.load(), c->outputBytes());
      });
    });
    CHECK(f.client.send(numberedLines(kRequests)));
    if (test.then == Then::halfClose) f.client.shutdownWrite();
    CHECK(eventually([&] { return most >= kHigh; }));
    if (test.then == Then::stop) f.server.server().stop(1h);
    std::string expected;
    for (int i = 0; i < kRequests; ++i)
      expected += std::to_string(i) + " " + body + "\n";
    const bool same = f.client.receive(expected.size()) == expected;
    CHECK(same);
    CHECK(most < kHigh + 2 * body.size());
    f.client.shutdownWrite();
    CHECK(f.client.receiveAll().empty());
    CHECK(f.ended() == 0);
  }
}

// A callback that takes one request at a time, and stops reading until that is answered, was called
// for the first of three.
TEST_CASE("TcpConnection left: one request at a time, answered elsewhere, each with its turn") {
  for (const bool halfClose : {false, true}) {
    CAPTURE(halfClose);
    std::vector<std::thread> workers;
    Observed f([&](TcpServer& s) {
      s.setMessageCallback([&](const TcpConnectionPtr& c, Buffer& buffer, Timestamp) {
        std::string line;
        if (!takeLine(buffer, line)) return;
        c->stopRead();
        workers.emplace_back([hold = c->hold(), line] {
          CHECK(hold->send(line + " done\n"));
          hold->startRead();
        });
      });
    });
    f.client.send("1\n2\n3\n");
    if (halfClose) f.client.shutdownWrite();
    CHECK(f.client.receive(21) == "1 done\n2 done\n3 done\n");
    if (!halfClose) f.client.shutdownWrite();
    CHECK(f.client.receiveAll().empty());
    CHECK(f.ended() == 0);
    for (std::thread& worker : workers)
      worker.join();
  }
}

// What workers have sent counts before the loop has it: no mark was reached, so none was left
// again.
TEST_CASE(
    "TcpConnection left: what waited for sends in the Mailbox is offered when these are out") {
  constexpr std::size_t kHigh = 1000;
  std::atomic<bool> stopped{false};
  Observed f([&](TcpServer& s) {
    s.setLimits({.highWaterMark = kHigh, .lowWaterMark = 100});
    s.setMessageCallback([&](const TcpConnectionPtr& c, Buffer& buffer, Timestamp) {
      std::string line;
      while (c->outputBytes() < kHigh && takeLine(buffer, line))
        c->send(line);
      if (!buffer.empty()) stopped = true;
    });
  });
  const TcpConnectionPtr connection = f.connection();
  {
    const BlockedLoop loop(f.server.loop());
    CHECK(connection->send(std::string(kHigh, 'x')));
    f.client.send("1\n2\n3\n");
    f.client.shutdownWrite();
  }
  CHECK(f.client.receiveAll() == std::string(kHigh, 'x') + "123");
  CHECK(stopped);
  CHECK(f.ended() == 0);
}

TEST_CASE("TcpConnection left: who stops and starts within one call is not called without end") {
  ConnectionProfile profile;
  int calls = 0;
  std::string got;
  profile.callbacks.message = [&](const TcpConnectionPtr& c, Buffer& buffer, Timestamp) {
    ++calls;
    c->stopRead();
    c->startRead();
    std::string line;
    if (takeLine(buffer, line)) got += line;
  };
  Alone f(std::move(profile));
  put(f.pair.theirs, "half a li");
  runRounds(f.loop, 10);
  CHECK(calls == 1);
  put(f.pair.theirs, "ne\n");
  runRounds(f.loop, 10);
  CHECK(calls == 2);
  CHECK(got == "half a line");
}

TEST_CASE("TcpConnection left: what is not whole is not offered again, however often one starts") {
  ConnectionProfile profile;
  int calls = 0;
  profile.callbacks.message = [&](const TcpConnectionPtr&, Buffer&, Timestamp) { ++calls; };
  Alone f(std::move(profile));
  put(f.pair.theirs, "half a li");
  runRounds(f.loop, 2);
  for (int i = 0; i < 3; ++i) {
    f.connection->stopRead();
    f.connection->startRead();
    runRounds(f.loop, 2);
  }
  CHECK(calls == 1);
}

// Half a message waits for the other half, and not for the loop.
TEST_CASE("TcpConnection left: half a message that is left when offered is not owed any more") {
  ConnectionProfile profile;
  int calls = 0;
  profile.callbacks.message = [&](const TcpConnectionPtr& c, Buffer& buffer, Timestamp) {
    if (++calls > 1) return;
    buffer.retrieve(1);
    c->stopRead();
  };
  Alone f(std::move(profile));
  put(f.pair.theirs, "abc");
  runRounds(f.loop, 2);
  f.connection->startRead();
  runRounds(f.loop, 3);
  CHECK(calls == 2);
  ::shutdown(f.pair.theirs.get(), SHUT_WR);
  runRounds(f.loop, 3);
  CHECK(calls == 2);
  CHECK_FALSE(f.connection->connected());
}

// Both sides had sent their FIN while reading was stopped. The hang-up found no byte in the kernel
// and ended the connection; what the callback had left was never offered again.
TEST_CASE("TcpConnection left: the end of both directions waits for what was left while stopped") {
  ConnectionProfile profile;
  std::string got;
  profile.callbacks.message = [&](const TcpConnectionPtr& c, Buffer& buffer, Timestamp) {
    const bool first = got.empty();
    got += first ? buffer.retrieveAsString(1) : buffer.retrieveAllAsString();
    if (first) c->stopRead();
  };
  Alone f(std::move(profile));
  put(f.pair.theirs, "abc");
  runRounds(f.loop, 2);
  f.connection->shutdown();
  ::shutdown(f.pair.theirs.get(), SHUT_WR);
  runRounds(f.loop, 3);
  CHECK(f.connection->connected());
  f.connection->startRead();
  runRounds(f.loop, 3);
  CHECK(got == "abc");
  CHECK_FALSE(f.connection->connected());
  CHECK(f.connection->closeReason() == CloseReason::local);
}

// When the output was out, nothing waited but what the callback had left, and that was to be
// offered in the next round; but both directions had ended, and so the connection ended at once.
TEST_CASE("TcpConnection left: is offered before the end, though shutdown() was called meanwhile") {
  ConnectionProfile profile;
  profile.callbacks.limits = {.highWaterMark = 1, .lowWaterMark = 0, .pauseReading = false};
  std::string got;
  profile.callbacks.message = [&](const TcpConnectionPtr& c, Buffer& buffer, Timestamp) {
    const bool first = got.empty();
    got += first ? buffer.retrieveAsString(1) : buffer.retrieveAllAsString();
    if (first) c->send(kMuch);
  };
  Alone f(std::move(profile));
  put(f.pair.theirs, "abc");
  ::shutdown(f.pair.theirs.get(), SHUT_WR);
  runRounds(f.loop, 3);
  CHECK(got == "a");
  f.connection->shutdown();
  for (int rounds = 0; f.connection->connected() && rounds < 10'000; ++rounds) {
    (void)take(f.pair.theirs.get(), 1 << 20);
    runRounds(f.loop, 1);
  }
  CHECK_FALSE(f.connection->connected());
  CHECK(got == "abc");
}

TEST_CASE("TcpConnection left: waits for startRead(), though the peer and this side have ended") {
  ConnectionProfile profile;
  profile.callbacks.limits = {.highWaterMark = 1, .lowWaterMark = 0, .pauseReading = false};
  std::string got;
  profile.callbacks.message = [&](const TcpConnectionPtr& c, Buffer& buffer, Timestamp) {
    const bool first = got.empty();
    got += first ? buffer.retrieveAsString(1) : buffer.retrieveAllAsString();
    if (first) c->send(kMuch);
  };
  Alone f(std::move(profile));
  put(f.pair.theirs, "abc");
  ::shutdown(f.pair.theirs.get(), SHUT_WR);
  runRounds(f.loop, 3);
  f.connection->stopRead();
  f.connection->shutdown();
  for (std::size_t received = 0; received < kMuch.size();) {
    received += take(f.pair.theirs.get(), 1 << 20).size();
    runRounds(f.loop, 1);
  }
  runRounds(f.loop, 3);
  CHECK(f.connection->connected());
  f.connection->startRead();
  runRounds(f.loop, 3);
  CHECK(got == "abc");
  CHECK_FALSE(f.connection->connected());
  CHECK(f.connection->closeReason() == CloseReason::peer);
}

// close() throws away what was left, too: nothing is to be waited for.
TEST_CASE("TcpConnection left: of a connection that is closed is not owed any more") {
  ConnectionProfile profile;
  profile.callbacks.message = [](const TcpConnectionPtr& c, Buffer&, Timestamp) { c->stopRead(); };
  profile.callbacks.halfClose = [](const TcpConnectionPtr&) {};
  Alone f(std::move(profile));
  put(f.pair.theirs, "left");
  runRounds(f.loop, 2);
  ::shutdown(f.pair.theirs.get(), SHUT_WR);
  f.connection->close(1h);
  runRounds(f.loop, 4);
  CHECK_FALSE(f.connection->connected());
}

// The limit is on what is left; and what is offered again may be the reason to end.
TEST_CASE(
    "TcpConnection left: a callback may end the connection, or leave too much, when offered") {
  const rung::testing::QuietLog quiet;
  for (const bool ends : {true, false}) {
    CAPTURE(ends);
    ConnectionProfile profile;
    profile.callbacks.limits.maxInput = 10;
    int calls = 0;
    profile.callbacks.message = [&](const TcpConnectionPtr& c, Buffer& buffer, Timestamp) {
      if (++calls == 1) return c->stopRead();
      if (ends) return c->connectDestroyed();
      buffer.append("more than the limit");
    };
    Alone f(std::move(profile));
    put(f.pair.theirs, "0123456789");
    runRounds(f.loop, 2);
    CHECK(f.connection->connected());
    f.connection->startRead();
    runRounds(f.loop, 2);
    CHECK(calls == 2);
    CHECK_FALSE(f.connection->connected());
    CHECK(f.connection->error() == (ends ? 0 : EMSGSIZE));
  }
}

// Something was left above the mark. Later bytes came, and a callback that could go on, as reading
// was not paused, took all of it. So nothing is left, and the peer's FIN is the end.
TEST_CASE("TcpConnection left: what a later call took is not owed any more") {
  ConnectionProfile profile;
  profile.callbacks.limits = {.highWaterMark = 1, .lowWaterMark = 0, .pauseReading = false};
  std::string got;
  profile.callbacks.message = [&](const TcpConnectionPtr& c, Buffer& buffer, Timestamp) {
    if (!got.empty()) {
      got += buffer.retrieveAllAsString();
      return;
    }
    c->send(kMuch);
    got = buffer.retrieveAsString(1);  // and leaves the rest
  };
  Alone f(std::move(profile));
  put(f.pair.theirs, "abc");
  runRounds(f.loop, 2);
  CHECK(got == "a");
  put(f.pair.theirs, "d");
  runRounds(f.loop, 2);
  CHECK(got == "abcd");
  shutdown(f.pair.theirs.get(), SHUT_WR);
  std::size_t received = 0;
  for (int rounds = 0; f.connection->connected() && rounds < 10'000; ++rounds) {
    received += take(f.pair.theirs.get(), 1 << 20).size();
    runRounds(f.loop, 1);
  }
  while (const std::size_t more = take(f.pair.theirs.get(), 1 << 20).size())
    received += more;
  CHECK(received == kMuch.size());
  CHECK_FALSE(f.connection->connected());
}

TEST_CASE("TcpConnection left: what was taken out of inputBuffer() meanwhile is not offered") {
  ConnectionProfile profile;
  int calls = 0;
  profile.callbacks.message = [&](const TcpConnectionPtr& c, Buffer& buffer, Timestamp) {
    CHECK_FALSE(buffer.empty());
    ++calls;
    c->stopRead();
  };
  Alone f(std::move(profile));
  put(f.pair.theirs, "left");
  runRounds(f.loop, 2);
  CHECK(f.connection->inputBuffer().retrieveAllAsString() == "left");
  f.connection->startRead();
  runRounds(f.loop, 3);
  CHECK(calls == 1);
  shutdown(f.pair.theirs.get(), SHUT_WR);
  runRounds(f.loop, 2);
  CHECK_FALSE(f.connection->connected());
}

// A worker read what the loop was writing to, a null pointer as it happened; and what it had sent
// itself was not counted until the loop came to it.
TEST_CASE("TcpConnection left: outputBytes() from any thread, with what is on its way") {
  Observed f;
  const TcpConnectionPtr connection = f.connection();
  {
    const BlockedLoop loop(f.server.loop());
    CHECK(connection->send("12345"));
    CHECK(connection->send(std::string(1000, 'x')));
    CHECK(connection->outputBytes() == 1005);
  }
  CHECK(f.client.receive(1005).size() == 1005);
  CHECK(eventually([&] { return connection->outputBytes() == 0; }));

  std::size_t taken = 0;
  f.server.inLoop([&] { taken = fillKernel(connection); });
  const std::size_t waiting = connection->outputBytes();
  CHECK(waiting > 0);
  CHECK(waiting < 10'000);
  CHECK(connection->send("on top"));
  CHECK(connection->outputBytes() == waiting + 6);
  CHECK(f.client.receive(taken + waiting + 6).size() == taken + waiting + 6);
  CHECK(eventually([&] { return connection->outputBytes() == 0; }));
}

TEST_CASE("TcpConnection left: outputBytes() from workers bounds what they send") {
  constexpr int kWorkers = 3;
  constexpr int kPieces = 100;
  constexpr std::size_t kPiece = 20'000;
  constexpr std::size_t kBound = 200'000;
  Observed f;
  const TcpConnectionPtr connection = f.connection();
  std::atomic<std::size_t> most{0};
  std::vector<std::thread> workers;
  for (int i = 0; i < kWorkers; ++i) {
    workers.emplace_back([&] {
      for (int left = kPieces; left > 0;) {
        const std::size_t waiting = connection->outputBytes();
        most = std::max(most.load(), waiting);
        if (waiting >= kBound) {
          std::this_thread::yield();
          continue;
        }
        CHECK(connection->send(std::string(kPiece, 'x')));
        --left;
      }
    });
  }
  CHECK(f.client.receive(kWorkers * kPieces * kPiece).size() == kWorkers * kPieces * kPiece);
  for (std::thread& worker : workers)
    worker.join();
  CHECK(most <= kBound + kWorkers * kPiece);
  CHECK(eventually([&] { return connection->outputBytes() == 0; }));
}

// What a string had reserved and not used was kept, and not counted: 0.6 MiB counted, 128 MiB held.
TEST_CASE("TcpConnection left: of a string that is moved in, what it does not use is not kept") {
  constexpr std::size_t kReserved = 1 << 20;
  constexpr int kStrings = 100;
  const auto memory = [] { return mallinfo2().uordblks + mallinfo2().hblkhd; };
  Alone f;
  CHECK(f.connection->send(kMuch));
  const std::size_t before = memory();
  for (int i = 0; i < kStrings; ++i) {
    std::string mostlyEmpty;
    mostlyEmpty.reserve(kReserved);
    mostlyEmpty.assign(20'000, 'y');
    CHECK(f.connection->send(std::move(mostlyEmpty)));
  }
  CHECK(memory() < before + kStrings * kReserved / 10);
}

}  // namespace
