// What a line costs the thread that logs it, while others log as well: with the buffer of stage 07,
// which all threads share, and with those of stage 10. The same program, built against each.
//
//   10-contention [LINES]      so many lines a thread, 200,000 if nothing is said

#include <stdlib.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "rung/base/AsyncLogging.h"
#include "rung/base/CountDownLatch.h"
#include "rung/base/Logging.h"

namespace {

/// Nanoseconds that one call takes, on the average.
double costOfLine(int threads, int lines) {
  char directory[] = "/tmp/contention-XXXXXX";
  if (mkdtemp(directory) == nullptr) std::exit(2);
  std::chrono::duration<double, std::nano> spent{};
  {
    rung::AsyncLogging::Options options;
    options.file.baseName = std::string(directory) + "/log";
    rung::AsyncLogging log(options);
    log.start();
    log.attach();
    rung::CountDownLatch begin(1);
    std::vector<std::thread> running;
    for (int t = 0; t < threads; ++t) {
      running.emplace_back([&, t] {
        begin.wait();
        for (int i = 0; i < lines; ++i)
          LOG_INFO << "thread " << t << " step " << i << " of " << lines;
      });
    }
    const auto started = std::chrono::steady_clock::now();
    begin.countDown();
    for (std::thread& thread : running)
      thread.join();
    spent = std::chrono::steady_clock::now() - started;
  }
  std::filesystem::remove_all(directory);
  return spent.count() / lines;
}

}  // namespace

int main(int argc, char** argv) {
  const int lines = argc == 2 ? std::atoi(argv[1]) : 200'000;
  for (const int threads : {1, 2}) {
    std::printf("%d at once: %4.0f ns a line\n", threads, costOfLine(threads, lines));
    std::fflush(stdout);
  }
}
