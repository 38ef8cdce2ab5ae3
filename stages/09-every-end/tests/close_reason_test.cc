// Why a connection ended: each CloseReason, with its error(). And what does not end it in an
// orderly way: exceptions from callbacks.

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "rung/net/EventLoop.h"
#include "rung/net/TcpConnection.h"

#include "tests/support/Alone.h"
#include "tests/support/ChildProcess.h"
#include "tests/support/Client.h"
#include "tests/support/LimitMemory.h"
#include "tests/support/LoopRounds.h"
#include "tests/support/Observed.h"
#include "tests/support/QuietLog.h"
#include "tests/support/ServerThread.h"
#include "tests/support/Sockets.h"

using namespace std::chrono_literals;
using rung::Buffer;
using rung::CloseReason;
using rung::ConnectionProfile;
using rung::EventLoop;
using rung::InetAddress;
using rung::Socket;
using rung::TcpConnectionPtr;
using rung::TcpServer;
using rung::Timestamp;
using rung::UniqueFd;
using rung::testing::Alone;
using rung::testing::Client;
using rung::testing::eventually;
using rung::testing::kMuch;
using rung::testing::limitMemory;
using rung::testing::Observed;
using rung::testing::put;
using rung::testing::QuietLog;
using rung::testing::runInChild;
using rung::testing::runRounds;
using rung::testing::ServerThread;
using rung::testing::take;
using rung::testing::toNobody;

namespace {

TEST_CASE("CloseReason: each has a name") {
  CHECK(rung::nameOf(CloseReason::none) == "none");
  CHECK(rung::nameOf(CloseReason::local) == "local");
  CHECK(rung::nameOf(CloseReason::writeFailed) == "writeFailed");
  CHECK(rung::nameOf(CloseReason::idle) == "idle");
  CHECK(rung::nameOf(CloseReason::lingerExpired) == "lingerExpired");
  CHECK(rung::nameOf(CloseReason::loopGone) == "loopGone");
}

TEST_CASE("CloseReason: who closed first, the peer or this side") {
  for (const bool peerFirst : {true, false}) {
    Observed f;
    const TcpConnectionPtr connection = f.connection();
    CHECK(connection->closeReason() == CloseReason::none);
    if (!peerFirst) {
      connection->shutdown();
      CHECK(f.client.receiveAll().empty());
      CHECK(connection->closeReason() == CloseReason::none);
    }
    f.client.close();
    CHECK(f.ended() == 0);
    CHECK(connection->closeReason() == (peerFirst ? CloseReason::peer : CloseReason::local));
  }
}

TEST_CASE("CloseReason: a reset, read from or written to") {
  Observed f;
  f.client.reset();
  CHECK(f.ended() == ECONNRESET);
  CHECK(f.connection()->closeReason() == CloseReason::reset);
  Alone alone;
  shutdown(alone.pair.theirs.get(), SHUT_RD);
  CHECK_FALSE(alone.connection->send("x"));  // it was true, though the write had just failed
  CHECK(alone.connection->closeReason() == CloseReason::reset);
  CHECK(alone.connection->error() == EPIPE);
  CHECK(alone.connection->outputBytes() == 0);  // nothing was accepted
}

// The kernel gives an orderly end of file then, and the error to who asks for it. It looked as if
// all had been delivered.
TEST_CASE("CloseReason: the peer's FIN, our bytes, and its RST are a reset, and no orderly end") {
  Observed f;
  const TcpConnectionPtr connection = f.connection();
  f.server.inLoop([&] {
    f.client.close();
    CHECK(connection->send("for nobody"));
  });
  CHECK(f.ended() == EPIPE);
  CHECK(connection->closeReason() == CloseReason::reset);
}

// While nothing was wanted and nothing waited, the socket was not watched at all.
TEST_CASE("CloseReason: a reset is noticed while reading is stopped and nothing waits") {
  Observed f;
  const TcpConnectionPtr connection = f.connection();
  connection->stopRead();
  f.server.inLoop([] {});
  f.client.reset();
  CHECK(f.ended() == ECONNRESET);
  CHECK(connection->closeReason() == CloseReason::reset);
}

TEST_CASE("CloseReason: an error that is no reset, of a read, of a write, and of neither") {
  for (const bool reading : {true, false}) {
    for (const bool writing : {true, false}) {
      CAPTURE(reading);
      CAPTURE(writing);
      Alone f({}, Socket(toNobody()));
      if (!reading) f.connection->stopRead();
      CHECK(f.connection->send("x"));
      if (writing) {
        CHECK_FALSE(f.connection->send("y"));
        CHECK_FALSE(f.connection->send("z"));
      }
      runRounds(f.loop, 3);
      CHECK_FALSE(f.connection->connected());
      CHECK(f.connection->error() == ECONNREFUSED);
      CHECK(f.connection->closeReason() ==
            (writing ? CloseReason::writeFailed : CloseReason::readFailed));
    }
  }
}

TEST_CASE("CloseReason: more input than one may leave unread") {
  const QuietLog quiet;
  ConnectionProfile profile;
  profile.callbacks.limits.maxInput = 3;
  profile.callbacks.message = [](const TcpConnectionPtr&, Buffer&, Timestamp) {};
  Alone f(std::move(profile));
  put(f.pair.theirs, "four");
  runRounds(f.loop, 2);
  CHECK(f.connection->closeReason() == CloseReason::inputLimit);
  CHECK(f.connection->error() == EMSGSIZE);
}

TEST_CASE("CloseReason: the kernel refuses to watch it, and it was never up") {
  const QuietLog quiet;
  Alone f({}, Socket(UniqueFd(open("/proc/self/exe", O_RDONLY | O_CLOEXEC))));
  CHECK_FALSE(f.connection->connected());
  CHECK(f.connection->closeReason() == CloseReason::refused);
  CHECK(f.connection->error() == EPERM);
}

TEST_CASE("CloseReason: what this side decided: forced, lingerExpired, stopped") {
  const std::vector<std::pair<CloseReason, std::function<void(Observed&, rung::TcpConnection&)>>>
      ways = {{CloseReason::forced, [](Observed&, auto& c) { c.forceClose(); }},
              {CloseReason::forced, [](Observed&, auto& c) { c.reset(); }},
              {CloseReason::lingerExpired, [](Observed&, auto& c) { c.close(1ms); }},
              {CloseReason::stopped, [](Observed& f, auto&) { f.server.server().stop(1ms); }},
              {CloseReason::stopped, [](Observed& f, auto&) { f.server.destroyServer(); }}};
  for (const auto& way : ways) {
    CAPTURE(rung::nameOf(way.first));
    Observed f;
    const TcpConnectionPtr connection = f.connection();
    way.second(f, *connection);
    CHECK(f.ended() == 0);
    CHECK(connection->closeReason() == way.first);
  }
}

// A FIN after a part of the answer lets that part pass for the whole.
TEST_CASE("TcpConnection reset: the peer gets a reset, though bytes wait for it, on any thread") {
  for (const bool onLoop : {true, false}) {
    CAPTURE(onLoop);
    Observed f;
    const TcpConnectionPtr connection = f.connection();
    const auto work = [&] {
      CHECK(connection->send(std::string(20 << 20, 'x')));
      connection->reset();
      CHECK_FALSE(connection->send("late"));
      connection->reset();
    };
    if (onLoop) {
      f.server.inLoop(work);
    } else {
      work();
    }
    CHECK(f.ended() == 0);
    (void)f.client.receiveAll();
    CHECK(f.client.lastError() == ECONNRESET);
    CHECK(connection->outputBytes() > 0);
    connection->reset();  // of one that is down: nothing
  }
}

TEST_CASE("CloseReason: its loop was destroyed first") {
  TcpConnectionPtr kept;
  rung::testing::SocketPair pair;
  {
    EventLoop loop;
    auto profile = std::make_shared<ConnectionProfile>();
    profile->loop = &loop;
    profile->mailbox = loop.mailbox();
    profile->callbacks.connection = [](const TcpConnectionPtr& c) { CHECK(c->connected()); };
    kept = std::make_shared<rung::TcpConnection>(profile, 1, Socket(std::move(pair.ours)),
                                                 InetAddress());
    kept->connectEstablished();
  }
  CHECK_FALSE(kept->connected());
  CHECK(kept->closeReason() == CloseReason::loopGone);
  CHECK(kept->error() == 0);
  char byte = 0;
  CHECK(read(pair.theirs.get(), &byte, 1) == 0);  // its peer is told
}

// A later error took the place of the first one.
TEST_CASE("CloseReason: the first cause stands") {
  Alone f;
  shutdown(f.pair.theirs.get(), SHUT_RD);
  CHECK_FALSE(f.connection->send("x"));
  put(f.pair.theirs, "last words");
  runRounds(f.loop, 2);
  CHECK(f.connection->connected());
  f.connection->forceClose();
  f.pair.theirs.reset();
  runRounds(f.loop, 2);
  CHECK_FALSE(f.connection->connected());
  CHECK(f.connection->closeReason() == CloseReason::reset);
  CHECK(f.connection->error() == EPIPE);
}

// Who had paused at "high" waited for a "low" that never came.
TEST_CASE("CloseReason: output that is thrown away above the high-water mark tells of low water") {
  ConnectionProfile profile;
  profile.callbacks.limits = {.highWaterMark = 1, .lowWaterMark = 0};
  std::string told;
  profile.callbacks.highWaterMark = [&](const TcpConnectionPtr&, std::size_t) { told += 'H'; };
  profile.callbacks.lowWaterMark = [&](const TcpConnectionPtr&, std::size_t bytes) {
    CHECK(bytes == 0);
    told += 'L';
  };
  Alone f(std::move(profile));
  CHECK(f.connection->send(kMuch));
  runRounds(f.loop, 2);
  CHECK(told == "H");
  (void)take(f.pair.theirs.get(), kMuch.size());  // so that there is room to write
  shutdown(f.pair.theirs.get(), SHUT_RD);
  runRounds(f.loop, 3);
  CHECK(told == "HL");
  CHECK(f.connection->outputBytes() > 0);  // they are lost
}

/// A connection whose callback of the name `which` is `fail`, and a peer that makes it be called.
template <class Fail>
void provoke(const std::string& which, Fail fail, const std::function<void(Alone&)>& after) {
  ConnectionProfile profile;
  profile.serverName = "test";
  profile.callbacks.limits = {.highWaterMark = 1, .lowWaterMark = 0};
  profile.callbacks.message = [](const TcpConnectionPtr& c, Buffer& buffer, Timestamp) {
    buffer.retrieveAll();
    c->send(kMuch);
  };
  if (which == "connection") profile.callbacks.connection = fail;
  if (which == "message") profile.callbacks.message = fail;
  if (which == "write-complete") profile.callbacks.writeComplete = fail;
  if (which == "high-water") profile.callbacks.highWaterMark = fail;
  if (which == "low-water") profile.callbacks.lowWaterMark = fail;
  if (which == "half-close") profile.callbacks.halfClose = fail;
  if (which == "drain") profile.callbacks.drain = fail;
  Alone f(std::move(profile));
  put(f.pair.theirs, "x");
  runRounds(f.loop, 2);
  if (which == "drain") f.connection->drain();
  if (which == "half-close") shutdown(f.pair.theirs.get(), SHUT_WR);
  for (std::size_t got = 0; f.connection->connected() && got < kMuch.size();) {
    got += take(f.pair.theirs.get(), 1 << 20).size();
    runRounds(f.loop, 1);
  }
  runRounds(f.loop, 3);
  after(f);
}

const std::vector<std::string> kCallbacks = {
    "connection", "message", "write-complete", "high-water", "low-water", "half-close", "drain"};

TEST_CASE("CloseReason: bad_alloc from any callback ends the connection") {
  for (const std::string& which : kCallbacks) {
    CAPTURE(which);
    provoke(
        which, [](auto&&...) { throw std::bad_alloc(); },
        [](Alone& f) {
          CHECK_FALSE(f.connection->connected());
          CHECK(f.connection->closeReason() == CloseReason::outOfMemory);
          CHECK(f.connection->error() == ENOMEM);
        });
  }
}

// Whoever was read from when memory was short took the process along, as the reading is noexcept.
TEST_CASE("CloseReason: no memory for what a peer sends ends that connection, and no other") {
  if (std::getenv("RUNG_SANITIZED") != nullptr) {
    MESSAGE("skipped: the sanitizer's own memory would count");
    return;
  }
  const auto child = runInChild([] {
    std::atomic<int> outOfMemory{0};
    ServerThread server([&](TcpServer& s) {
      s.setLimits({.maxInput = 64 << 20});
      s.setMessageCallback([](const TcpConnectionPtr& connection, Buffer& buffer, Timestamp) {
        if (buffer.view().back() == '\n') connection->send(buffer);
      });
      s.setConnectionCallback([&](const TcpConnectionPtr& c) {
        if (c->closeReason() == CloseReason::outOfMemory && c->error() == ENOMEM) ++outOfMemory;
      });
    });
    const std::string part(15 << 20, 'x');
    if (!limitMemory(200 << 20)) _exit(2);
    std::vector<std::unique_ptr<Client>> clients;
    for (int i = 0; i < 40; ++i) {
      clients.push_back(std::make_unique<Client>(server.address()));
      (void)clients.back()->send(part);  // fails if the server ends it meanwhile
    }
    if (!eventually([&] { return outOfMemory > 0; })) _exit(3);
    clients.clear();
    if (!eventually([&] { return server.server().connectionCount() == 0; })) _exit(4);
    Client last(server.address());
    last.send("still here\n");
    if (last.receive(11) != "still here\n") _exit(5);
    _exit(7);
  });
  CHECK_MESSAGE(child.exitedWith(7), child.status << " " << child.output);
}

// It was a bare std::terminate, which names neither.
TEST_CASE("CloseReason: an exception ends the process, and names the callback and the connection") {
  for (const std::string& which : kCallbacks) {
    CAPTURE(which);
    const auto child = runInChild(
        [&] { provoke(which, [](auto&&...) { throw std::runtime_error("out of luck"); }, {}); });
    CHECK(child.aborted());
    for (const std::string& named : {which, std::string("test-0.0.0.0:0#1"), std::string("luck")})
      CHECK_MESSAGE(child.says(named), child.output);
  }
}

}  // namespace
