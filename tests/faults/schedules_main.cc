// Runs scenarios under seeded schedules of failing system calls. See --help.

#include <unistd.h>

#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "rung/base/Logging.h"

#include "tests/faults/Faults.h"
#include "tests/faults/Scenario.h"

using namespace rung::testing;

namespace {

constexpr const char* kUsage =
    "usage: fault-schedules [--scenario NAME] [--seeds N | --seed N] [--first N] [--time-limit S]\n"
    "\n"
    "Runs the library while its system calls fail or fall short as a seed decides.\n"
    "\n"
    "  --scenario NAME   only this one; --list shows them\n"
    "  --seeds N         so many schedules of each scenario (100)\n"
    "  --first N         the first seed (1)\n"
    "  --seed N          this schedule alone\n"
    "  --time-limit S    begin no schedule of a scenario after S seconds (none)\n"
    "\n"
    "Prints TAP, and for a schedule that fails the command that runs it again.\n";

constexpr int kMostFailures = 3;  // of one scenario
constexpr unsigned kSecondsForOne = 60;

struct Options {
  std::string scenario;
  std::uint64_t first = 1;
  std::uint64_t seeds = 100;
  std::uint64_t timeLimit = 0;
};

std::vector<Scenario> allScenarios() {
  std::vector<Scenario> all;
  for (const auto some :
       {networkScenarios(), clientScenarios(), loopScenarios(), loggingScenarios()})
    all.insert(all.end(), some.begin(), some.end());
  return all;
}

[[noreturn]] void refuse(const std::string& what) {
  std::fprintf(stderr, "fault-schedules: %s\n\n%s", what.c_str(), kUsage);
  std::exit(2);
}

std::uint64_t numberOf(std::string_view option, std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) {
    refuse(std::string(option) + " needs a number, not '" + std::string(text) + "'");
  }
  return number;
}

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view option = argv[i];
    if (option == "--help" || option == "-h") {
      std::fputs(kUsage, stdout);
      std::exit(0);
    }
    if (option == "--list") {
      for (const Scenario& scenario : allScenarios())
        std::printf("%-12s %s\n", scenario.name, scenario.what);
      std::exit(0);
    }
    if (i + 1 >= argc) refuse("unknown option, or one without a value: " + std::string(option));
    const std::string_view value = argv[++i];
    if (option == "--scenario") {
      options.scenario = value;
    } else if (option == "--seeds") {
      options.seeds = numberOf(option, value);
    } else if (option == "--first") {
      options.first = numberOf(option, value);
    } else if (option == "--seed") {
      options.first = numberOf(option, value);
      options.seeds = 1;
    } else if (option == "--time-limit") {
      options.timeLimit = numberOf(option, value);
    } else {
      refuse("unknown option: " + std::string(option));
    }
  }
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

/// Returns whether all of its schedules went well.
bool run(const Scenario& scenario, const Options& options, const char* program, int number) {
  const auto start = std::chrono::steady_clock::now();
  const std::chrono::seconds limit(options.timeLimit);
  int failures = 0;
  std::uint64_t done = 0;
  for (; done < options.seeds && failures < kMostFailures; ++done) {
    if (options.timeLimit > 0 && std::chrono::steady_clock::now() - start > limit) break;
    const std::uint64_t seed = options.first + done;
    std::snprintf(replay, sizeof replay, "%s --scenario %s --seed %llu\n", program, scenario.name,
                  static_cast<unsigned long long>(seed));
    alarm(kSecondsForOne * static_cast<unsigned>(slowness()));
    const std::string problem = scenario.run(seed);
    alarm(0);
    if (problem.empty()) continue;
    ++failures;
    std::fprintf(stderr, "%s, seed %llu: %s\n  again with: %s", scenario.name,
                 static_cast<unsigned long long>(seed), problem.c_str(), replay);
  }
  std::printf("%s %d - faults: %s\n# %llu schedules, %lld ms\n", failures == 0 ? "ok" : "not ok",
              number, scenario.what, static_cast<unsigned long long>(done),
              static_cast<long long>(std::chrono::duration_cast<std::chrono::milliseconds>(
                                         std::chrono::steady_clock::now() - start)
                                         .count()));
  std::fflush(stdout);
  return failures == 0;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = parse(argc, argv);
  // What the library says of errors that were injected is not news.
  rung::Logger::setOutput([](std::string_view line) {
    if (line.find("FATAL") != line.npos) rung::Logger::writeToStdout(line);
  });
  for (const int signal : {SIGALRM, SIGABRT, SIGSEGV})
    std::signal(signal, onDeath);
  int number = 0;
  bool good = true;
  for (const Scenario& scenario : allScenarios()) {
    if (!options.scenario.empty() && options.scenario != scenario.name) continue;
    good = run(scenario, options, argv[0], ++number) && good;
  }
  if (number == 0) refuse("no such scenario: " + options.scenario);
  std::printf("1..%d\n# injected: %s\n", number, Faults::report().c_str());
  return good ? 0 : 1;
}
