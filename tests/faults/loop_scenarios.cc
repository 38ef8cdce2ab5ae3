#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "rung/base/CountDownLatch.h"
#include "rung/net/EventLoop.h"
#include "rung/net/EventLoopThread.h"

#include "tests/faults/Faults.h"
#include "tests/faults/Scenario.h"
#include "tests/support/Client.h"
#include "tests/support/Process.h"
#include "tests/support/ServerThread.h"

namespace rung::testing {

namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

// Tasks that arrive one by one, each of which has to wake the loop, and timers meanwhile.
std::string tasksAndTimers(std::uint64_t seed) {
  const Faults::Spare spare;
  std::mt19937_64 random(seed);
  const std::size_t before = descriptorCount();
  constexpr int kTasks = 30;
  constexpr int kTimers = 10;
  std::atomic<int> tasksRun{0};
  std::atomic<int> timersRun{0};
  std::atomic<int> tooEarly{0};
  std::atomic<int> cancelledRun{0};
  std::string problem;
  {
    EventLoopThread thread;
    EventLoop* const loop = thread.startLoop();
    Faults::arm(FaultPlan::random(seed));
    CountDownLatch allTimers(kTimers);
    std::vector<TimerId> cancelled;
    for (int i = 0; i < kTimers; ++i) {
      const auto deadline = Clock::now() + std::chrono::microseconds(random() % 5000);
      loop->runAt(deadline, [&, deadline] {
        if (Clock::now() < deadline) ++tooEarly;
        ++timersRun;
        allTimers.countDown();
      });
      cancelled.push_back(loop->runAfter(1h, [&] { ++cancelledRun; }));
    }
    std::thread poster([&] {  // not spared: its writes to the eventfd fail as well
      for (int i = 0; i < kTasks; ++i) {
        CountDownLatch ran(1);
        loop->queueInLoop([&] {
          ++tasksRun;
          ran.countDown();
        });
        if (!ran.waitUntil(Clock::now() + patience())) std::abort();  // it holds what is ours
      }
    });
    poster.join();
    if (!allTimers.waitUntil(Clock::now() + patience())) problem = "a timer never ran";
    for (const TimerId id : cancelled) {
      if (!loop->cancel(id)) problem = "a timer that waits could not be cancelled";
    }
    if (Faults::counts().idleReturns > 20) problem = "the loop spins";
    Faults::disarm();
    if (!problem.empty()) std::abort();  // as above; the seed is told
  }
  if (tasksRun != kTasks) problem = "tasks were lost";
  if (timersRun != kTimers) problem = "a timer ran twice";
  if (tooEarly > 0) problem = "a timer ran too early";
  if (cancelledRun > 0) problem = "a cancelled timer ran";
  if (problem.empty() && descriptorCount() != before) problem = "descriptors leaked";
  return problem;
}

// What is made while descriptors, memory or watches run short either works or throws. After that,
// the same thread can do it again.
std::string setUp(std::uint64_t seed) {
  const std::size_t before = descriptorCount();
  std::string problem;
  bool hasThrown = false;
  std::thread([&] {
    std::optional<EventLoop> loop;
    std::unique_ptr<TcpServer> server;
    FaultPlan plan = FaultPlan::random(seed);
    Faults::arm(plan);
    try {
      loop.emplace();
      server = std::make_unique<TcpServer>(&*loop, InetAddress::loopback(0), "set-up");
      server->setThreadNum(static_cast<int>(seed % 3));
      server->start();
    } catch (const std::system_error& e) {
      hasThrown = true;
      if (std::string(e.what()).empty()) problem = "an error that does not say what failed";
    }
    const bool failed = Faults::disarm().fatal > 0;
    const Faults::Spare spare;
    if (hasThrown && !failed) problem = "it threw, though nothing failed";
    try {
      // Whatever is there already goes on from where it failed.
      if (!loop) loop.emplace();
      if (server == nullptr) {
        server = std::make_unique<TcpServer>(&*loop, InetAddress::loopback(0), "set-up");
      }
      server->start();
    } catch (const std::exception& e) {
      problem = std::string("the second time failed: ") + e.what();
    }
    if (!problem.empty()) return;
    if (!Client(server->listenAddress()).connected()) problem = "started, but not listening";
  }).join();
  if (problem.empty() && descriptorCount() != before) problem = "descriptors leaked";
  return problem;
}

}  // namespace

std::span<const Scenario> loopScenarios() {
  static constexpr Scenario kScenarios[] = {
      {"timers", "tasks from another thread, and timers", tasksAndTimers},
      {"set-up", "a loop and a server are made while the system is short of everything", setUp}};
  return kScenarios;
}

}  // namespace rung::testing
