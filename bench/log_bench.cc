// Logging to a file from several threads: lines a second until all are written, what a call costs
// the thread that logs, and how many lines the files are short of.

#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "bench/arguments.h"
#include "bench/histogram.h"
#include "bench/log_sinks.h"

namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* kUsage =
    "usage: log-bench [OPTION VALUE]... | --list\n"
    "Prints one line of JSON. Exit status 1 if anything went wrong; lost lines are counted.\n"
    "  --logger NAME   rung, ostringstream or spdlog (rung)\n"
    "  --producers N   threads that log (1)\n"
    "  --lines N       lines each (1000000)\n"
    "  --rate N        lines a second each, in a burst every millisecond; 0: as fast as it goes "
    "(0)\n"
    "  --dir PATH      where to make a folder for the log, which is removed (the temporary "
    "folder)\n";

#ifdef BENCH_SPDLOG
constexpr const char* kLoggers = " rung ostringstream spdlog ";
#else
constexpr const char* kLoggers = " rung ostringstream ";
#endif

struct Options {
  std::string logger;
  int producers = 1;
  int lines = 0;
  int rate = 0;
  std::string folder;
};

struct Result {
  double seconds = 0;        // until all lines are written
  double callSeconds = 0;    // that producers spent logging, all together; saturated only
  bench::Histogram latency;  // of the calls that were timed
};

/// What one thread does. Reading the clock costs as much as a good logger: when the logger is
/// saturated, one call in 16 is timed.
template <class Sink>
void produce(Sink& sink, const Options& options, int producer, bench::Histogram& latency) {
  const int burst = std::max(1, options.rate / 1000);
  Clock::time_point next = Clock::now();
  for (int i = 0; i < options.lines; ++i) {
    const int number = i * options.producers + producer;
    const double took = number % 1000 / 8.0;
    if (options.rate != 0 && i % burst == 0) {
      std::this_thread::sleep_until(next);
      next += std::chrono::microseconds(1'000'000LL * burst / options.rate);
    }
    if (options.rate == 0 && i % 16 != 0) {
      sink.line(number, took);
    } else {
      const Clock::time_point start = Clock::now();
      sink.line(number, took);
      latency.add(static_cast<std::uint64_t>((Clock::now() - start).count()));
    }
  }
}

template <class Sink>
Result run(const Options& options) {
  Sink sink(options.folder);
  std::vector<bench::Histogram> latencies(static_cast<std::size_t>(options.producers));
  std::vector<double> callSeconds(latencies.size());
  std::atomic<bool> go{false};
  std::vector<std::thread> threads;
  for (int p = 0; p < options.producers; ++p) {
    threads.emplace_back([&, p] {
      const auto own = static_cast<std::size_t>(p);
      go.wait(false);
      const Clock::time_point start = Clock::now();
      produce(sink, options, p, latencies[own]);
      callSeconds[own] = std::chrono::duration<double>(Clock::now() - start).count();
    });
  }
  const Clock::time_point start = Clock::now();
  go = true;
  go.notify_all();
  for (std::thread& thread : threads)
    thread.join();
  sink.drain();
  Result result;
  result.seconds = std::chrono::duration<double>(Clock::now() - start).count();
  for (std::size_t p = 0; p < latencies.size(); ++p) {
    result.latency.merge(latencies[p]);
    result.callSeconds += callSeconds[p];
  }
  return result;
}

/// How many of the lines the files do not have, each whole and once.
std::int64_t missingLines(const Options& options) {
  std::vector<bool> seen(static_cast<std::size_t>(options.producers) *
                         static_cast<std::size_t>(options.lines));
  auto missing = static_cast<std::int64_t>(seen.size());
  for (const auto& entry : std::filesystem::directory_iterator(options.folder)) {
    std::ifstream file(entry.path());
    for (std::string line; std::getline(file, line);) {
      constexpr std::string_view kText = " request ";
      const std::size_t text = line.find(kText);
      if (text == std::string::npos || line.find(" took ", text) == std::string::npos) continue;
      std::size_t number = seen.size();
      const char* digits = line.data() + text + kText.size();
      std::from_chars(digits, line.data() + line.size(), number);
      if (number >= seen.size() || seen[number])
        throw std::runtime_error("the log has a line that nobody wrote: " + line);
      seen[number] = true;
      --missing;
    }
  }
  return missing;
}

/// A folder that is removed with all that is in it.
class TemporaryFolder {
 public:
  explicit TemporaryFolder(const std::string& parent) : path_(parent + "/log-bench-XXXXXX") {
    if (mkdtemp(path_.data()) == nullptr)
      throw std::system_error(errno, std::generic_category(), "mkdtemp " + path_);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    std::error_code ignored;  // there is nothing more to be done about it
    std::filesystem::remove_all(path_, ignored);
  }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

double cpuSeconds() {
  rusage usage{};
  (void)getrusage(RUSAGE_SELF, &usage);  // fails only for bad arguments
  return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

void report(const Options& options, const Result& result, double cpu, std::int64_t missing) {
  const double lines = static_cast<double>(options.lines) * options.producers;
  std::printf("{\"logger\": \"%s\", \"producers\": %d, \"lines\": %.0f, \"rate\": %d, ",
              options.logger.c_str(), options.producers, lines, options.rate);
  std::printf("\"seconds\": %.6f, \"lines_per_second\": %.0f, \"cpu_ns_per_line\": %.1f, ",
              result.seconds, lines / result.seconds, cpu * 1e9 / lines);
  if (options.rate == 0) std::printf("\"call_ns\": %.1f, ", result.callSeconds * 1e9 / lines);
  std::printf("\"p50_ns\": %.0f, \"p90_ns\": %.0f, \"p99_ns\": %.0f, \"p999_ns\": %.0f, ",
              result.latency.quantile(0.5), result.latency.quantile(0.9),
              result.latency.quantile(0.99), result.latency.quantile(0.999));
  std::printf("\"max_ns\": %llu, \"lost\": %lld}\n",
              static_cast<unsigned long long>(result.latency.max()),
              static_cast<long long>(missing));
}

Result runNamed(const Options& options) {
#ifdef BENCH_SPDLOG
  if (options.logger == "spdlog") return run<bench::SpdlogSink>(options);
#endif
  if (options.logger == "ostringstream") return run<bench::OstringstreamSink>(options);
  return run<bench::RungSink>(options);
}

}  // namespace

int main(int argc, char** argv) {
  bench::Arguments arguments(argc, argv, "--list", kUsage);
  if (arguments.flag("--list")) {
    std::printf("%s\n", kLoggers);
    return 0;
  }
  Options options;
  options.logger = arguments.text("--logger", "rung");
  options.producers = static_cast<int>(arguments.number("--producers", 1, 1, 64));
  options.lines = static_cast<int>(arguments.number("--lines", 1'000'000, 1, 20'000'000));
  options.rate = static_cast<int>(arguments.number("--rate", 0, 1, 10'000'000));
  const std::string parent =
      arguments.text("--dir", std::filesystem::temp_directory_path().string());
  arguments.refuseOthers();
  if (std::string(kLoggers).find(" " + options.logger + " ") == std::string::npos)
    arguments.refuse("--logger: there is no '" + options.logger + "'");
  try {
    const TemporaryFolder folder(parent);
    options.folder = folder.path();
    const double before = cpuSeconds();
    const Result result = runNamed(options);
    const double cpu = cpuSeconds() - before;
    report(options, result, cpu, missingLines(options));
    return 0;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "log-bench: %s\n", e.what());
    return 1;
  }
}
