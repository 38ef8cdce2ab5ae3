// Clients that random threads use and destroy at random moments, from a seed. What is asserted: it
// ends; each connection that came up goes down; no callback comes after the destructor, where that
// is promised; nothing is left open. Mostly for TSan and ASan.

#include <doctest/doctest.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "rung/net/Buffer.h"
#include "rung/net/EventLoop.h"
#include "rung/net/EventLoopThread.h"
#include "rung/net/Resolver.h"
#include "rung/net/TcpClient.h"
#include "rung/net/TcpConnection.h"

#include "tests/support/Listener.h"
#include "tests/support/Process.h"
#include "tests/support/ServerThread.h"

using rung::Buffer;
using rung::EventLoop;
using rung::EventLoopThread;
using rung::InetAddress;
using rung::Resolver;
using rung::Target;
using rung::TcpClient;
using rung::TcpConnectionPtr;
using rung::Timestamp;
using rung::testing::DeafListener;
using rung::testing::descriptorCount;
using rung::testing::eventually;
using rung::testing::nobody;
using rung::testing::ServerThread;

using namespace std::chrono_literals;

namespace {

constexpr int kRuns = 5'000;
constexpr unsigned kFirstSeed = 20'000;

/// Random numbers of one run, all from its seed.
class Dice {
 public:
  explicit Dice(unsigned seed) : engine_(seed) {}
  /// 0 to `sides` - 1.
  unsigned roll(unsigned sides) { return static_cast<unsigned>(engine_() % sides); }

 private:
  std::mt19937 engine_;
};

/// Where the clients go: a server that treats each connection in another way, and others.
class World {
 public:
  World()
      : server_([this](auto& s) {
          s.setConnectionCallback([this](const TcpConnectionPtr& c) { onConnection(c); });
          s.setMessageCallback(rung::testing::echo);
        }) {
    targets_ = {server_.address(),
                server_.address(),
                deaf_.address(),
                nobody(),
                InetAddress("255.255.255.255", 1),
                Target("host", 80)};
    // Owns what it uses: a thread may be in it when all this is gone.
    const std::vector<InetAddress> found{nobody(), deaf_.address(), server_.address()};
    const auto lookups = std::make_shared<std::atomic<unsigned>>(0);
    resolver_ = std::make_shared<Resolver>(
        Resolver::Options{.threads = 2, .lookup = [=](auto&, auto) -> Resolver::Answer {
                            const unsigned which = (*lookups)++;
                            if (which % 4 == 0) std::this_thread::sleep_for(300us);
                            if (which % 5 == 0) return {.error = rung::errnoCode(ENOENT)};
                            return {.addresses = found};
                          }});
  }

  TcpClient::Options options(Dice& dice) {
    TcpClient::Options options;
    options.attempt.timeout = std::chrono::milliseconds(dice.roll(5));
    options.attempt.stagger = std::chrono::milliseconds(dice.roll(2));
    options.attempt.resolver = resolver_;
    if (dice.roll(3) > 0) {
      options.reconnect = rung::Backoff::Options{
          .initial = 1ms, .cap = 2ms, .stableAfter = 1ms, .seed = dice.roll(1000) + 1};
    }
    return options;
  }
  const Target& target(Dice& dice) {
    return targets_[dice.roll(static_cast<unsigned>(targets_.size()))];
  }
  EventLoop* loop() { return loop_; }
  EventLoop* otherLoop() { return otherLoop_; }

 private:
  void onConnection(const TcpConnectionPtr& connection) {
    if (!connection->connected()) return;
    switch (connection->id() % 6) {
      case 0:
        return connection->reset();
      case 1:
        return connection->shutdown();
      case 2:
        (void)connection->send("hello");
        return connection->close(0s);
      case 3:
        (void)connection->send(std::string(100'000, 'x'));
        return;
      default:  // echoes
        return;
    }
  }

  DeafListener deaf_;
  ServerThread server_;
  std::vector<Target> targets_;
  std::shared_ptr<Resolver> resolver_;
  EventLoopThread thread_;
  EventLoopThread otherThread_;
  EventLoop* const loop_ = thread_.startLoop();
  EventLoop* const otherLoop_ = otherThread_.startLoop();
};

/// One client. Its callbacks share this with the thread that made it.
struct Run {
  std::unique_ptr<TcpClient> client;
  std::atomic<int> ups{0}, downs{0}, late{0};
  std::atomic<bool> gone{false};
  std::atomic<int> untilDoom{-1};  // callbacks until one of them destroys the client; -1: none does

  void callback() {
    if (gone) ++late;
    if (untilDoom > 0 && --untilDoom == 0) destroyHere();
  }
  void destroyHere() {
    untilDoom = -1;
    client.reset();
    gone = true;
  }
};

void anyClientCall(TcpClient& client, Dice& dice) {
  switch (dice.roll(7)) {
    case 0:
      return client.disconnect(std::chrono::milliseconds(dice.roll(3)));
    case 1:
      if (const auto connection = client.connection()) (void)connection->send("hello");
      return;
    case 2:
      if (const auto connection = client.connection()) {
        (void)connection->send(std::string(200'000, 'y'));
      }
      return;
    case 3:
      if (const auto connection = client.connection()) connection->forceClose();
      return;
    case 4:
      if (const auto connection = client.connection()) connection->shutdown();
      return;
    default:
      return client.connect();
  }
}

void setUpClient(const std::shared_ptr<Run>& run, TcpClient& client) {
  client.setConnectionCallback([run](const TcpConnectionPtr& connection) {
    ++(connection->connected() ? run->ups : run->downs);
    run->callback();
  });
  client.setMessageCallback([run](auto&, Buffer& buffer, Timestamp) {
    buffer.retrieveAll();
    run->callback();
  });
  client.setWriteCompleteCallback([run](auto&) { run->callback(); });
  client.setFailureCallback([run](auto&, auto) { run->callback(); });
}

/// Destroys the client, which no callback of its own destroys, on one of the threads.
void destroySomewhere(World& world, Run& run, Dice& dice) {
  switch (dice.roll(3)) {
    case 0:
      return ServerThread::runOn(world.loop(), [&] { run.destroyHere(); });
    case 1:
      return run.destroyHere();
    default:
      ServerThread::runOn(world.otherLoop(), [&] { run.client.reset(); });
      for (int i = 0; i < 2; ++i)
        ServerThread::runOn(world.loop(), [] {});  // that one does not wait
      run.gone = true;
  }
}

std::shared_ptr<Run> randomRun(World& world, unsigned seed) {
  Dice dice(seed);
  const auto run = std::make_shared<Run>();
  run->client =
      std::make_unique<TcpClient>(world.loop(), world.target(dice), "random", world.options(dice));
  setUpClient(run, *run->client);
  run->client->connect();
  const bool inCallback = dice.roll(4) == 0;
  for (unsigned calls = dice.roll(5); calls > 0; --calls) {
    if (dice.roll(3) == 0) std::this_thread::sleep_for(std::chrono::microseconds(dice.roll(400)));
    anyClientCall(*run->client, dice);
  }
  if (dice.roll(8) == 0) run->client->stop(std::chrono::milliseconds(dice.roll(3)));
  if (inCallback) {
    // It decides on the loop's thread, where the callbacks are. Of some, no callback comes in time.
    ServerThread::runOn(world.loop(), [&] { run->untilDoom = static_cast<int>(dice.roll(3)) + 1; });
    std::this_thread::sleep_for(std::chrono::microseconds(dice.roll(600)));
    ServerThread::runOn(world.loop(), [&] {
      if (!run->gone) run->destroyHere();
    });
  } else {
    destroySomewhere(world, *run, dice);
  }
  return run;
}

TEST_CASE("TcpClient random: used and destroyed by random threads at random moments") {
  const auto before = descriptorCount();
  {
    World world;
    int ups = 0;
    for (unsigned seed = kFirstSeed; seed < kFirstSeed + kRuns; ++seed) {
      const auto run = randomRun(world, seed);
      ServerThread::runOn(world.loop(), [] {});
      if (run->late > 0 || run->ups != run->downs || run->client != nullptr) {
        CAPTURE(seed);
        CHECK(run->late == 0);
        CHECK(run->ups == run->downs);
        CHECK(run->client == nullptr);
      }
      ups += run->ups;
    }
    CHECK(ups > kRuns / 10);
  }
  CHECK(eventually([&] { return descriptorCount() <= before; }));
}

TEST_CASE("TcpClient random: loops that end first, at random moments") {
  const auto before = descriptorCount();
  {
    World world;
    for (unsigned seed = 0; seed < kRuns / 10; ++seed) {
      Dice dice(seed);
      const auto run = std::make_shared<Run>();
      {
        EventLoopThread thread;
        EventLoop* const loop = thread.startLoop();
        run->client =
            std::make_unique<TcpClient>(loop, world.target(dice), "left", world.options(dice));
        setUpClient(run, *run->client);
        run->client->connect();
        for (unsigned calls = dice.roll(3); calls > 0; --calls)
          anyClientCall(*run->client, dice);
        std::this_thread::sleep_for(std::chrono::microseconds(dice.roll(600)));
      }
      anyClientCall(*run->client, dice);
      run->destroyHere();
      CHECK(run->late == 0);
      CHECK(run->downs <= run->ups);
    }
  }
  CHECK(eventually([&] { return descriptorCount() <= before; }));
}

}  // namespace
