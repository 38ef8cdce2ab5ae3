#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "rung/base/AsyncLogging.h"

#include "tests/faults/Faults.h"
#include "tests/faults/Scenario.h"
#include "tests/support/Process.h"
#include "tests/support/TempDirectory.h"

namespace rung::testing {

namespace {

constexpr int kThreads = 2;
constexpr int kLines = 150;
constexpr Timestamp kTime(1'700'000'000'000'000);

/// '@' is in no line of the back-end's own, so that lines run into each other show.
std::string lineOf(int thread, int number) {
  return "@" + std::to_string(thread) + " " + std::to_string(number) + " " +
         std::string(static_cast<std::size_t>(number * 7 % 60), 'x') + ".";
}

/// The back-end tells of errors on stderr, as it should; here they are not news.
class QuietStderr {
 public:
  QuietStderr() : saved_(dup(STDERR_FILENO)) {
    const UniqueFd null(open("/dev/null", O_WRONLY | O_CLOEXEC));
    dup2(null.get(), STDERR_FILENO);
  }
  ~QuietStderr() { dup2(saved_.get(), STDERR_FILENO); }

 private:
  UniqueFd saved_;
};

/// The files of one second, in the order in which they were written: "…_9.log", "…_10.log".
std::vector<std::string> linesInOrder(const TempDirectory& directory) {
  std::vector<std::string> files = directory.files();
  std::sort(files.begin(), files.end(), [](const std::string& a, const std::string& b) {
    return a.size() != b.size() ? a.size() < b.size() : a < b;
  });
  std::vector<std::string> lines;
  for (const std::string& file : files) {
    for (std::string& line : linesOf(contentsOf(file)))
      lines.push_back(std::move(line));
  }
  return lines;
}

std::string judge(const std::vector<std::string>& lines, std::uint64_t lost,
                  const FaultCounts& counts) {
  std::set<std::string> expected;
  for (int thread = 0; thread < kThreads; ++thread) {
    for (int number = 0; number < kLines; ++number)
      expected.insert(lineOf(thread, number));
  }
  int next[kThreads] = {};
  std::uint64_t found = 0;
  for (const std::string& line : lines) {
    if (line.find('@') == line.npos) continue;  // the back-end's own
    if (line.rfind('@') != 0) return "lines run into each other: " + line;
    const auto match = expected.lower_bound(line);
    if (match == expected.end() || !match->starts_with(line)) return "a wrong line: " + line;
    if (*match != line) continue;  // cut by an error
    ++found;
    const int thread = line[1] - '0';
    const int number = std::stoi(line.substr(3));
    if (number < next[thread]) return "out of order, or twice: " + line;
    next[thread] = number + 1;
  }
  const std::uint64_t missing = expected.size() - found;
  // A line whose newline alone was lost counts as lost, and is there.
  if (missing > lost || lost - missing > counts.fatal) {
    return std::to_string(missing) + " lines missing, but lostLines() is " + std::to_string(lost);
  }
  return {};
}

std::string logging(std::uint64_t seed) {
  std::mt19937_64 random(seed);
  const std::size_t before = descriptorCount();
  std::string problem;
  {
    const TempDirectory directory;
    const QuietStderr quiet;
    AsyncLogging log({.file = {.baseName = directory / "log",
                               .rollBytes = random() % 2 == 0 ? 1500 : 1 << 20,
                               .clock = [] { return kTime; }},
                      .blockBytes = random() % 2 == 0 ? 200U : 4000U,
                      .maxBlocks = 2,
                      .flushInterval = std::chrono::milliseconds(1)});
    Faults::arm(FaultPlan::random(seed));
    log.start();
    std::vector<std::thread> threads;
    for (int thread = 0; thread < kThreads; ++thread) {
      threads.emplace_back([&log, thread] {
        for (int number = 0; number < kLines; ++number) {
          log.append(lineOf(thread, number) + '\n');
          if (number % 50 == 25) log.flush();
        }
      });
    }
    for (std::thread& thread : threads)
      thread.join();
    log.stop();
    const FaultCounts counts = Faults::disarm();
    if (log.droppedLines() > 0) problem = "lines were dropped, though it should wait";
    if (problem.empty()) problem = judge(linesInOrder(directory), log.lostLines(), counts);
    if (problem.empty() && counts.fatal == 0 && log.lostLines() > 0) {
      problem = "nothing failed, yet lines were lost";
    }
  }
  if (problem.empty() && descriptorCount() != before) problem = "descriptors leaked";
  return problem;
}

}  // namespace

std::span<const Scenario> loggingScenarios() {
  static constexpr Scenario kScenarios[] = {
      {"logging", "two threads log to files that roll, on a disk that fails", logging}};
  return kScenarios;
}

}  // namespace rung::testing
