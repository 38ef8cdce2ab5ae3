// Sending, receiving and callbacks. How connections end: connection_end_test.cc.

#include <doctest/doctest.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "rung/net/TcpConnection.h"
#include "rung/net/TimerFd.h"

#include "tests/support/Alone.h"
#include "tests/support/ChildProcess.h"
#include "tests/support/Client.h"
#include "tests/support/LoopRounds.h"
#include "tests/support/OneConnection.h"
#include "tests/support/ServerThread.h"
#include "tests/support/Sockets.h"

using rung::Buffer;
using rung::Channel;
using rung::TcpConnectionPtr;
using rung::TcpServer;
using rung::TimerFd;
using rung::Timestamp;
using rung::testing::Alone;
using rung::testing::Client;
using rung::testing::echo;
using rung::testing::eventually;
using rung::testing::OneConnection;
using rung::testing::pattern;
using rung::testing::put;
using rung::testing::runInChild;
using rung::testing::runRounds;
using rung::testing::ServerThread;
using rung::testing::SocketPair;
using rung::testing::take;

namespace {

TEST_CASE("TcpConnection: knows its id, name and addresses") {
  OneConnection f;
  CHECK(f.connection->connected());
  CHECK(f.connection->id() == 1);
  CHECK(f.connection->name() == "test-" + f.connection->peerAddress().toIpPort() + "#1");
  f.inLoop([&] {
    CHECK(f.connection->localAddress() == f.server.address());
    CHECK(f.connection->setTcpNoDelay(true));
  });
  CHECK(f.connection->peerAddress().toIp() == "127.0.0.1");
  CHECK(f.connection->loop() == f.server.loop());
}

TEST_CASE("TcpConnection: echoes, byte for byte") {
  const ServerThread server([](TcpServer& s) { s.setMessageCallback(echo); });
  Client client(server.address());
  for (const std::size_t size : {1U, 2U, 100U, 4096U, 65536U, 65537U, 1000000U}) {
    CAPTURE(size);
    const std::string sent = pattern(size);
    std::thread writer([&] { client.send(sent); });
    CHECK(client.receive(size) == sent);
    writer.join();
  }
}

TEST_CASE("TcpConnection: one-byte writes arrive in order") {
  const ServerThread server([](TcpServer& s) { s.setMessageCallback(echo); });
  Client client(server.address());
  const std::string sent = pattern(2000);
  for (const char byte : sent)
    REQUIRE(client.send(std::string_view(&byte, 1)));
  CHECK(client.receive(sent.size()) == sent);
}

TEST_CASE(
    "TcpConnection: what a message callback leaves is there the next time, with more behind it") {
  std::atomic<int> calls{0};
  const ServerThread server([&](TcpServer& s) {
    // Messages of ten bytes, however they arrive.
    s.setMessageCallback([&](const TcpConnectionPtr& connection, Buffer& buffer, Timestamp) {
      ++calls;
      while (buffer.readableBytes() >= 10) {
        connection->send(buffer.retrieveAsString(10) + "\n");
      }
    });
  });
  Client client(server.address());
  client.send("0123456");
  CHECK(eventually([&] { return calls == 1; }));
  client.send("789abcdefghijXYZ");
  CHECK(client.receive(22) == "0123456789\nabcdefghij\n");
  client.send("0000000");
  CHECK(client.receive(11) == "XYZ0000000\n");
}

TEST_CASE("TcpConnection: without a message callback what arrives is thrown away") {
  OneConnection f;
  f.client.send(pattern(100'000));
  f.client.shutdownWrite();
  CHECK(f.client.receiveAll().empty());
  f.inLoop([&] { CHECK(f.connection->inputBuffer().empty()); });
}

TEST_CASE("TcpConnection: an idle connection owns no input memory, also after large messages") {
  OneConnection f([](TcpServer& s) {
    s.setMessageCallback([](const TcpConnectionPtr& connection, Buffer& buffer, Timestamp) {
      if (buffer.readableBytes() < 500'000) return;  // wait until it is whole
      connection->send(buffer);
    });
  });
  const std::string sent = pattern(500'000);
  f.client.send(sent);
  CHECK(f.client.receive(sent.size()) == sent);
  f.inLoop([&] {
    CHECK(f.connection->inputBuffer().ownedBytes() == 0);
    CHECK(f.connection->outputBytes() == 0);
  });
}

TEST_CASE("TcpConnection: sends of every size from the loop's thread, in order") {
  OneConnection f;
  const std::vector<std::size_t> sizes = {0, 1, 100, 16384, 16385, 0, 70'000, 5, 3'000'000, 1};
  std::string expected;
  for (const std::size_t size : sizes)
    expected += pattern(size);
  f.inLoop([&] {
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      std::string bytes = pattern(sizes[i]);
      switch (i % 3) {
        case 0:
          CHECK(f.connection->send(std::string_view(bytes)));
          break;
        case 1:
          CHECK(f.connection->send(std::move(bytes)));
          break;
        default: {
          Buffer buffer;
          buffer.append(bytes);
          CHECK(f.connection->send(buffer));
          CHECK(buffer.empty());
        }
      }
    }
    f.connection->shutdown();
  });
  CHECK(f.client.receiveAll() == expected);
}

TEST_CASE("TcpConnection: 100 MiB in one send, moved in, from the loop and from another thread") {
  const std::string sent = pattern(100 << 20);
  for (const bool fromLoop : {true, false}) {
    CAPTURE(fromLoop);
    OneConnection f;
    std::string copy = sent;
    if (fromLoop) {
      f.inLoop([&] { CHECK(f.connection->send(std::move(copy))); });
    } else {
      CHECK(f.connection->send(std::move(copy)));
    }
    f.connection->shutdown();
    const bool same = f.client.receiveAll() == sent;  // without printing it
    CHECK(same);
    CHECK(f.client.lastError() == 0);
  }
}

// muduo hands the raw `this` to the loop here; rewrites hand over a dangling c_str().
TEST_CASE("TcpConnection: several threads send at once, each thread's bytes in order") {
  OneConnection f;
  constexpr int kThreads = 4;
  constexpr int kLines = 2000;
  std::vector<std::thread> senders;
  for (int t = 0; t < kThreads; ++t) {
    senders.emplace_back([&f, t] {
      for (int i = 0; i < kLines; ++i) {
        const std::string line = std::to_string(t) + " " + std::to_string(i) + "\n";
        CHECK(f.connection->send(std::string_view(line)));
      }
    });
  }
  for (std::thread& sender : senders)
    sender.join();
  f.connection->shutdown();
  std::istringstream lines(f.client.receiveAll());
  std::vector<int> next(kThreads, 0);
  std::size_t t = 0;
  for (int i = 0; lines >> t >> i;) {
    REQUIRE(t < kThreads);
    CHECK(next[t]++ == i);
  }
  CHECK(next == std::vector<int>(kThreads, kLines));
}

TEST_CASE("TcpConnection: writeComplete comes once the kernel has it all, also after a long wait") {
  std::atomic<int> completions{0};
  OneConnection f([&](TcpServer& s) {
    s.setWriteCompleteCallback([&](const TcpConnectionPtr& connection) {
      CHECK(connection->outputBytes() == 0);
      ++completions;
    });
  });
  f.connection->send("small");
  CHECK(f.client.receive(5) == "small");
  CHECK(eventually([&] { return completions == 1; }));
  f.connection->send(std::string(20 << 20, 'x'));
  f.inLoop([] {});
  CHECK(completions == 1);  // the client does not read, so it cannot all be gone
  CHECK(f.client.receive(20 << 20).size() == 20 << 20);
  CHECK(eventually([&] { return completions == 2; }));
}

TEST_CASE("TcpConnection: a writeComplete that sends the next piece streams without nesting") {
  constexpr int kPieces = 20'000;
  int left = kPieces;
  int depth = 0;
  int deepest = 0;
  OneConnection f([&](TcpServer& s) {
    s.setWriteCompleteCallback([&](const TcpConnectionPtr& connection) {
      deepest = std::max(deepest, ++depth);
      if (--left > 0 && depth < 100) {
        connection->send("0123456789");
      } else {
        connection->shutdown();
      }
      --depth;
    });
  });
  f.connection->send("0123456789");
  CHECK(f.client.receiveAll().size() == kPieces * 10);
  f.inLoop([&] { CHECK(deepest == 1); });
}

// The socket was watched for room for ever, and there is nearly always room: the loop did not
// sleep.
TEST_CASE("TcpConnection: once all is sent, writeComplete comes once, and the loop sleeps") {
  int completions = 0;
  rung::ConnectionProfile profile;
  profile.callbacks.writeComplete = [&](const TcpConnectionPtr&) { ++completions; };
  Alone f(std::move(profile));
  CHECK(f.connection->send(rung::testing::kMuch));
  REQUIRE(f.connection->outputBytes() > 0);
  for (int rounds = 0; f.connection->outputBytes() > 0 && rounds < 1000; ++rounds) {
    while (!take(f.pair.theirs.get(), 1 << 20).empty()) {
    }
    runRounds(f.loop, 1);
  }
  runRounds(f.loop, 10);
  CHECK(completions == 1);
  TimerFd end(&f.loop, [&] { f.loop.quit(); });
  end.arm(std::chrono::milliseconds(10));
  const std::uint64_t before = f.loop.iteration();
  f.loop.loop();
  CHECK(f.loop.iteration() - before == 1);  // the end
}

// Somebody else who has the socket, such as a forked child, takes the room between the event and
// the write.
TEST_CASE("TcpConnection: a write that finds no room, though the event said so, is tried again") {
  constexpr std::size_t kMuch = 1 << 20;  // more than the kernel takes of a socket pair
  int fd = -1;
  std::size_t ofOther = 0;
  rung::ConnectionProfile profile;
  profile.callbacks.message = [&](const TcpConnectionPtr&, Buffer& buffer, Timestamp) {
    buffer.retrieveAll();
    const std::string piece(10'000, 'y');
    for (ssize_t n = 0; n >= 0; n = ::send(fd, piece.data(), piece.size(), MSG_DONTWAIT))
      ofOther += static_cast<std::size_t>(n);
  };
  Alone f(std::move(profile));
  fd = f.fd;
  CHECK(f.connection->send(std::string(kMuch, 'x')));
  const std::size_t waiting = f.connection->outputBytes();
  REQUIRE(waiting > 0);
  std::size_t received = 0;
  const auto takeAll = [&] {
    while (const std::size_t more = take(f.pair.theirs.get(), 1 << 20).size())
      received += more;
  };
  takeAll();
  CHECK(put(f.pair.theirs, "x"));
  runRounds(f.loop, 1);  // both events come together, and the read callback goes first
  CHECK(ofOther > 0);
  CHECK(f.connection->outputBytes() == waiting);
  CHECK(f.connection->connected());
  for (int rounds = 0; f.connection->outputBytes() > 0 && rounds < 1000; ++rounds) {
    takeAll();
    runRounds(f.loop, 1);
  }
  takeAll();
  CHECK(f.connection->connected());
  CHECK(received == kMuch + ofOther);
}

// It asked the kernel first, which had room again: the tail came before the bytes that waited.
TEST_CASE("TcpConnection: what is sent while bytes wait goes behind them, though there is room") {
  Alone f;
  const std::string& much = rung::testing::kMuch;
  CHECK(f.connection->send(much));
  REQUIRE(f.connection->outputBytes() > 0);
  std::string received;
  const auto takeAll = [&] {
    for (std::string more; !(more = take(f.pair.theirs.get(), 1 << 20)).empty();)
      received += more;
  };
  takeAll();
  CHECK(f.connection->send("tail"));
  for (int rounds = 0; received.size() < much.size() + 4 && rounds < 1000; ++rounds) {
    runRounds(f.loop, 1);
    takeAll();
  }
  CHECK(received.size() == much.size() + 4);
  CHECK(received.find("tail") == much.size());
}

// It took EAGAIN for an error, or forgot the bytes. (Seen as a fault that no test noticed.)
TEST_CASE("TcpConnection: a send that finds no room keeps all of it, and sends it later") {
  Alone f;
  std::size_t ofOther = 0;
  const std::string piece(10'000, 'y');  // of somebody else who has the socket
  for (ssize_t n = 0; n >= 0; n = ::send(f.fd, piece.data(), piece.size(), MSG_DONTWAIT))
    ofOther += static_cast<std::size_t>(n);
  CHECK(f.connection->send("late"));
  CHECK(f.connection->outputBytes() == 4);
  std::string received;
  for (int rounds = 0; received.size() < ofOther + 4 && rounds < 1000; ++rounds) {
    received += take(f.pair.theirs.get(), 1 << 20);
    runRounds(f.loop, 1);
  }
  CHECK(received.substr(ofOther) == "late");
  CHECK(f.connection->outputBytes() == 0);
}

// The same with a read. It took EAGAIN for the end. (Seen as a fault that no test noticed.)
TEST_CASE("TcpConnection: a read that finds nothing, though the event said so, is no end") {
  std::string received;
  rung::ConnectionProfile profile;
  profile.callbacks.message = [&](const TcpConnectionPtr&, Buffer& buffer, Timestamp) {
    received += buffer.retrieveAllAsString();
  };
  Alone f(std::move(profile));
  SocketPair other;
  Channel thief(&f.loop, other.ours.get());
  std::string stolen;
  thief.setReadCallback([&](Timestamp) {
    (void)take(other.ours.get());
    stolen = take(f.fd);
  });
  thief.enableReading();
  CHECK(put(other.theirs, "!"));  // ready before the connection, and so called before it
  CHECK(put(f.pair.theirs, "lost"));
  runRounds(f.loop, 1);
  thief.remove();
  REQUIRE(stolen == "lost");
  REQUIRE(f.connection->connected());
  CHECK(put(f.pair.theirs, "found"));
  runRounds(f.loop, 1);
  CHECK(received == "found");
}

// One urgent byte raises EPOLLPRI, and the read after it finds nothing: muduo logs an error for
// each, as fast as a peer can send them.
TEST_CASE("TcpConnection: urgent bytes neither end the connection nor reach the log") {
  const auto child = runInChild([] {
    const ServerThread server([](TcpServer& s) { s.setMessageCallback(echo); });
    Client client(server.address());
    for (int i = 0; i < 2000; ++i) {
      if (send(client.fd(), "!", 1, MSG_OOB) != 1) _exit(2);
    }
    client.send("still here");
    std::string got;
    while (got.find("still here") == std::string::npos) {
      const std::string more = client.receive(1);
      if (more.empty()) _exit(3);
      got += more;
    }
  });
  CHECK(child.exitedWith(0));
  CHECK(child.output.empty());
}

TEST_CASE("TcpConnection: keeps what the user stores with it") {
  OneConnection f;
  f.inLoop([&] {
    CHECK_FALSE(f.connection->context().has_value());
    f.connection->setContext(std::string("session 7"));
    CHECK(std::any_cast<std::string>(f.connection->context()) == "session 7");
  });
}

TEST_CASE("TcpConnection: callbacks run on the connection's loop, up before any message") {
  std::atomic<bool> allGood{true};
  ServerThread server(
      [&](TcpServer& s) {
        s.setConnectionCallback([&](const TcpConnectionPtr& connection) {
          if (!connection->loop()->isInLoopThread()) allGood = false;
          connection->setContext(true);
        });
        s.setMessageCallback([&](const TcpConnectionPtr& connection, Buffer& buffer, Timestamp t) {
          if (!connection->loop()->isInLoopThread()) allGood = false;
          if (!connection->context().has_value() || !t.valid()) allGood = false;
          connection->send(buffer);
        });
      },
      2);
  for (int i = 0; i < 50; ++i) {
    Client client(server.address());
    client.send("x");
    CHECK(client.receive(1) == "x");
  }
  CHECK(allGood);
}

// All connections of a thread read with the same Buffer; one that leaves bytes unread keeps it, and
// must not hand them to the next.
TEST_CASE("TcpConnection: what one connection leaves unread is not seen by another") {
  std::map<std::uint64_t, std::string> seen;  // by the loop, and here once that has ended
  {
    ServerThread server([&](TcpServer& s) {
      s.setMessageCallback([&](const TcpConnectionPtr& connection, Buffer& buffer, Timestamp) {
        CHECK(&buffer == &connection->inputBuffer());
        if (buffer.view().back() != '\n') return;
        seen[connection->id()] += buffer.retrieveAllAsString();
        connection->send(".");
      });
    });
    Client a(server.address());
    Client b(server.address());
    Client c(server.address());
    for (int round = 0; round < 3; ++round) {
      a.send("aa");
      b.send("bb");
      c.send("c\n");
      CHECK(c.receive(1) == ".");
      b.send("b\n");
      CHECK(b.receive(1) == ".");
      a.send("a\n");
      CHECK(a.receive(1) == ".");
    }
  }
  std::vector<std::string> texts;
  for (const auto& [id, text] : seen)
    texts.push_back(text);
  std::sort(texts.begin(), texts.end());
  REQUIRE(texts.size() == 3);
  CHECK(texts[0] == "aaa\naaa\naaa\n");
  CHECK(texts[1] == "bbb\nbbb\nbbb\n");
  CHECK(texts[2] == "c\nc\nc\n");
}

}  // namespace
