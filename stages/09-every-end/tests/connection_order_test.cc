// What was accepted keeps its place: no end of the connection, whoever asks for it, overtakes the
// bytes of a send() that returned true.

#include <doctest/doctest.h>
#include <sys/socket.h>

#include <chrono>
#include <future>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "tests/support/Alone.h"
#include "tests/support/LoopRounds.h"
#include "tests/support/Observed.h"
#include "tests/support/ServerThread.h"

using namespace std::chrono_literals;
using rung::CloseReason;
using rung::TcpConnectionPtr;
using rung::TcpServer;
using rung::testing::Alone;
using rung::testing::BlockedLoop;
using rung::testing::fillKernel;
using rung::testing::Observed;
using rung::testing::pattern;
using rung::testing::runRounds;
using rung::testing::take;

namespace {

void spinFor(std::chrono::microseconds time) {
  const auto end = std::chrono::steady_clock::now() + time;
  while (std::chrono::steady_clock::now() < end) {
  }
}

// shutdown() changed the state at once, on the thread that called it. The loop, done with what it
// had, saw that and sent the FIN; the tail was in the Mailbox still, and was dropped.
TEST_CASE("TcpConnection order: what waits in the Mailbox is sent before the FIN") {
  Observed f;
  const TcpConnectionPtr connection = f.connection();
  std::size_t taken = 0;
  std::size_t sent = 0;
  f.server.inLoop([&] {
    taken = fillKernel(connection);
    sent = taken + connection->outputBytes();
  });
  BlockedLoop loop(f.server.loop());
  CHECK(connection->send("tail"));
  connection->shutdown();
  std::string got = f.client.receive(taken);
  loop.release();  // there is room for the rest of the output, which the loop sees to first
  got += f.client.receiveAll();
  CHECK(got.size() == sent + 4);
  CHECK(got.ends_with("tail"));
  f.client.close();
  CHECK(f.ended() == 0);
  CHECK(connection->closeReason() == CloseReason::local);
  CHECK(connection->outputBytes() == 0);
}

// The same as it was met: one connection in six lost its tail on a busy machine.
TEST_CASE("TcpConnection order: a large answer, its tail and shutdown, in a hundred rounds") {
  const std::string large = pattern(200'000);
  for (int round = 0; round < 100; ++round) {
    Observed f({}, 1);
    const TcpConnectionPtr connection = f.connection();
    std::string got;
    std::thread reader([&] { got = f.client.receiveAll(); });
    CHECK(connection->send(std::string_view(large)));
    spinFor(round % 10 * 40us);
    CHECK(connection->send("tail"));
    spinFor(round % 7 * 20us);
    connection->shutdown();
    reader.join();
    REQUIRE(got.size() == large.size() + 4);
    CHECK(got.ends_with("tail"));
  }
}

// The peer's FIN ended the connection as soon as it was read, ahead of sends that were on their way
// to the loop.
TEST_CASE("TcpConnection order: what waits in the Mailbox is sent though the peer half-closes") {
  Observed f;
  const TcpConnectionPtr connection = f.connection();
  const std::string answer = pattern(1 << 20);
  BlockedLoop loop(f.server.loop());
  CHECK(connection->send(std::string_view(answer)));
  CHECK(connection->send("tail"));
  f.client.shutdownWrite();
  loop.release();
  CHECK(f.client.receiveAll() == answer + "tail");
  CHECK(f.client.lastError() == 0);
  CHECK(f.ended() == 0);
  CHECK(connection->closeReason() == CloseReason::peer);
}

TEST_CASE("TcpConnection order: what waits in the Mailbox is sent though the server stops") {
  Observed f;
  const TcpConnectionPtr connection = f.connection();
  std::promise<TcpServer::StopResult> stopped;
  {
    const BlockedLoop loop(f.server.loop());
    f.server.server().stop(10s, [&](TcpServer::StopResult r) { stopped.set_value(r); });
    CHECK(connection->send("sent before the server looked at it"));
  }
  CHECK(f.client.receiveAll() == "sent before the server looked at it");
  f.client.close();
  CHECK(stopped.get_future().get().drained == 1);
}

TEST_CASE("TcpConnection order: after one's own shutdown, close or forceClose send says no") {
  using Ending = void (*)(rung::TcpConnection&);
  const std::vector<Ending> endings = {[](rung::TcpConnection& c) { c.shutdown(); },
                                       [](rung::TcpConnection& c) { c.close(10s); },
                                       [](rung::TcpConnection& c) { c.forceClose(); }};
  for (std::size_t i = 0; i < endings.size(); ++i) {
    for (const bool fromLoop : {true, false}) {
      CAPTURE(i);
      CAPTURE(fromLoop);
      Observed f;
      const TcpConnectionPtr connection = f.connection();
      const auto end = [&] {
        CHECK(connection->send("before"));
        endings[i](*connection);
        CHECK_FALSE(connection->send("after"));
        CHECK_FALSE(connection->send(std::string("after")));
      };
      fromLoop ? f.server.inLoop(end) : end();
      CHECK(f.client.receiveAll() == "before");
      f.client.close();
      CHECK(f.ended() == 0);
      CHECK(connection->outputBytes() == 0);
    }
  }
}

// The smallest ones there are: an account that is wrong by one forgets them.
TEST_CASE(
    "TcpConnection order: one byte from another thread is sent, and owed to who half-closes") {
  Alone f;
  CHECK(shutdown(f.pair.theirs.get(), SHUT_WR) == 0);
  std::thread([&] { CHECK(f.connection->send("x")); }).join();
  CHECK(f.connection->outputBytes() == 1);
  f.connection->drain();
  CHECK(f.connection->send("y"));  // while something is owed, more may follow
  runRounds(f.loop, 3);
  const std::string got = take(f.pair.theirs.get());
  CHECK((got == "yx" || got == "xy"));  // each thread has an order of its own
  CHECK_FALSE(f.connection->connected());
  CHECK(f.connection->outputBytes() == 0);
}

}  // namespace
