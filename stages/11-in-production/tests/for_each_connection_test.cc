// All connections of a server, each on its own loop.

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "rung/base/Mutex.h"
#include "rung/net/EventLoop.h"
#include "rung/net/TcpConnection.h"
#include "rung/net/TcpServer.h"

#include "tests/support/Allocations.h"
#include "tests/support/ChildProcess.h"
#include "tests/support/Client.h"
#include "tests/support/Observed.h"
#include "tests/support/ServerThread.h"

using rung::EventLoop;
using rung::TcpConnectionPtr;
using rung::TcpServer;
using rung::testing::BlockedLoop;
using rung::testing::Client;
using rung::testing::eventually;
using rung::testing::NoMemory;
using rung::testing::runInChild;
using rung::testing::ServerThread;

using namespace std::chrono_literals;

namespace {

/// A server with `count` clients that are up, on `threads` loops.
struct Crowd {
  explicit Crowd(int count, int threads, const std::function<void(TcpServer&)>& setUp = {})
      : server(
            [&](TcpServer& s) {
              s.setThreadInitCallback([this](EventLoop* loop) { loops.push_back(loop); });
              if (setUp) setUp(s);
            },
            threads) {
    for (int i = 0; i < count; ++i)
      clients.push_back(std::make_unique<Client>(server.address()));
    const auto all = static_cast<std::size_t>(count);
    CHECK(eventually([&] { return server.server().stats().open == all && visited() == count; }));
  }

  /// How many connections a visit finds: those that are up.
  int visited() {
    std::atomic<int> found{0};
    std::atomic<bool> over{false};
    server.server().forEachConnection([&](const auto&) { ++found; }, [&] { over = true; });
    CHECK(eventually([&] { return over.load(); }));
    return found;
  }

  std::vector<EventLoop*> loops;
  ServerThread server;
  std::vector<std::unique_ptr<Client>> clients;
};

TEST_CASE("forEachConnection: each once, on its own loop, and then the end, on the base loop") {
  Crowd crowd(20, 3);
  rung::Mutex mutex;
  std::set<std::uint64_t> ids;
  int calls = 0;
  std::atomic<bool> over{false};
  crowd.server.server().forEachConnection(
      [&](const TcpConnectionPtr& c) {
        CHECK(c->loop()->isInLoopThread());
        CHECK(c->connected());
        c->send("bye");
        const rung::MutexLock lock(mutex);
        ids.insert(c->id());
        ++calls;
      },
      [&] {
        CHECK(crowd.server.loop()->isInLoopThread());
        CHECK(calls == 20);
        over = true;
      });
  CHECK(eventually([&] { return over.load(); }));
  CHECK(ids.size() == 20);
  for (const auto& client : crowd.clients)
    CHECK(client->receive(3) == "bye");
}

TEST_CASE(
    "forEachConnection: on the loop itself it is not run inline; without connections it ends") {
  Crowd crowd(0, 0);
  std::atomic<bool> over{false};
  crowd.server.inLoop([&] {
    crowd.server.server().forEachConnection([](const auto&) { FAIL_CHECK("there is none"); },
                                            [&] { over = true; });
    CHECK_FALSE(over.load());
  });
  CHECK(eventually([&] { return over.load(); }));
}

TEST_CASE("forEachConnection: the callback may end its connection and all others") {
  for (const int threads : {0, 2}) {
    Crowd crowd(10, threads);
    rung::Mutex mutex;
    std::vector<TcpConnectionPtr> all;
    std::atomic<bool> over{false};
    crowd.server.server().forEachConnection([&](const TcpConnectionPtr& c) {
      const rung::MutexLock lock(mutex);
      all.push_back(c);
    });
    CHECK(crowd.visited() == 10);
    std::atomic<int> calls{0};
    crowd.server.server().forEachConnection(
        [&](const TcpConnectionPtr&) {
          ++calls;
          for (const TcpConnectionPtr& c : all)
            c->forceClose();
        },
        [&] { over = true; });
    CHECK(eventually([&] { return over.load(); }));
    CHECK(calls >= 1);
    CHECK(calls <= 10);
    for (const auto& client : crowd.clients)
      CHECK(client->receiveAll().empty());
    CHECK(eventually([&] { return crowd.server.server().stats().open == 0; }));
    all.clear();
  }
}

TEST_CASE("forEachConnection: the callback may destroy the server; then no more is called") {
  Crowd crowd(5, 0);
  std::atomic<int> calls{0};
  const auto captured = std::make_shared<int>(0);
  crowd.server.server().forEachConnection(
      [&, captured](const TcpConnectionPtr& c) {
        ++calls;
        crowd.server.ownership().reset();
        CHECK_FALSE(c->connected());
      },
      [captured] { FAIL_CHECK("the server is gone"); });
  CHECK(eventually([&] { return captured.use_count() == 1; }));
  CHECK(calls == 1);
  for (const auto& client : crowd.clients)
    CHECK(client->receiveAll().empty());
}

TEST_CASE("forEachConnection: a server that is destroyed meanwhile calls nothing any more") {
  Crowd crowd(6, 2);
  const auto captured = std::make_shared<int>(0);
  std::atomic<bool> gone{false};
  {
    BlockedLoop blocked(crowd.loops[0]);
    crowd.server.server().forEachConnection(
        [&, captured](const auto&) { CHECK_FALSE(gone.load()); },
        [captured] { FAIL_CHECK("the server is gone"); });
    std::thread releaser([&] {
      std::this_thread::sleep_for(20ms);
      blocked.release();
    });
    crowd.server.destroyServer();
    gone = true;
    releaser.join();
  }
  CHECK(eventually([&] { return captured.use_count() == 1; }));
}

TEST_CASE(
    "forEachConnection: a loop that has ended is left out, and one that ends is not waited for") {
  Crowd crowd(4, 2);
  std::atomic<int> calls{0};
  std::atomic<bool> over{false};
  {
    BlockedLoop blocked(crowd.loops[0]);
    crowd.loops[0]->quit();
    crowd.server.server().forEachConnection([&](const auto&) { ++calls; }, [&] { over = true; });
    CHECK(eventually([&] { return calls == 2; }));
    CHECK_FALSE(over.load());
  }
  CHECK(eventually([&] { return over.load(); }));
  CHECK(eventually([&] { return crowd.visited() == 2; }));  // it runs what was queued, and ends
}

TEST_CASE("forEachConnection: connections on their way to a busy loop are met as well") {
  Crowd crowd(0, 1);
  std::atomic<int> calls{0};
  std::atomic<bool> over{false};
  std::vector<std::unique_ptr<Client>> late;
  {
    BlockedLoop blocked(crowd.loops[0]);
    for (int i = 0; i < 3; ++i)
      late.push_back(std::make_unique<Client>(crowd.server.address()));
    CHECK(eventually([&] { return crowd.server.server().stats().open == 3; }));
    crowd.server.server().forEachConnection([&](const auto&) { ++calls; }, [&] { over = true; });
  }
  CHECK(eventually([&] { return over.load(); }));
  CHECK(calls == 3);
}

TEST_CASE("forEachConnection: without memory it throws, and calls nothing") {
  Crowd crowd(2, 1);
  std::atomic<int> calls{0};
  for (int granted = 0; granted < 8; ++granted) {
    std::function<void(const TcpConnectionPtr&)> callback = [&](const auto&) { ++calls; };
    std::function<void()> done = [&] { ++calls; };
    bool thrown = false;
    {
      const NoMemory none(granted);
      try {
        crowd.server.server().forEachConnection(std::move(callback), std::move(done));
      } catch (const std::bad_alloc&) {
        thrown = true;
      }
    }
    if (!thrown) {
      CHECK(granted > 0);
      break;
    }
    CHECK(crowd.visited() == 2);
    CHECK(calls == 0);
  }
  CHECK(eventually([&] { return calls == 3; }));
}

TEST_CASE("forEachConnection: aborts without a callback, and says which callback has thrown") {
  const auto without = runInChild([] {
    EventLoop loop;
    TcpServer server(&loop, rung::InetAddress::loopback(0), "test");
    server.forEachConnection({});
  });
  CHECK(without.aborted());
  CHECK(without.says("forEachConnection"));
  const auto thrown = runInChild([] {
    Crowd crowd(1, 0);
    crowd.server.server().forEachConnection(
        [](const auto&) { throw std::runtime_error("out of ideas"); });
    std::this_thread::sleep_for(10s);
  });
  CHECK(thrown.aborted());
  CHECK(thrown.says("forEachConnection"));
  CHECK(thrown.says("test-127.0.0.1:"));
  CHECK(thrown.says("out of ideas"));
}

}  // namespace
