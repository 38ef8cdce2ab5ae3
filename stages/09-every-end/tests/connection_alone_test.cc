// A connection without a server, on the loop of the test, which plays its owner and its peer: what
// a callback, or somebody else who has the socket, does in the middle of its work.

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "rung/net/EventLoop.h"
#include "rung/net/Mailbox.h"
#include "rung/net/TcpConnection.h"

#include "tests/support/Alone.h"
#include "tests/support/ChildProcess.h"
#include "tests/support/LoopRounds.h"
#include "tests/support/Sockets.h"

using namespace std::chrono_literals;
using rung::Buffer;
using rung::CloseReason;
using rung::ConnectionProfile;
using rung::EventLoop;
using rung::InetAddress;
using rung::Socket;
using rung::TcpConnection;
using rung::TcpConnectionPtr;
using rung::Timestamp;
using rung::UniqueFd;
using rung::testing::Alone;
using rung::testing::kMuch;
using rung::testing::put;
using rung::testing::runInChild;
using rung::testing::runRounds;
using rung::testing::SocketPair;
using rung::testing::take;

namespace {

TEST_CASE("TcpConnection alone: needs no callbacks, its owner's included") {
  Alone f;
  put(f.pair.theirs, "x");
  runRounds(f.loop, 2);
  CHECK(f.connection->connected());
  f.pair.theirs.reset();
  runRounds(f.loop, 2);
  CHECK_FALSE(f.connection->connected());
  CHECK(f.connection->error() == 0);
}

TEST_CASE("TcpConnection alone: what epoll refuses is never up, also without an owner's callback") {
  const auto child = runInChild([] {
    Alone f;
    auto profile = std::make_shared<ConnectionProfile>();
    profile->loop = &f.loop;
    profile->mailbox = f.loop.mailbox();
    profile->callbacks.connection = [](const TcpConnectionPtr&) { _exit(2); };
    const auto file = std::make_shared<TcpConnection>(
        profile, 2, Socket(UniqueFd(open("/proc/self/exe", O_RDONLY | O_CLOEXEC))), InetAddress());
    file->connectEstablished();
    _exit(!file->connected() && file->error() == EPERM ? 7 : 3);
  });
  CHECK_MESSAGE(child.exitedWith(7), child.output);
}

TEST_CASE("TcpConnection alone: shutdown() in the half-close callback ends it when that returns") {
  ConnectionProfile profile;
  bool down = false;
  bool downInside = false;
  profile.callbacks.connection = [&](const TcpConnectionPtr& c) { down = !c->connected(); };
  profile.callbacks.halfClose = [&](const TcpConnectionPtr& c) {
    c->shutdown();
    downInside = down;
  };
  Alone f(std::move(profile));
  shutdown(f.pair.theirs.get(), SHUT_WR);
  runRounds(f.loop, 2);
  CHECK_FALSE(downInside);
  CHECK(down);
}

TEST_CASE("TcpConnection alone: close() in the half-close callback ends it when that returns") {
  ConnectionProfile profile;
  bool down = false;
  bool downInside = false;
  profile.callbacks.connection = [&](const TcpConnectionPtr& c) { down = !c->connected(); };
  profile.callbacks.halfClose = [&](const TcpConnectionPtr& c) {
    c->close(1s);
    downInside = down;
  };
  Alone f(std::move(profile));
  shutdown(f.pair.theirs.get(), SHUT_WR);
  runRounds(f.loop, 2);
  CHECK_FALSE(downInside);
  CHECK(down);
}

// The end of a stream stays readable for as long as the socket is open.
TEST_CASE("TcpConnection alone: the peer's end is told once, and the stream not read again") {
  ConnectionProfile profile;
  int halfCloses = 0;
  profile.callbacks.halfClose = [&](const TcpConnectionPtr&) { ++halfCloses; };
  Alone f(std::move(profile));
  shutdown(f.pair.theirs.get(), SHUT_WR);
  runRounds(f.loop, 4);
  CHECK(halfCloses == 1);
  CHECK_FALSE(f.connection->isReading());
  f.connection->startRead();
  runRounds(f.loop, 4);
  CHECK(halfCloses == 1);
  CHECK(f.connection->connected());
}

TEST_CASE("TcpConnection alone: after shutdown the peer's end is the end, and no half-close") {
  ConnectionProfile profile;
  int halfCloses = 0;
  profile.callbacks.halfClose = [&](const TcpConnectionPtr&) { ++halfCloses; };
  Alone f(std::move(profile));
  f.connection->shutdown();
  shutdown(f.pair.theirs.get(), SHUT_WR);
  runRounds(f.loop, 2);
  CHECK(halfCloses == 0);
  CHECK_FALSE(f.connection->connected());
}

TEST_CASE("TcpConnection alone: ended in its message callback, what was left unread is no error") {
  ConnectionProfile profile;
  profile.callbacks.limits.maxInput = 1;
  int calls = 0;
  profile.callbacks.message = [&](const TcpConnectionPtr& connection, Buffer& buffer, Timestamp) {
    ++calls;
    CHECK(buffer.readableBytes() == 5);
    connection->connectDestroyed();
  };
  Alone f(std::move(profile));
  put(f.pair.theirs, "bytes");
  runRounds(f.loop, 2);
  CHECK(calls == 1);
  CHECK(f.connection->error() == 0);
}

TEST_CASE("TcpConnection alone: a Buffer that another thread sends is sent, and emptied") {
  Alone f;
  Buffer buffer;
  buffer.append("from elsewhere");
  std::thread other([&] { CHECK(f.connection->send(buffer)); });
  other.join();
  CHECK(buffer.empty());
  CHECK(take(f.pair.theirs.get()).empty());  // not by that thread
  runRounds(f.loop, 2);
  CHECK(take(f.pair.theirs.get()) == "from elsewhere");
}

TEST_CASE("TcpConnection alone: a Buffer that is refused is emptied all the same") {
  Alone f;
  f.connection->shutdown();
  Buffer buffer;
  buffer.append("too late");
  CHECK_FALSE(f.connection->send(buffer));
  CHECK(buffer.empty());
}

TEST_CASE("TcpConnection alone: a hold that is assigned to itself goes on") {
  Alone f;
  TcpConnection::Hold hold = f.connection->hold();
  TcpConnection::Hold& same = hold;
  hold = std::move(same);
  CHECK(static_cast<bool>(hold));
  CHECK(f.connection->isHeld());
  hold.release();
  CHECK_FALSE(f.connection->isHeld());
}

// Its FIN found one that was held, and there are no bytes whose way out would bring the loop back.
TEST_CASE("TcpConnection alone: the last hold that goes ends it in its loop, with nothing sent") {
  bool down = false;
  ConnectionProfile profile;
  profile.callbacks.connection = [&](const TcpConnectionPtr& c) { down = !c->connected(); };
  Alone f(std::move(profile));
  TcpConnection::Hold first = f.connection->hold();
  TcpConnection::Hold second = f.connection->hold();
  CHECK(shutdown(f.pair.theirs.get(), SHUT_WR) == 0);
  runRounds(f.loop, 3);
  first.release();
  runRounds(f.loop, 3);
  CHECK_FALSE(down);
  std::thread([hold = std::move(second)] {}).join();
  CHECK_FALSE(down);  // not on that thread
  runRounds(f.loop, 3);
  CHECK(down);
  CHECK(f.connection->closeReason() == CloseReason::peer);
}

// The loop alone sends the FIN, and only behind what that thread has sent.
TEST_CASE("TcpConnection alone: a hold that goes on another thread leaves the end to the loop") {
  const auto profile = std::make_shared<ConnectionProfile>();
  EventLoop loop;
  SocketPair pair;
  profile->loop = &loop;
  profile->mailbox = loop.mailbox();
  const auto connection =
      std::make_shared<TcpConnection>(profile, 1, Socket(std::move(pair.ours)), InetAddress());
  connection->connectEstablished();
  TcpConnection::Hold hold = connection->hold();
  connection->drain();
  profile->ticks = 7;
  std::thread([&] { hold.release(); }).join();
  char byte;
  CHECK(recv(pair.theirs.get(), &byte, 1, MSG_DONTWAIT) == -1);  // no FIN yet
  CHECK(connection->movedAt() == 0);
  runRounds(loop, 2);
  CHECK(recv(pair.theirs.get(), &byte, 1, MSG_DONTWAIT) == 0);
  CHECK(connection->movedAt() == 7);  // from here on it may be idle
  connection->connectDestroyed();
}

TEST_CASE("TcpConnection alone: to send nothing is no failure, on any thread") {
  Alone f;
  const auto sendNothing = [&] {
    Buffer empty;
    CHECK(f.connection->send(""));
    CHECK(f.connection->send(std::string()));
    CHECK(f.connection->send(empty));
  };
  sendNothing();
  std::thread other(sendNothing);
  other.join();
}

// A thread finds the connection up, and before it has posted its task, the loop is gone. A Mailbox
// that is closed stands for this moment, which no test can hit.
TEST_CASE("TcpConnection alone: what a thread sends to a loop that is gone is refused") {
  EventLoop loop;
  SocketPair pair;
  auto profile = std::make_shared<ConnectionProfile>();
  profile->loop = &loop;
  profile->mailbox = std::make_shared<rung::Mailbox>(&loop);
  const auto connection =
      std::make_shared<TcpConnection>(profile, 1, Socket(std::move(pair.ours)), InetAddress());
  connection->connectEstablished();
  profile->mailbox->close();
  std::thread sender([&] {
    CHECK_FALSE(connection->send("too late"));
    CHECK(connection->outputBytes() == 0);
  });
  sender.join();
  connection->connectDestroyed();
}

TEST_CASE("TcpConnection alone: a connection that has ended tells of no high water") {
  ConnectionProfile profile;
  int told = 0;
  profile.callbacks.highWaterMark = [&](const TcpConnectionPtr&, std::size_t) { ++told; };
  Alone f(std::move(profile));
  CHECK(f.connection->send(kMuch));
  f.connection->connectDestroyed();
  runRounds(f.loop, 2);
  CHECK(told == 0);
}

// A set that stops asks each newcomer, also one that the kernel has refused to watch.
TEST_CASE("TcpConnection alone: one that is down is not asked to drain") {
  int drains = 0;
  ConnectionProfile profile;
  profile.callbacks.drain = [&](const TcpConnectionPtr&) { ++drains; };
  Alone f(profile);
  f.connection->drain();
  CHECK(drains == 1);
  f.connection->connectDestroyed();
  f.connection->drain();
  CHECK(drains == 1);
}

TEST_CASE("TcpConnection alone: after forceClose() nothing more is sent") {
  Alone f;
  CHECK(f.connection->send("before"));
  f.connection->forceClose();
  CHECK_FALSE(f.connection->send("after"));
  CHECK(f.connection->connected());  // until the next round
  runRounds(f.loop, 2);
  CHECK_FALSE(f.connection->connected());
  CHECK(f.connection->closeReason() == CloseReason::forced);
  CHECK(take(f.pair.theirs.get()) == "before");
}

TEST_CASE("TcpConnection alone: a writeComplete callback may send as much again") {
  ConnectionProfile profile;
  int completed = 0;
  profile.callbacks.writeComplete = [&](const TcpConnectionPtr& connection) {
    if (++completed == 1) connection->send(kMuch);
    if (completed == 1) CHECK(connection->outputBytes() > 0);
  };
  Alone f(std::move(profile));
  CHECK(f.connection->send(kMuch));
  std::size_t received = 0;
  for (int rounds = 0; completed < 2 && rounds < 100'000; ++rounds) {
    received += take(f.pair.theirs.get(), 1 << 20).size();
    runRounds(f.loop, 1);
  }
  while (const std::size_t more = take(f.pair.theirs.get(), 1 << 20).size())
    received += more;
  CHECK(completed == 2);
  CHECK(received == 2 * kMuch.size());
}

TEST_CASE(
    "TcpConnection alone: a writeComplete callback may end the connection, shut down or not") {
  for (const bool shutDown : {false, true}) {
    CAPTURE(shutDown);
    ConnectionProfile profile;
    int completed = 0;
    profile.callbacks.writeComplete = [&](const TcpConnectionPtr& connection) {
      ++completed;
      connection->connectDestroyed();
    };
    Alone f(std::move(profile));
    CHECK(f.connection->send(kMuch));
    if (shutDown) f.connection->shutdown();
    std::size_t received = 0;
    for (int rounds = 0; completed == 0 && rounds < 100'000; ++rounds) {
      received += take(f.pair.theirs.get(), 1 << 20).size();
      runRounds(f.loop, 1);
    }
    while (const std::size_t more = take(f.pair.theirs.get(), 1 << 20).size())
      received += more;
    runRounds(f.loop, 2);
    CHECK(completed == 1);
    CHECK(received == kMuch.size());
    CHECK_FALSE(f.connection->connected());
  }
}

// They said "loop" and checked nothing, so that a worker that asked had a data race, or worse.
TEST_CASE("TcpConnection alone: what belongs to the loop aborts elsewhere, and names itself") {
  const std::vector<std::pair<std::string, void (*)(TcpConnection&)>> calls = {
      {"localAddress", [](TcpConnection& c) { (void)c.localAddress(); }},
      {"isReading", [](TcpConnection& c) { (void)c.isReading(); }},
      {"setTcpNoDelay", [](TcpConnection& c) { (void)c.setTcpNoDelay(true); }},
      {"inputBuffer", [](TcpConnection& c) { (void)c.inputBuffer(); }},
      {"ontext", [](TcpConnection& c) { (void)c.context(); }},
      {"ontext", [](TcpConnection& c) { c.setContext(1); }},
      {"allbacks", [](TcpConnection& c) { (void)c.callbacks(); }},
      {"setCallbacks", [](TcpConnection& c) { c.setCallbacks(nullptr); }},
  };
  for (const auto& call : calls) {
    CAPTURE(call.first);
    const auto child = runInChild([&] {
      Alone f;
      std::thread other([&] { call.second(*f.connection); });
      other.join();
    });
    CHECK(child.aborted());
    CHECK_MESSAGE(child.says(call.first), child.output);
  }
}

// Nobody reads, so nobody else would find the end. A forked child may have shut down the socket.
TEST_CASE("TcpConnection alone: a write that fails while reading is stopped ends it") {
  Alone f;
  f.connection->stopRead();
  shutdown(f.fd, SHUT_WR);
  CHECK_FALSE(f.connection->send("x"));
  CHECK(f.connection->connected());  // the user may be in the middle of a callback
  runRounds(f.loop, 2);
  CHECK_FALSE(f.connection->connected());
  CHECK(f.connection->closeReason() == CloseReason::reset);
  CHECK(f.connection->error() == EPIPE);
}

// A process that has the socket as well, such as a forked child, may shut it down: a hang-up comes,
// and no error with it. While nothing is read, it says nothing about the bytes that may be there.
TEST_CASE("TcpConnection alone: shut down by somebody else while reading is stopped, it stays") {
  Alone f;
  f.connection->stopRead();
  put(f.pair.theirs, "unread");
  CHECK(f.connection->send(kMuch));
  shutdown(f.fd, SHUT_RDWR);
  runRounds(f.loop, 3);
  CHECK(f.connection->connected());
  f.connection->forceClose();
  runRounds(f.loop, 2);
  CHECK_FALSE(f.connection->connected());
}

TEST_CASE("TcpConnection alone: shut down by somebody else with nothing left to read, it ends") {
  Alone f;
  f.connection->stopRead();
  shutdown(f.fd, SHUT_RDWR);
  runRounds(f.loop, 3);
  CHECK_FALSE(f.connection->connected());
  CHECK(f.connection->error() == EPIPE);
}

TEST_CASE("TcpConnection alone: shut down by somebody else while a slow reader holds it back") {
  ConnectionProfile profile;
  profile.callbacks.limits.highWaterMark = 1;
  Alone f(std::move(profile));
  CHECK(f.connection->send(kMuch));
  CHECK_FALSE(f.connection->isReading());
  shutdown(f.fd, SHUT_RDWR);
  runRounds(f.loop, 3);
  CHECK_FALSE(f.connection->connected());
  CHECK(f.connection->closeReason() == CloseReason::reset);
}

TEST_CASE("TcpConnection alone: shut down by somebody else after all was read, it ends") {
  ConnectionProfile profile;
  profile.callbacks.halfClose = [](const TcpConnectionPtr& connection) {
    connection->stopRead();
    connection->send(kMuch);
  };
  Alone f(std::move(profile));
  shutdown(f.pair.theirs.get(), SHUT_WR);
  runRounds(f.loop, 2);
  CHECK(f.connection->connected());
  shutdown(f.fd, SHUT_RDWR);
  runRounds(f.loop, 3);
  CHECK_FALSE(f.connection->connected());
  CHECK(f.connection->closeReason() == CloseReason::reset);
  CHECK(f.connection->error() == EPIPE);
}

// A hang-up with no read wanted stopped the watch, of writing as well; so the output waited for
// ever, and with it the end, which comes behind the output.
TEST_CASE("TcpConnection alone: after such a hang-up startRead() finds the bytes and the end") {
  ConnectionProfile profile;
  std::string got;
  profile.callbacks.message = [&](const TcpConnectionPtr&, Buffer& buffer, Timestamp) {
    got += buffer.retrieveAllAsString();
  };
  profile.callbacks.halfClose = [](const TcpConnectionPtr&) {};  // and so the end is not a half
  Alone f(std::move(profile));
  f.connection->stopRead();
  put(f.pair.theirs, "last words");
  f.connection->send(kMuch);
  REQUIRE(f.connection->outputBytes() > 0);
  shutdown(f.fd, SHUT_RDWR);
  runRounds(f.loop, 2);
  CHECK(got.empty());
  CHECK_FALSE(f.connection->send("more"));
  runRounds(f.loop, 2);
  f.connection->startRead();
  runRounds(f.loop, 3);
  CHECK(got == "last words");
  CHECK_FALSE(f.connection->connected());
  CHECK(f.connection->closeReason() == CloseReason::reset);
}

// With what make_shared and malloc add, one of 232 bytes takes 256; one of 240 would take 272.
TEST_CASE("TcpConnection: is not much larger than what it has to remember") {
  CHECK(sizeof(rung::TcpConnection) <= 232);
  CHECK(sizeof(rung::Channel) <= 112);
}

}  // namespace
