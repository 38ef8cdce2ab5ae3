// What a line of logging costs on stage 07.
//
//   07-line-cost               counts the write(2) calls for 100,000 lines, each way
//   07-line-cost HOW LINES     logs so many lines, for callgrind and time: HOW is sync or async

#include <stdlib.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>

#include "rung/base/AsyncLogging.h"
#include "rung/base/Logging.h"

namespace {

void logLines(std::string_view how, int lines) {
  char directory[] = "/tmp/line-cost-XXXXXX";
  if (mkdtemp(directory) == nullptr) std::exit(2);
  {
    std::optional<rung::AsyncLogging> log;
    if (how == "async") {
      rung::AsyncLogging::Options options;
      options.file.baseName = std::string(directory) + "/log";
      log.emplace(options);
      log->start();
      log->attach();
    }
    for (int i = 0; i < lines; ++i)
      LOG_INFO << "step " << i << " of " << lines;
  }
  std::filesystem::remove_all(directory);
}

/// As the kernel counts them for this process. Reading the counter writes nothing.
long writesSoFar() {
  std::ifstream io("/proc/self/io");
  for (std::string name; io >> name;) {
    long value = 0;
    io >> value;
    if (name == "syscw:") return value;
  }
  return -1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 3) {
    logLines(argv[1], std::atoi(argv[2]));
    return 0;
  }
  if (std::freopen("/dev/null", "w", stdout) == nullptr) return 2;
  for (const char* how : {"sync", "async"}) {
    const long before = writesSoFar();
    logLines(how, 100'000);
    std::fprintf(stderr, "%-5s %ld\n", how, writesSoFar() - before);
  }
}
