// What a message costs the idle timeout of its connection; 10,000 connections.
//
//   08-touch-cost               times it, in nanoseconds a message
//   08-touch-cost HOW MESSAGES  for callgrind: HOW is wheel, or timers (one for each connection)

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string_view>
#include <vector>

#include "rung/net/EventLoop.h"
#include "rung/net/TimingWheel.h"

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

namespace {

constexpr std::size_t kConnections = 10'000;

struct Entry final : rung::TimingWheel::Entry {
  void onIdle() override {}
};

/// The next connection that gets a message: not in order, and the same ones each time.
std::size_t next(std::size_t connection) {
  return (connection + 7'919) % kConnections;
}

double touchWheel(int messages) {
  rung::TimingWheel wheel(nullptr, 8s);
  std::vector<std::unique_ptr<Entry>> entries(kConnections);
  for (auto& entry : entries) {
    entry = std::make_unique<Entry>();
    wheel.add(*entry);
  }
  const Clock::time_point start = Clock::now();
  std::size_t connection = 0;
  for (int i = 0; i < messages; ++i) {
    connection = next(connection);
    wheel.refresh(*entries[connection]);
  }
  return std::chrono::duration<double, std::nano>(Clock::now() - start).count() / messages;
}

double touchTimers(int messages) {
  rung::EventLoop loop;
  std::vector<rung::TimerId> timers(kConnections);
  for (rung::TimerId& timer : timers)
    timer = loop.runAfter(8s, [] {});
  const Clock::time_point start = Clock::now();
  std::size_t connection = 0;
  for (int i = 0; i < messages; ++i) {
    connection = next(connection);
    loop.cancel(timers[connection]);
    timers[connection] = loop.runAfter(8s, [] {});
  }
  return std::chrono::duration<double, std::nano>(Clock::now() - start).count() / messages;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 3) {
    const int messages = std::atoi(argv[2]);
    (void)(std::string_view(argv[1]) == "wheel" ? touchWheel(messages) : touchTimers(messages));
    return 0;
  }
  constexpr int kMessages = 1'000'000;
  std::printf("wheel  %.0f ns a message\n", touchWheel(kMessages));
  std::printf("timers %.0f ns a message\n", touchTimers(kMessages));
}
