// A model of a server and its users: threads and callbacks that send, shut down, cut and hold back,
// in an order that a seed decides, against peers that read slowly, half-close, reset and leave.
// One law holds for all of them: every byte of a send() that returned true arrives, unless
// something cut the connection or it ended with an error, and then its owner is told so.

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

#include "tests/stress/ModelRound.h"
#include "tests/stress/ModelScript.h"

using namespace rung::testing;

namespace {

constexpr const char* kUsage =
    "usage: model-test [--seconds S] [--rounds N] [--seed N | --first N] [--breaches N]\n"
    "\n"
    "Each round has a seed, which decides what every thread and every peer does. When they do it "
    "is\n"
    "the machine's choice: a seed that has failed may need some rounds to fail again.\n"
    "\n"
    "  --seconds S    begins no round after S seconds (5, if --rounds is not given)\n"
    "  --rounds N     at most N rounds\n"
    "  --seed N       all rounds have this seed\n"
    "  --first N      the seed of the first round (1); the next round has the next\n"
    "  --breaches N   ends after N connections that broke a law (3)\n"
    "\n"
    "Prints TAP, and for each breach its seed, its connection, and what each thread of it did.\n";

/// With fewer rounds something rare need not have happened.
constexpr std::uint64_t kEnoughRounds = 300;

struct Options {
  std::uint64_t seconds = 0;
  std::uint64_t rounds = 0;
  std::uint64_t seed = 0;
  std::uint64_t first = 1;
  std::uint64_t breaches = 3;

  std::uint64_t* named(std::string_view option) {
    if (option == "--seconds") return &seconds;
    if (option == "--rounds") return &rounds;
    if (option == "--seed") return &seed;
    if (option == "--first") return &first;
    return option == "--breaches" ? &breaches : nullptr;
  }
};

[[noreturn]] void refuse(const std::string& what) {
  std::fprintf(stderr, "model-test: %s\n\n%s", what.c_str(), kUsage);
  std::exit(2);
}

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view option = argv[i];
    if (option == "--help" || option == "-h") {
      std::fputs(kUsage, stdout);
      std::exit(0);
    }
    std::uint64_t* const number = options.named(option);
    if (number == nullptr) refuse("unknown option: " + std::string(option));
    const std::string_view text = ++i < argc ? argv[i] : "";
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *number);
    if (error != std::errc() || end != text.data() + text.size() || *number == 0) {
      refuse(std::string(option) + " needs a number from 1 on, not '" + std::string(text) + "'");
    }
  }
  if (options.rounds == 0 && options.seconds == 0) options.seconds = 5;
  return options;
}

// What a process that hangs, or is ended by the library, leaves behind: the command for it.
char replay[4096];

void onDeath(int signal) {
  static constexpr char kTold[] = "not ok - stuck, or ended by a signal; again with: ";
  (void)!::write(STDOUT_FILENO, kTold, sizeof kTold - 1);
  (void)!::write(STDOUT_FILENO, replay, std::strlen(replay));
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

class Model {
 public:
  explicit Model(const Options& options, const char* program)
      : options_(options), program_(program) {}

  void run() {
    while (breaches_ < options_.breaches && !timeIsUp()) {
      runOnce(planOf(options_.seed > 0 ? options_.seed : options_.first + rounds_));
      ++rounds_;
    }
  }

  /// Whether all is well.
  [[nodiscard]] bool report() const {
    std::printf("%s 1 - model: every byte that send() accepted arrives, or the owner is told\n",
                breaches_ == 0 ? "ok" : "not ok");
    const bool active = std::all_of(figures_.begin(), figures_.end(), [](auto n) { return n > 0; });
    const bool few = rounds_ < kEnoughRounds || options_.seed > 0;
    std::printf("%s 2 - model: all that is in its scripts has happened%s\n1..2\n",
                active || few ? "ok" : "not ok", !active && few ? " # SKIP too few rounds" : "");
    std::printf("# %llu rounds, %.1f s; the slowest: seed %llu, %.1f s\n",
                static_cast<unsigned long long>(rounds_), seconds(),
                static_cast<unsigned long long>(slowestSeed_), slowest_);
    for (std::size_t i = 0; i < figures_.size(); ++i) {
      std::printf("# %12llu %s\n", static_cast<unsigned long long>(figures_[i]), kFigureNames[i]);
    }
    return breaches_ == 0 && (active || few);
  }

 private:
  void runOnce(const RoundPlan& plan) {
    std::snprintf(replay, sizeof replay, "%s --seed %llu --seconds 60\n", program_,
                  static_cast<unsigned long long>(plan.seed));
    alarm(static_cast<unsigned>(120 * slowness()));
    const double before = seconds();
    Round round(plan);
    round.run();
    alarm(0);
    if (seconds() - before > slowest_) {
      slowest_ = seconds() - before;
      slowestSeed_ = plan.seed;
    }
    round.count(figures_);
    for (std::size_t i = 0; i < plan.connections.size(); ++i) {
      const std::string problem = round.judge(i);
      if (problem.empty()) continue;
      ++breaches_;
      std::fprintf(stderr, "seed %llu, connection %zu, after %.2f s: %s\n%s%s  again with: %s",
                   static_cast<unsigned long long>(plan.seed), i, seconds(), problem.c_str(),
                   describe(plan).c_str(), describe(plan.connections[i]).c_str(), replay);
    }
  }

  [[nodiscard]] bool timeIsUp() const {
    return (options_.rounds > 0 && rounds_ >= options_.rounds) ||
           (options_.seconds > 0 && seconds() >= static_cast<double>(options_.seconds));
  }
  [[nodiscard]] double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

  const Options options_;
  const char* const program_;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  std::uint64_t rounds_ = 0;
  std::uint64_t breaches_ = 0;
  double slowest_ = 0;  // seconds
  std::uint64_t slowestSeed_ = 0;
  Figures figures_{};
};

}  // namespace

int main(int argc, char** argv) {
  const Options options = parse(argc, argv);
  for (const int signal : {SIGALRM, SIGABRT, SIGSEGV})
    std::signal(signal, onDeath);
  Model model(options, argv[0]);
  model.run();
  return model.report() ? 0 : 1;
}
