// A client may be destroyed at any moment, on any thread, from any callback, and after its loop.
// muduo #94, #177, #194, #268, #488 and libhv #624 are about moments at which it may not.

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "rung/base/CountDownLatch.h"
#include "rung/net/Buffer.h"
#include "rung/net/EventLoop.h"
#include "rung/net/EventLoopThread.h"
#include "rung/net/TcpClient.h"
#include "rung/net/TcpConnection.h"

#include "tests/support/FakeLookup.h"
#include "tests/support/Listener.h"
#include "tests/support/LoopRounds.h"
#include "tests/support/Process.h"
#include "tests/support/ServerThread.h"

using rung::Buffer;
using rung::CountDownLatch;
using rung::EventLoop;
using rung::EventLoopThread;
using rung::Target;
using rung::TcpClient;
using rung::TcpConnectionPtr;
using rung::Timestamp;
using rung::testing::DeafListener;
using rung::testing::descriptorCount;
using rung::testing::eventually;
using rung::testing::FakeLookup;
using rung::testing::Listener;
using rung::testing::nobody;
using rung::testing::runRounds;
using rung::testing::ServerThread;

using namespace std::chrono_literals;

namespace {

constexpr std::size_t kTooMuch = 32 << 20;

enum class By { itsLoop, plainThread, otherLoop };

/// Counts the callbacks of a client, and those that come too late. The callbacks share it, since
/// they may come a moment later.
struct Noted {
  std::atomic<int> ups{0}, downs{0}, failures{0}, late{0};
  std::atomic<bool> gone{false};

  void note(std::atomic<int>& count) {
    ++count;
    if (gone) ++late;
  }
};

/// A client that is to be destroyed, on a loop of its own thread.
struct Doomed {
  explicit Doomed(const Target& target, TcpClient::Options options = {})
      : loop(thread.startLoop()) {
    ServerThread::runOn(loop, [&] {
      client = std::make_unique<TcpClient>(loop, target, "doomed", std::move(options));
      client->setConnectionCallback([noted = noted](const TcpConnectionPtr& connection) {
        noted->note(connection->connected() ? noted->ups : noted->downs);
      });
      client->setFailureCallback([noted = noted](auto&, auto) { noted->note(noted->failures); });
    });
  }

  void settle() {
    for (int i = 0; i < 3; ++i)
      ServerThread::runOn(loop, [] {});
  }
  void destroy(By by) {
    if (by == By::itsLoop) ServerThread::runOn(loop, [&] { client.reset(); });
    if (by == By::plainThread) client.reset();
    if (by == By::otherLoop) {
      EventLoopThread other;
      ServerThread::runOn(other.startLoop(), [&] { client.reset(); });
      settle();  // it does not wait
    }
    noted->gone = true;
    settle();
    CHECK(noted->late == 0);
    CHECK(noted->ups == noted->downs);
  }

  const std::shared_ptr<Noted> noted = std::make_shared<Noted>();
  EventLoopThread thread;
  EventLoop* const loop;
  std::unique_ptr<TcpClient> client;
};

TcpClient::Options comesBack(std::chrono::milliseconds wait) {
  return {.reconnect = rung::Backoff::Options{.initial = wait, .cap = wait, .seed = 9}};
}

/// One moment: `arrive` brings a client there, of `target`.
void destroyedBy(const Target& target, const TcpClient::Options& options,
                 const std::function<void(Doomed&)>& arrive) {
  for (const By by : {By::itsLoop, By::plainThread, By::otherLoop}) {
    const auto before = descriptorCount();
    {
      Doomed doomed(target, options);
      arrive(doomed);
      doomed.destroy(by);
    }
    CHECK(eventually([&] { return descriptorCount() <= before; }));
  }
}

TEST_CASE("TcpClient destroyed: before connect(), and right after it") {
  destroyedBy(nobody(), {}, [](Doomed&) {});
  destroyedBy(nobody(), {}, [](Doomed& d) { d.client->connect(); });
}

TEST_CASE("TcpClient destroyed: while the host is looked up") {
  FakeLookup fake;
  destroyedBy(Target("host", 80), {.attempt{.resolver = fake.resolver(64)}}, [](Doomed& d) {
    d.client->connect();
    d.settle();
  });
  CHECK(fake.returned() == 0);  // nobody has waited for it
}

TEST_CASE("TcpClient destroyed: while it connects") {
  DeafListener deaf;
  destroyedBy(deaf.address(), {}, [](Doomed& d) {
    d.client->connect();
    d.settle();
  });
}

TEST_CASE("TcpClient destroyed: while it is connected, with and without output that waits") {
  Listener listener;
  for (const std::size_t bytes : {std::size_t{0}, kTooMuch}) {
    destroyedBy(listener.address(), comesBack(1ms), [&](Doomed& d) {
      d.client->connect();
      CHECK(eventually([&] { return d.noted->ups == 1; }));
      d.client->connection()->send(std::string(bytes, 'x'));
    });
  }
}

TEST_CASE("TcpClient destroyed: while it is closing") {
  Listener listener;
  destroyedBy(listener.address(), {}, [](Doomed& d) {
    d.client->connect();
    CHECK(eventually([&] { return d.noted->ups == 1; }));
    d.client->disconnect(1h);
    d.settle();
  });
}

TEST_CASE("TcpClient destroyed: while it stops; then nobody hears of the end") {
  Listener listener;
  std::atomic<int> stopped{0};
  destroyedBy(listener.address(), {}, [&](Doomed& d) {
    d.client->connect();
    CHECK(eventually([&] { return d.noted->ups == 1; }));
    d.client->stop(1h, [&](bool) { ++stopped; });
    d.settle();
  });
  CHECK(stopped == 0);
}

TEST_CASE("TcpClient destroyed: while it waits for the next attempt") {
  destroyedBy(nobody(), comesBack(1h), [](Doomed& d) {
    d.client->connect();
    CHECK(eventually([&] { return d.noted->failures == 1; }));
  });
  Listener listener;  // and after a connection
  destroyedBy(listener.address(), comesBack(1h), [&](Doomed& d) {
    d.client->connect();
    CHECK(eventually([&] { return d.noted->ups == 1; }));
    (void)listener.accept();
    CHECK(eventually([&] { return d.noted->downs == 1; }));
  });
}

TEST_CASE("TcpClient destroyed: while it tries again and again") {
  destroyedBy(nobody(), comesBack(1ms), [](Doomed& d) {
    d.client->connect();
    CHECK(eventually([&] { return d.noted->failures > 3; }));
  });
}

/// A client that is destroyed in one of its callbacks, which `setUp` makes so.
void destroyedIn(const char* callback,
                 const std::function<void(TcpClient&, std::function<void()>)>& setUp,
                 const std::function<void(TcpClient&)>& afterUp = {}) {
  CAPTURE(callback);
  // Greets, and sends its FIN when it is asked to.
  ServerThread server([](auto& s) {
    s.setConnectionCallback([](const TcpConnectionPtr& connection) {
      if (connection->connected()) connection->send("hello");
    });
    s.setMessageCallback([](const TcpConnectionPtr& connection, Buffer& buffer, Timestamp) {
      if (buffer.view().ends_with("bye")) connection->shutdown();
      buffer.retrieveAll();
    });
  });
  const bool fails = std::string(callback) == "failure";
  Doomed d(fails ? nobody() : server.address(), comesBack(1ms));
  CountDownLatch destroyed(1);
  ServerThread::runOn(d.loop, [&] {
    setUp(*d.client, [&] {
      if (d.client == nullptr) return;  // its destructor calls the "down" callback
      d.client.reset();
      d.noted->gone = true;
      destroyed.countDown();
    });
  });
  d.client->connect();
  if (afterUp) {
    CHECK(eventually([&] { return d.client->connection() != nullptr; }));
    ServerThread::runOn(d.loop, [&] { afterUp(*d.client); });
  }
  destroyed.wait();
  d.settle();
  CHECK(d.client == nullptr);
  CHECK(d.noted->late == 0);
  CHECK(eventually([&] { return server.server().connectionCount() == 0; }));
}

/// However fast the peer reads: what waits already makes all that follows wait, too.
void sendAboveHighWater(TcpClient& client) {
  const auto connection = client.connection();
  while (connection->outputBytes() < 2 << 20)
    connection->send(std::string(1 << 20, 'x'));
}

TEST_CASE("TcpClient destroyed: in each of its callbacks") {
  using Destroy = std::function<void()>;
  destroyedIn("connection: up", [](TcpClient& c, const Destroy& destroy) {
    c.setConnectionCallback([=](auto& connection) {
      if (connection->connected()) destroy();
    });
  });
  destroyedIn(
      "connection: down",
      [](TcpClient& c, const Destroy& destroy) {
        c.setConnectionCallback([=](auto& connection) {
          if (!connection->connected()) destroy();
        });
      },
      [](TcpClient& c) { c.connection()->forceClose(); });
  destroyedIn("failure", [](TcpClient& c, const Destroy& destroy) {
    c.setFailureCallback([=](auto&, auto) { destroy(); });
  });
  destroyedIn("message", [](TcpClient& c, const Destroy& destroy) {
    c.setMessageCallback([=](auto&, Buffer&, Timestamp) { destroy(); });
  });
  destroyedIn(
      "write complete",
      [](TcpClient& c, const Destroy& destroy) {
        c.setWriteCompleteCallback([=](auto&) { destroy(); });
      },
      [](TcpClient& c) { c.connection()->send("x"); });
  destroyedIn(
      "high-water mark",
      [](TcpClient& c, const Destroy& destroy) {
        c.setHighWaterMarkCallback([=](auto&, std::size_t) { destroy(); });
      },
      sendAboveHighWater);
  destroyedIn(
      "low-water mark",
      [](TcpClient& c, const Destroy& destroy) {
        c.setLowWaterMarkCallback([=](auto&, std::size_t) { destroy(); });
      },
      sendAboveHighWater);
  destroyedIn(
      "half-close",
      [](TcpClient& c, const Destroy& destroy) {
        c.setHalfCloseCallback([=](auto&) { destroy(); });
      },
      [](TcpClient& c) { c.connection()->send("bye"); });
  destroyedIn(
      "drain",
      [](TcpClient& c, const Destroy& destroy) { c.setDrainCallback([=](auto&) { destroy(); }); },
      [](TcpClient& c) { c.stop(1h); });
  Destroy kept;
  destroyedIn(
      "stop", [&](TcpClient&, Destroy destroy) { kept = std::move(destroy); },
      [&](TcpClient& c) {
        for (int i = 0; i < 2; ++i)
          c.stop(0s, [&](bool) { kept(); });
      });
  destroyedIn(
      "a timer of the connection", [&](TcpClient&, Destroy destroy) { kept = std::move(destroy); },
      [&](TcpClient& c) { c.connection()->runAfter(0s, [&] { kept(); }); });
}

TEST_CASE("TcpClient destroyed: in the callback that says that it was cancelled") {
  DeafListener deaf;
  for (const bool stops : {false, true}) {
    EventLoop loop;
    std::atomic<int> stopped{0};
    auto client = std::make_unique<TcpClient>(&loop, deaf.address(), "cancelled");
    client->setFailureCallback([&](auto&, auto) { client.reset(); });
    client->connect();
    runRounds(loop, 2);
    if (stops) {
      client->stop(0s, [&](bool) { ++stopped; });
    } else {
      client->disconnect();
    }
    runRounds(loop, 3);
    CHECK(client == nullptr);
    CHECK(stopped == 0);
  }
}

TEST_CASE("TcpClient destroyed: the callbacks that run meanwhile may still ask it") {
  Listener listener;
  Doomed d(listener.address());
  std::atomic<int> asked{0};
  ServerThread::runOn(d.loop, [&] {
    TcpClient* const client = d.client.get();
    client->setConnectionCallback([&, client](const TcpConnectionPtr& connection) {
      if (connection->connected()) return;
      CHECK(client->name() == "doomed");
      CHECK(client->target().toText() == listener.address().toIpPort());
      CHECK(client->connection() == nullptr);
      client->connect();
      client->disconnect();
      ++asked;
    });
  });
  d.client->connect();
  CHECK(eventually([&] { return d.client->connection() != nullptr; }));
  d.destroy(By::plainThread);
  CHECK(asked == 1);
}

/// Brings a client on a loop of this thread to a moment, destroys the loop, and then the client,
/// here or on another thread.
void loopGoesFirst(const Target& target, const TcpClient::Options& options,
                   const std::function<void(EventLoop&, TcpClient&)>& arrive) {
  for (const bool elsewhere : {false, true}) {
    for (const bool destroysLoop : {false, true}) {
      const auto before = descriptorCount();
      auto loop = std::make_unique<EventLoop>();
      auto client = std::make_unique<TcpClient>(loop.get(), target, "left", options);
      int callbacks = 0;
      client->setConnectionCallback([&](auto&) { ++callbacks; });
      client->setFailureCallback([&](auto&, auto) { ++callbacks; });
      arrive(*loop, *client);
      const int atMoment = callbacks;
      if (destroysLoop) {
        std::thread([&] { loop.reset(); }).join();
      } else {
        loop.reset();
      }
      client->disconnect();  // nobody hears it
      client->stop(0s);
      CHECK(client->connection() == nullptr);
      if (elsewhere) {
        std::thread([&] { client.reset(); }).join();
      } else {
        client.reset();
      }
      CHECK(callbacks == atMoment);
      // This thread keeps the mailbox, and so the eventfd, of a loop that another one has
      // destroyed.
      const std::size_t kept = destroysLoop ? 1 : 0;
      CHECK(eventually([&] { return descriptorCount() <= before + kept; }));
    }
  }
}

TEST_CASE("TcpClient destroyed: its loop has gone first, at each moment") {
  Listener listener;
  DeafListener deaf;
  FakeLookup fake;
  const auto connects = [](EventLoop& loop, TcpClient& client) {
    client.connect();
    runRounds(loop, 3);
  };
  const auto isUp = [](EventLoop& loop, TcpClient& client) {
    client.connect();
    while (client.connection() == nullptr)
      runRounds(loop, 1);
  };
  loopGoesFirst(nobody(), {}, [](auto&, auto&) {});
  loopGoesFirst(nobody(), {}, [](auto&, TcpClient& client) { client.connect(); });
  loopGoesFirst(Target("host", 80), {.attempt{.resolver = fake.resolver(64)}}, connects);
  loopGoesFirst(deaf.address(), {}, connects);
  loopGoesFirst(nobody(), comesBack(1h), [&](EventLoop& loop, TcpClient& client) {
    client.connect();
    runRounds(loop, 10);
  });
  loopGoesFirst(listener.address(), comesBack(1h), isUp);
  loopGoesFirst(listener.address(), comesBack(1h), [&](EventLoop& loop, TcpClient& client) {
    isUp(loop, client);
    client.connection()->send(std::string(kTooMuch, 'x'));
    client.disconnect(1h);
    client.connect();
    runRounds(loop, 2);
  });
  loopGoesFirst(listener.address(), comesBack(1h), [&](EventLoop& loop, TcpClient& client) {
    isUp(loop, client);
    client.stop(1h);
    runRounds(loop, 2);
  });
}

TEST_CASE("TcpClient destroyed: a loop that does not run is not waited for") {
  Listener listener;
  EventLoop loop;
  auto client = std::make_unique<TcpClient>(&loop, listener.address(), "patient");
  std::atomic<int> downs{0};
  client->setConnectionCallback(
      [&](const TcpConnectionPtr& c) { downs += c->connected() ? 0 : 1; });
  client->connect();
  while (client->connection() == nullptr)
    runRounds(loop, 1);
  std::thread([&] { client.reset(); }).join();
  CHECK(downs == 0);
  runRounds(loop, 2);
  CHECK(downs == 1);
}

TEST_CASE("TcpClient destroyed: a connection that is kept holds no descriptor, and harms nobody") {
  Listener listener;
  const auto before = descriptorCount();
  TcpConnectionPtr kept;
  {
    Doomed d(listener.address());
    d.client->connect();
    CHECK(eventually([&] { return (kept = d.client->connection()) != nullptr; }));
    CHECK(eventually([&] { return kept->connected(); }));
    d.destroy(By::plainThread);
    CHECK(!kept->connected());
    CHECK(kept->closeReason() == rung::CloseReason::stopped);
  }
  CHECK(descriptorCount() <= before + 1);  // the eventfd of the loop's mailbox
  CHECK(!kept->send("x"));
  kept->close(1h);
  kept->forceClose();
}

}  // namespace
