// Two ends of a process that stage 07 does not provide for, and stage 10 does: a crash, and
// fork(2).

#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "rung/base/AsyncLogging.h"
#include "rung/base/Logging.h"
#if __has_include("rung/base/LogCrashHandler.h")
#include "rung/base/LogCrashHandler.h"
#else
namespace rung {
void installLogCrashHandler() {}  // before stage 10 there is none
}  // namespace rung
#endif

namespace {

int linesWith(const std::string& directory, const std::string& text) {
  int count = 0;
  for (const auto& file : std::filesystem::directory_iterator(directory)) {
    std::ifstream in(file.path());
    for (std::string line; std::getline(in, line);)
      count += line.find(text) != line.npos;
  }
  return count;
}

/// Runs `body` in a process of its own, with a log in `directory`.
template <class Body>
void inProcess(const std::string& directory, Body body) {
  std::fflush(stdout);  // or it would be shown twice
  const pid_t child = fork();
  if (child == 0) {
    const rlimit none{0, 0};
    setrlimit(RLIMIT_CORE, &none);
    rung::AsyncLogging::Options options;
    options.file.baseName = directory + "/log";
    static rung::AsyncLogging log(options);
    log.start();
    log.attach();
    rung::installLogCrashHandler();
    body();
    std::exit(0);
  }
  waitpid(child, nullptr, 0);
}

}  // namespace

int main() {
  char directory[] = "/tmp/lost-lines-XXXXXX";
  if (mkdtemp(directory) == nullptr) return 2;
  inProcess(directory, [] {
    for (int i = 0; i < 1000; ++i)
      LOG_INFO << "crash " << i;
    (void)raise(SIGSEGV);
  });
  std::printf("of 1000 lines before a crash, the file has %d\n", linesWith(directory, "crash "));
  inProcess(directory, [] {
    if (fork() == 0) {
      LOG_INFO << "child";
      _exit(0);  // on stage 07 exit() would wait, in a destructor, for a thread that is not there
    }
    wait(nullptr);
  });
  std::printf("of 1 line of a forked child, the files have %d\n", linesWith(directory, "child"));
  std::filesystem::remove_all(directory);
}
