// A client when memory is short, at each place where it asks for some.

#include <doctest/doctest.h>

#include <cerrno>
#include <chrono>
#include <memory>
#include <new>
#include <system_error>
#include <thread>

#include "rung/base/Insist.h"
#include "rung/net/EventLoop.h"
#include "rung/net/TcpClient.h"
#include "rung/net/TcpConnection.h"

#include "tests/support/Allocations.h"
#include "tests/support/FakeLookup.h"
#include "tests/support/Listener.h"
#include "tests/support/LoopRounds.h"
#include "tests/support/Process.h"
#include "tests/support/QuietLog.h"

using rung::EventLoop;
using rung::Target;
using rung::TcpClient;
using rung::TcpConnectionPtr;
using rung::testing::descriptorCount;
using rung::testing::FakeLookup;
using rung::testing::Listener;
using rung::testing::nobody;
using rung::testing::NoMemory;
using rung::testing::runRounds;

using namespace std::chrono_literals;

namespace {

/// A client that comes to an end of some kind, which ends the loop.
struct Scarce {
  Scarce(const Target& target, const TcpClient::Options& options)
      : client(&loop, target, "scarce", options) {
    client.setConnectionCallback([this](const TcpConnectionPtr& connection) {
      ++(connection->connected() ? ups : downs);
      loop.quit();
    });
    client.setFailureCallback([this](const rung::ConnectFailure& failure, auto retryIn) {
      if (failure.error == std::error_code(ENOMEM, std::generic_category())) ++noMemory;
      if (retryIn) return;
      ++ended;
      loop.quit();
    });
    loop.runAfter(20s, [this] { loop.quit(); });
  }

  /// Until the callback that quits, with one refusal after `granted` allocations.
  void loopScarcely(int granted) {
    const NoMemory none(granted, 1);
    loop.loop();
  }

  EventLoop loop;
  int ups = 0;
  int downs = 0;
  int noMemory = 0;
  int ended = 0;
  TcpClient client;
};

TEST_CASE("TcpClient memory: an attempt has its answer, wherever memory ends, and leaks nothing") {
  Listener listener;
  const rung::testing::QuietLog quiet;
  int failed = 0;
  for (int granted = 0; granted < 60; ++granted) {
    CAPTURE(granted);
    const auto before = descriptorCount();
    {
      Scarce s(listener.address(), {});
      s.client.connect();
      s.loopScarcely(granted);
      CHECK(s.ups + s.ended == 1);
      CHECK(s.noMemory == s.ended);
      failed += s.noMemory;
      if (s.ended == 1) {  // it is as new
        s.client.connect();
        s.loop.loop();
        CHECK(s.ups == 1);
      }
    }
    CHECK(descriptorCount() <= before);
  }
  CHECK(failed > 3);
  CHECK(failed < 60);
}

TEST_CASE("TcpClient memory: reconnecting goes on, or its end is told") {
  const rung::testing::QuietLog quiet;
  for (int granted = 0; granted < 60; ++granted) {
    CAPTURE(granted);
    Listener listener;
    const rung::Backoff::Options soon{.initial = 1ms, .cap = 1ms, .seed = 1};
    Scarce s(listener.address(), {.reconnect = soon});
    s.client.connect();
    s.loop.loop();
    REQUIRE(s.ups == 1);
    s.client.connection()->forceClose();
    s.loopScarcely(granted);  // down
    CHECK(s.downs == 1);
    if (s.ended == 0) s.loop.loop();  // up again
    CHECK(s.ups + s.ended == 2);
  }
}

TEST_CASE("TcpClient memory: a call that throws on another thread has done nothing") {
  EventLoop loop;
  int failures = 0;
  TcpClient client(&loop, nobody(), "scarce");
  client.setFailureCallback([&](auto&, auto) { ++failures; });
  std::thread([&] {
    const NoMemory none;
    CHECK_THROWS_AS(client.connect(), std::bad_alloc);
    CHECK_THROWS_AS(client.disconnect(), std::bad_alloc);
    CHECK_THROWS_AS(client.stop(0s), std::bad_alloc);
  }).join();
  runRounds(loop, 3);
  CHECK(failures == 0);
  client.connect();  // stop() has not come into effect
  runRounds(loop, 10);
  CHECK(failures == 1);
}

TEST_CASE("TcpClient memory: the destructor waits for the memory that it needs") {
  EventLoop loop;
  auto client = std::make_unique<TcpClient>(&loop, nobody(), "scarce");
  std::thread([&] {
    const NoMemory none(0, 5);
    client.reset();
  }).join();
  runRounds(loop, 2);
}

TEST_CASE("insist: calls until there is memory, and returns what the call returns") {
  int calls = 0;
  CHECK(rung::insist([&] {
          if (++calls < 4) throw std::bad_alloc();
          return 7;
        }) == 7);
  CHECK(calls == 4);
}

TEST_CASE("Resolver memory: a thread waits for the memory to answer; ENOMEM where it cannot ask") {
  const FakeLookup fake;
  const auto resolver = fake.resolver();
  for (int granted = 0; granted < 10; ++granted) {
    EventLoop loop;
    int answers = 0;
    try {
      const NoMemory none(granted, 1);
      const auto query = resolver->resolve(&loop, "host", 80, [&](auto) { ++answers; });
      CHECK(query.pending());
    } catch (const std::bad_alloc&) {
    }
    runRounds(loop, 2);
    CHECK(answers == 0);
    CHECK(resolver->waiting() == 0);
  }
}

}  // namespace
