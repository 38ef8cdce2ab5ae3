// Many timers: what adding, cancelling and expiring one of them costs, against other ways to keep
// them. A round adds N timers with random delays, in random order, and then ends them all; only the
// step that is asked for is timed, and the time is divided by N. Memory is warm: one round is done
// before.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <thread>

#include "bench/timers.h"

namespace {

using bench::Clock;
using bench::Delay;

enum class Step { add, cancelInOrder, cancelRandom, expire };

template <class Work>
double secondsOf(Work work) {
  const Clock::time_point start = Clock::now();
  work();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

template <class Timers>
class Round {
 public:
  Round(std::size_t count, Step step) : step_(step), timers_(count), delays_(count), order_(count) {
    std::mt19937 random(1);  // the same for all
    // Timers that are to run are due soon; those that are to be cancelled never.
    const int first = step == Step::expire ? 0 : 60'000;
    const int last = step == Step::expire ? 5 : 3'600'000;
    for (Delay& delay : delays_)
      delay = Delay(std::uniform_int_distribution(first, last)(random));
    std::iota(order_.begin(), order_.end(), std::size_t{0});
    if (step == Step::cancelRandom) std::shuffle(order_.begin(), order_.end(), random);
  }

  /// Units: seconds of the step.
  double run() {
    const double adding = secondsOf([this] { addAll(); });
    if (step_ == Step::expire) {
      std::this_thread::sleep_for(Delay(7));
      expected_ += delays_.size();
      return secondsOf([this] { ran_ = timers_.runDue(); });
    }
    const double cancelling = secondsOf([this] { cancelAll(); });
    return step_ == Step::add ? adding : cancelling;
  }

  [[nodiscard]] bool allRan() const { return ran_ == expected_; }

 private:
  void addAll() {
    for (std::size_t i = 0; i < delays_.size(); ++i)
      timers_.add(i, delays_[i]);
  }
  void cancelAll() {
    for (const std::size_t i : order_)
      timers_.cancel(i);
    timers_.settle();
  }

  const Step step_;
  Timers timers_;
  std::vector<Delay> delays_;
  std::vector<std::size_t> order_;
  std::uint64_t ran_ = 0;
  std::uint64_t expected_ = 0;
};

template <class Timers>
void measure(benchmark::State& state, Step step) {
  Round<Timers> round(static_cast<std::size_t>(state.range(0)), step);
  round.run();
  for (auto _ : state)
    state.SetIterationTime(round.run());
  if (!round.allRan()) state.SkipWithError("not all timers ran, or some ran twice");
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

template <class Timers>
void add(const std::string& peer) {
  const std::pair<const char*, Step> steps[] = {{"add/", Step::add},
                                                {"cancel-in-order/", Step::cancelInOrder},
                                                {"cancel-random/", Step::cancelRandom},
                                                {"expire/", Step::expire}};
  for (const auto& [name, step] : steps) {
    for (const std::int64_t count : {1'000, 10'000, 100'000, 500'000, 1'000'000}) {
      auto* registered = benchmark::RegisterBenchmark(
          (name + peer).c_str(),
          [step = step](benchmark::State& state) { measure<Timers>(state, step); });
      registered->Arg(count)->UseManualTime()->Unit(benchmark::kMicrosecond);
      // A round of expiring waits before it is timed: not more of them than needed.
      if (step == Step::expire)
        registered->Iterations(std::clamp<std::int64_t>(1'000'000 / count, 3, 30));
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  add<bench::RungHeap>("rung-heap");
  add<bench::RungLoop>("rung");
  add<bench::StdSet>("std-set");
  add<bench::HeapAndMap>("heap-and-map");
#ifdef BENCH_ASIO
  add<bench::Asio>("asio");
#endif
#ifdef BENCH_LIBEVENT
  add<bench::Libevent>("libevent");
#endif
#ifdef BENCH_LIBUV
  add<bench::Libuv>("libuv");
#endif
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
