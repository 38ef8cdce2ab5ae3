// poll(2) against epoll(7): one round with N descriptors of which few are active. A round makes the
// active ones readable, waits, and reads them; the writes and reads cost both the same. poll() is
// given all descriptors each time, and looks at each; epoll has them already.

#include <benchmark/benchmark.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdint>
#include <vector>

#include "rung/base/UniqueFd.h"

#include "bench/machine.h"

namespace {

/// Eventfds of which a few at a time are made readable, each in its turn.
class Descriptors {
 public:
  explicit Descriptors(std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i) {
      fds_.emplace_back(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
      if (!fds_.back().valid()) break;
    }
    complete_ = std::ssize(fds_) == count && fds_.back().valid();
  }

  [[nodiscard]] bool complete() const { return complete_; }
  [[nodiscard]] const std::vector<rung::UniqueFd>& all() const { return fds_; }

  void activate(std::int64_t count) {
    const std::size_t step = fds_.size() / static_cast<std::size_t>(count);
    for (std::int64_t i = 0; i < count; ++i) {
      next_ = (next_ + step) % fds_.size();
      const std::uint64_t one = 1;
      if (write(fds_[next_].get(), &one, sizeof one) != sizeof one) failed_ = true;
    }
    next_ = (next_ + 1) % fds_.size();
  }

  void handle(int fd) {
    std::uint64_t value = 0;
    if (read(fd, &value, sizeof value) != sizeof value) failed_ = true;
  }

  [[nodiscard]] bool failed() const { return failed_; }

 private:
  std::vector<rung::UniqueFd> fds_;
  std::size_t next_ = 0;
  bool complete_ = false;
  bool failed_ = false;
};

void withPoll(benchmark::State& state) {
  Descriptors descriptors(state.range(0));
  if (!descriptors.complete()) return state.SkipWithError("too few descriptors (ulimit -Hn)");
  std::vector<pollfd> watched;
  for (const rung::UniqueFd& fd : descriptors.all())
    watched.push_back({fd.get(), POLLIN, 0});
  std::int64_t handled = 0;
  for (auto _ : state) {
    descriptors.activate(state.range(1));
    int left = poll(watched.data(), watched.size(), -1);
    for (auto entry = watched.begin(); left > 0 && entry != watched.end(); ++entry) {
      if (entry->revents == 0) continue;
      descriptors.handle(entry->fd);
      ++handled;
      --left;
    }
  }
  if (descriptors.failed() || handled != state.iterations() * state.range(1))
    state.SkipWithError("events are missing");
}

void withEpoll(benchmark::State& state) {
  Descriptors descriptors(state.range(0));
  const rung::UniqueFd epoll(epoll_create1(EPOLL_CLOEXEC));
  if (!descriptors.complete() || !epoll.valid())
    return state.SkipWithError("too few descriptors (ulimit -Hn)");
  for (const rung::UniqueFd& fd : descriptors.all()) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd.get();
    if (epoll_ctl(epoll.get(), EPOLL_CTL_ADD, fd.get(), &event) != 0)
      return state.SkipWithError("epoll_ctl failed");
  }
  std::vector<epoll_event> events(64);
  std::int64_t handled = 0;
  for (auto _ : state) {
    descriptors.activate(state.range(1));
    const int count = epoll_wait(epoll.get(), events.data(), static_cast<int>(events.size()), -1);
    for (int i = 0; i < count; ++i)
      descriptors.handle(events[static_cast<std::size_t>(i)].data.fd);
    handled += count;
  }
  if (descriptors.failed() || handled != state.iterations() * state.range(1))
    state.SkipWithError("events are missing");
}

void arguments(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"descriptors", "active"});
  for (const std::int64_t active : {1, 10}) {
    for (const std::int64_t count : {10, 100, 1'000, 10'000})
      benchmark->Args({count, active});
  }
}
BENCHMARK(withPoll)->Name("poll")->Apply(arguments);
BENCHMARK(withEpoll)->Name("epoll")->Apply(arguments);

}  // namespace

int main(int argc, char** argv) {
  bench::raiseDescriptorLimit();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
