// Slow readers and slow owners: water marks, reading that stops, limits, and a set of callbacks of
// a connection alone.

#include <doctest/doctest.h>

#include <atomic>
#include <future>
#include <string>
#include <thread>

#include "rung/base/Mutex.h"
#include "rung/net/TcpConnection.h"

#include "tests/support/ChangeCallbacks.h"
#include "tests/support/Client.h"
#include "tests/support/OneConnection.h"
#include "tests/support/QuietLog.h"
#include "tests/support/ServerThread.h"

using rung::Buffer;
using rung::ConnectionCallbacks;
using rung::Mutex;
using rung::MutexLock;
using rung::TcpConnectionPtr;
using rung::TcpServer;
using rung::Timestamp;
using rung::testing::changeCallbacks;
using rung::testing::Client;
using rung::testing::echo;
using rung::testing::eventually;
using rung::testing::OneConnection;
using rung::testing::pattern;
using rung::testing::ServerThread;

namespace {

TEST_CASE("TcpConnection: high- and low-water callbacks alternate, each with the bytes that wait") {
  Mutex mutex;
  std::string order;
  std::size_t atHigh = 0;
  std::size_t atLow = 99;
  OneConnection f([&](TcpServer& s) {
    s.setLimits({.highWaterMark = 1'000'000, .lowWaterMark = 100'000});
    s.setHighWaterMarkCallback([&](const TcpConnectionPtr&, std::size_t bytes) {
      const MutexLock lock(mutex);
      order += 'H';
      atHigh = bytes;
    });
    s.setLowWaterMarkCallback([&](const TcpConnectionPtr&, std::size_t bytes) {
      const MutexLock lock(mutex);
      order += 'L';
      atLow = bytes;
    });
  });
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < 20; ++i)
      f.connection->send(std::string(1 << 20, 'x'));
    f.inLoop([] {});
    f.inLoop([] {});
    CHECK(f.client.receive(20 << 20).size() == 20 << 20);
    CHECK(eventually([&] {
      const MutexLock lock(mutex);
      return order.size() == 2 * static_cast<std::size_t>(round + 1);
    }));
  }
  const MutexLock lock(mutex);
  CHECK(order == "HLHL");
  CHECK(atHigh >= 1'000'000);
  CHECK(atLow <= 100'000);
}

// The low-water callback ran at once, the high-water one in the next round. When one event brought
// a request and room for all of its answer, "low" came before "high", and who pauses at the one and
// resumes at the other was paused for ever.
TEST_CASE("TcpConnection: high water is told before low water when one event brings both") {
  Mutex mutex;
  std::string order;
  std::atomic<std::size_t> high{0};  // what waited when the mark was reached, and not later
  std::atomic<bool> sending{false};  // neither callback may come in the middle of a send()
  OneConnection f([&](TcpServer& s) {
    s.setLimits({.highWaterMark = 100'000, .lowWaterMark = 10'000, .pauseReading = false});
    s.setHighWaterMarkCallback([&](const TcpConnectionPtr&, std::size_t bytes) {
      const MutexLock lock(mutex);
      high = bytes;
      order += sending ? "(in send) H" : "H";
    });
    s.setLowWaterMarkCallback([&](const TcpConnectionPtr&, std::size_t) {
      const MutexLock lock(mutex);
      order += 'L';
    });
    s.setMessageCallback([&](const TcpConnectionPtr& c, Buffer& buffer, rung::Timestamp) {
      buffer.retrieveAll();
      sending = true;
      c->send(std::string(100'000, 'y'));
      sending = false;
    });
  });
  std::size_t sent = 0;
  f.inLoop([&] {
    while (f.connection->outputBytes() == 0) {
      f.connection->send(std::string(10'000, 'x'));
      sent += 10'000;
    }
    // The loop waits here until the peer has taken all that the kernel has, and asks for more: then
    // there is something to read, and room to write, at once.
    f.client.receive(sent - f.connection->outputBytes());
    CHECK(f.client.send("more"));
  });
  CHECK(eventually([&] {
    const MutexLock lock(mutex);
    return order.size() == 2;
  }));
  const MutexLock lock(mutex);
  CHECK(order == "HL");
  CHECK(high >= 100'000);
}

// Without it, a peer that sends requests and reads no replies fills the server's memory.
TEST_CASE("TcpConnection: a peer that does not read its echo is not read from, and resumes") {
  OneConnection f([&](TcpServer& s) {
    s.setLimits({.highWaterMark = 1 << 20, .lowWaterMark = 1 << 18});
    s.setMessageCallback(echo);
  });
  const std::string sent = pattern(64 << 20);
  std::atomic<bool> writerDone{false};
  std::thread writer([&] {
    CHECK(f.client.send(sent));
    f.client.shutdownWrite();
    writerDone = true;
  });
  bool reading = true;
  CHECK(eventually([&] {
    f.inLoop([&] { reading = f.connection->isReading(); });
    return !reading;
  }));
  std::size_t waiting = 0;
  f.inLoop([&] { waiting = f.connection->outputBytes(); });
  CHECK(waiting >= 1 << 20);
  CHECK(waiting <= (1 << 20) + (512 << 10));  // the mark, and at most one read more
  CHECK_FALSE(writerDone);
  const bool same = f.client.receiveAll() == sent;
  CHECK(same);
  writer.join();
}

TEST_CASE("TcpConnection: with pauseReading off only the callback tells of a slow reader") {
  std::atomic<int> high{0};
  OneConnection f([&](TcpServer& s) {
    s.setLimits({.highWaterMark = 1 << 20, .pauseReading = false});
    s.setMessageCallback(echo);
    s.setHighWaterMarkCallback([&](const TcpConnectionPtr&, std::size_t) { ++high; });
  });
  CHECK(f.client.send(std::string(32 << 20, 'x')));  // all of it goes in, and waits
  CHECK(eventually([&] { return high == 1; }));
  f.inLoop([&] { CHECK(f.connection->isReading()); });
  CHECK(f.client.receive(32 << 20).size() == 32 << 20);
}

TEST_CASE("TcpConnection: stopRead holds the peer's bytes back, startRead brings them") {
  std::atomic<std::size_t> received{0};
  OneConnection f([&](TcpServer& s) {
    s.setMessageCallback([&](const TcpConnectionPtr&, Buffer& buffer, Timestamp) {
      received += buffer.readableBytes();
      buffer.retrieveAll();
    });
  });
  f.connection->stopRead();  // from this thread; the loop does it
  f.inLoop([&] { CHECK_FALSE(f.connection->isReading()); });
  f.client.send("held back");
  f.inLoop([] {});
  f.inLoop([] {});
  CHECK(received == 0);
  f.connection->startRead();
  CHECK(eventually([&] { return received == 9; }));
}

TEST_CASE("TcpConnection: input that never becomes a message closes the connection at the limit") {
  const rung::testing::QuietLog quiet;
  std::promise<int> down;
  const ServerThread server([&](TcpServer& s) {
    s.setLimits({.maxInput = 1 << 20});
    s.setMessageCallback([](const TcpConnectionPtr&, Buffer&, Timestamp) {});  // waits for more
    s.setConnectionCallback([&](const TcpConnectionPtr& connection) {
      if (!connection->connected()) down.set_value(connection->error());
    });
  });
  Client client(server.address());
  client.send(std::string(4 << 20, 'x'));
  CHECK(down.get_future().get() == EMSGSIZE);
}

TEST_CASE("TcpConnection: a connection may have callbacks of its own, set from its callbacks") {
  const ServerThread server([](TcpServer& s) {
    s.setMessageCallback([](const TcpConnectionPtr& connection, Buffer& buffer, Timestamp) {
      const std::string name = buffer.retrieveAllAsString();
      // Replaces the callback that is running, twice.
      connection->setCallbacks(nullptr);
      changeCallbacks(*connection, [&](ConnectionCallbacks& own) {
        own.message = [name](const TcpConnectionPtr& c, Buffer& b, Timestamp) {
          c->send(name + " says " + b.retrieveAllAsString());
        };
      });
      connection->send("hello " + name);
    });
  });
  Client ann(server.address());
  Client bob(server.address());
  ann.send("ann");
  CHECK(ann.receive(9) == "hello ann");
  bob.send("bob");
  CHECK(bob.receive(9) == "hello bob");
  ann.send("hi");
  CHECK(ann.receive(11) == "ann says hi");
  bob.send("ho");
  CHECK(bob.receive(11) == "bob says ho");
}

}  // namespace
