#include <doctest/doctest.h>

#include <cerrno>
#include <cstdlib>
#include <limits>
#include <new>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "rung/net/TcpConnection.h"

#include "tests/support/Allocations.h"
#include "tests/support/Alone.h"
#include "tests/support/LoopRounds.h"
#include "tests/support/Sockets.h"

using namespace std::chrono_literals;
using rung::Buffer;
using rung::CloseReason;
using rung::ConnectionProfile;
using rung::TcpConnection;
using rung::TcpConnectionPtr;
using rung::Timestamp;
using rung::testing::Alone;
using rung::testing::NoMemory;
using rung::testing::put;
using rung::testing::runRounds;
using rung::testing::take;

namespace {

/// Whether `call` throws bad_alloc on a thread that has no memory, and not even for a task; nothing
/// is refused after the first `refused` times.
template <class Call>
bool throwsElsewhere(TcpConnection& connection, Call call,
                     int refused = std::numeric_limits<int>::max()) {
  bool thrown = false;
  std::thread([&] {
    try {
      const NoMemory none(0, refused);
      call(connection);
    } catch (const std::bad_alloc&) {
      thrown = true;
    }
  }).join();
  return thrown;
}

// They had changed the state before they threw: the next shutdown() did nothing, and the peer
// waited for its FIN for ever.
TEST_CASE("TcpConnection memory: a call that throws on another thread has done nothing") {
  void (*const calls[])(TcpConnection&) = {
      [](TcpConnection& c) { c.shutdown(); },
      [](TcpConnection& c) { c.close(1s); },
      [](TcpConnection& c) { c.forceClose(); },
      [](TcpConnection& c) { c.stopRead(); },
  };
  for (const auto call : calls) {
    Alone f;
    REQUIRE(throwsElsewhere(*f.connection, call));
    CHECK(f.connection->send("still open"));
    CHECK(f.connection->isReading());
    CHECK(f.connection->closeReason() == CloseReason::none);
    std::thread([&] { f.connection->shutdown(); }).join();
    runRounds(f.loop, 2);
    CHECK(take(f.pair.theirs.get()) == "still open");
    char byte;
    CHECK(read(f.pair.theirs.get(), &byte, 1) == 0);  // the FIN
  }
}

TEST_CASE("TcpConnection memory: a send that throws is not counted, and a Buffer keeps its bytes") {
  Alone f;
  Buffer buffer;
  buffer.append("kept");
  CHECK(throwsElsewhere(*f.connection, [&](TcpConnection& c) { (void)c.send(buffer); }));
  CHECK(buffer.view() == "kept");
  CHECK(throwsElsewhere(*f.connection, [](TcpConnection& c) { (void)c.send("lost"); }));
  CHECK(throwsElsewhere(*f.connection, [&](TcpConnection& c) { (void)c.send(std::string()); }) ==
        false);
  CHECK(f.connection->outputBytes() == 0);
  f.connection->shutdown();
  runRounds(f.loop, 2);
  char byte;
  CHECK(read(f.pair.theirs.get(), &byte, 1) == 0);  // nothing is waited for
}

// They are counted until the loop has heard that they do not come. The message callback leaves its
// input for them, and the FIN waits for them.
TEST_CASE("TcpConnection memory: what waits for bytes that then do not come goes on") {
  for (const bool withInput : {true, false}) {
    CAPTURE(withInput);
    ConnectionProfile profile;
    profile.callbacks.limits.highWaterMark = 4;
    int offered = 0;
    profile.callbacks.message = [&](const TcpConnectionPtr& c, Buffer& buffer, Timestamp) {
      ++offered;
      if (c->outputBytes() == 0) buffer.retrieveAll();
    };
    Alone f(std::move(profile));
    CHECK(throwsElsewhere(
        *f.connection, [](TcpConnection& c) { (void)c.send("lost"); }, 1));
    CHECK(f.connection->outputBytes() == 4);
    if (withInput) put(f.pair.theirs, "x");
    f.connection->shutdown();
    runRounds(f.loop, 3);
    CHECK(f.connection->outputBytes() == 0);
    CHECK(offered == (withInput ? 2 : 0));
    char byte;
    CHECK(read(f.pair.theirs.get(), &byte, 1) == 0);  // the FIN
  }
}

// There is no task that would tell the loop, so the next event has to.
TEST_CASE("TcpConnection memory: a hold that ends without memory for its task holds no more") {
  Alone f(ConnectionProfile{});
  TcpConnection::Hold hold = f.connection->hold();
  CHECK_FALSE(throwsElsewhere(*f.connection, [&](TcpConnection&) { hold.release(); }));
  CHECK_FALSE(f.connection->isHeld());
  f.pair.theirs.reset();
  runRounds(f.loop, 2);
  CHECK_FALSE(f.connection->connected());
}

TEST_CASE("TcpConnection memory: without memory for what the kernel does not take, it ends") {
  Alone f;
  CHECK(f.connection->send(std::string(4 << 20, 'x')));  // more than the kernel takes
  REQUIRE(f.connection->outputBytes() > 0);
  const std::string more(1 << 20, 'y');
  {
    const NoMemory none;
    CHECK_FALSE(f.connection->send(more));
  }
  CHECK_FALSE(f.connection->send("after what is lost"));
  CHECK(f.connection->closeReason() == CloseReason::outOfMemory);
  runRounds(f.loop, 2);
  CHECK_FALSE(f.connection->connected());
}

// What is left of much moves to less memory, for which there may be none.
TEST_CASE("TcpConnection memory: without memory for what is left when offered it ends") {
  if (std::getenv("RUNG_SANITIZED") != nullptr) {
    MESSAGE("skipped: a sanitizer has an operator new[] of its own");
    return;
  }
  ConnectionProfile profile;
  std::optional<NoMemory> none;
  int calls = 0;
  profile.callbacks.message = [&](const TcpConnectionPtr& c, Buffer& buffer, Timestamp) {
    buffer.retrieve(++calls == 1 ? 1 : 7'000);
    if (calls == 1) return c->stopRead();
    none.emplace(0, 1);
  };
  Alone f(std::move(profile));
  put(f.pair.theirs, std::string(8'000, 'x'));
  runRounds(f.loop, 2);
  f.connection->startRead();
  runRounds(f.loop, 2);
  none.reset();
  CHECK(calls == 2);
  CHECK_FALSE(f.connection->connected());
  CHECK(f.connection->closeReason() == CloseReason::outOfMemory);
}

// It is an owner's callback, and so its exception would leave close(), or end the process.
TEST_CASE("TcpConnection memory: without memory for the time to linger it ends") {
  ConnectionProfile profile;
  profile.lingerCallback = [](const TcpConnectionPtr&, auto) { throw std::bad_alloc(); };
  Alone f(std::move(profile));
  CHECK_NOTHROW(f.connection->close(1s));
  runRounds(f.loop, 2);
  CHECK_FALSE(f.connection->connected());
  CHECK(f.connection->closeReason() == CloseReason::outOfMemory);
}

TEST_CASE(
    "TcpConnection memory: in its loop, one that cannot even post its end ends all the same") {
  Alone f;
  {
    const NoMemory none;
    f.connection->forceClose();
  }
  CHECK_FALSE(f.connection->send("x"));
  runRounds(f.loop, 2);
  CHECK_FALSE(f.connection->connected());
  CHECK(f.connection->closeReason() == CloseReason::outOfMemory);
  CHECK(f.connection->error() == ENOMEM);
}

}  // namespace
