// Finding idle connections: a timing wheel against a timer that every message cancels and adds
// anew. The messages come on random connections; what is timed is the bookkeeping of one message,
// and at the end what it costs to find that a connection is idle.

#include <benchmark/benchmark.h>

#include <memory>
#include <random>
#include <vector>

#include "rung/net/EventLoop.h"
#include "rung/net/TimerHeap.h"
#include "rung/net/TimingWheel.h"

namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr seconds kTimeout{8};
constexpr seconds kTick{1};

/// Which connection each message comes on: enough of them that the caches do not learn it.
std::vector<std::uint32_t> randomConnections(std::int64_t count) {
  std::mt19937 random(1);
  std::vector<std::uint32_t> picks(1 << 16);
  for (std::uint32_t& pick : picks)
    pick = std::uniform_int_distribution<std::uint32_t>(
        0, static_cast<std::uint32_t>(count - 1))(random);
  return picks;
}

struct Connection : rung::TimingWheel::Entry {
  explicit Connection(std::int64_t* idle) : idleCount(idle) {}
  void onIdle() override { ++*idleCount; }
  std::int64_t* const idleCount;
  char rest[64] = {};  // a connection has more than its place in the wheel
};

std::vector<std::unique_ptr<Connection>> makeConnections(std::int64_t count, std::int64_t* idle) {
  std::vector<std::unique_ptr<Connection>> connections;
  for (std::int64_t i = 0; i < count; ++i)
    connections.push_back(std::make_unique<Connection>(idle));
  return connections;
}

void wheelRefresh(benchmark::State& state) {
  std::int64_t idle = 0;
  rung::TimingWheel wheel(nullptr, kTimeout, kTick);
  const auto connections = makeConnections(state.range(0), &idle);
  for (const auto& connection : connections)
    wheel.add(*connection);
  const auto picks = randomConnections(state.range(0));
  for (auto _ : state) {
    for (const std::uint32_t pick : picks)
      wheel.refresh(*connections[pick]);
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(picks.size()));
}

void timerRefresh(benchmark::State& state) {
  rung::EventLoop loop;
  std::int64_t idle = 0;
  std::vector<rung::TimerId> timers;
  for (std::int64_t i = 0; i < state.range(0); ++i)
    timers.push_back(loop.runAfter(kTimeout, [&idle] { ++idle; }));
  const auto picks = randomConnections(state.range(0));
  for (auto _ : state) {
    for (const std::uint32_t pick : picks) {
      loop.cancel(timers[pick]);
      timers[pick] = loop.runAfter(kTimeout, [&idle] { ++idle; });
    }
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(picks.size()));
}

/// All connections are idle: from adding them to the last onIdle(), with all ticks in between.
void wheelExpire(benchmark::State& state) {
  std::int64_t idle = 0;
  rung::TimingWheel wheel(nullptr, kTimeout, kTick);
  const auto connections = makeConnections(state.range(0), &idle);
  for (auto _ : state) {
    for (const auto& connection : connections)
      wheel.add(*connection);
    for (seconds passed{0}; passed <= kTimeout; passed += kTick)
      wheel.tick();
  }
  if (idle != state.iterations() * state.range(0)) state.SkipWithError("not all were found idle");
  state.SetItemsProcessed(idle);
}

/// The same with a heap, on a clock that is set.
void timerExpire(benchmark::State& state) {
  std::int64_t idle = 0;
  rung::TimerHeap heap;
  std::vector<rung::TimerHeap::Expired> due;
  rung::TimerHeap::Clock::time_point now{};
  for (auto _ : state) {
    for (std::int64_t i = 0; i < state.range(0); ++i)
      (void)heap.add(now + kTimeout, {}, rung::Task([&idle] { ++idle; }));
    now += kTimeout;
    due.clear();
    heap.takeExpired(now, due);
    for (const rung::TimerHeap::Expired& expired : due)
      heap.start(expired.id)();
  }
  if (idle != state.iterations() * state.range(0)) state.SkipWithError("not all were found idle");
  state.SetItemsProcessed(idle);
}

BENCHMARK(wheelRefresh)->Name("refresh/wheel")->Arg(1'000)->Arg(10'000)->Arg(100'000);
BENCHMARK(timerRefresh)->Name("refresh/timer")->Arg(1'000)->Arg(10'000)->Arg(100'000);
BENCHMARK(wheelExpire)->Name("expire/wheel")->Arg(1'000)->Arg(10'000)->Arg(100'000);
BENCHMARK(timerExpire)->Name("expire/timer")->Arg(1'000)->Arg(10'000)->Arg(100'000);

}  // namespace

BENCHMARK_MAIN();
