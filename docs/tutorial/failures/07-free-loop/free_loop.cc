// On stage 07: the server of 07-stalled-loop again. Its lines go to AsyncLogging, whose file takes
// nothing at all while the client asks, and the loop does not notice.

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <future>
#include <string>
#include <thread>

#include "rung/base/AsyncLogging.h"

#include "../07-stalled-loop/ping_server.h"

using namespace std::chrono_literals;

namespace {

constexpr int kQuestions = 10'000;

bool allAnswered(const rung::InetAddress& server) {
  PingClient client(server);
  for (int i = 0; i < kQuestions; ++i)
    if (!client.ask() || !client.hasAnswer(500ms)) return false;
  return true;
}

int linesIn(const std::filesystem::path& directory) {
  int lines = 0;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    std::ifstream file(entry.path());
    for (std::string line; std::getline(file, line);)
      ++lines;
  }
  return lines;
}

}  // namespace

int main() {
  char directory[] = "/tmp/free-loop-XXXXXX";
  if (mkdtemp(directory) == nullptr) {
    std::perror("mkdtemp");
    return 2;
  }
  // The file asks for the time before it writes, so a clock that waits is a disk that hangs.
  std::promise<void> diskWorksAgain;
  rung::AsyncLogging::Options options;
  options.file.baseName = std::string(directory) + "/log";
  options.file.clock = [works = diskWorksAgain.get_future().share(), first = true]() mutable {
    if (!first) works.wait();
    first = false;
    return rung::Timestamp::now();
  };
  options.flushInterval = 10ms;
  bool answered = false;
  {
    rung::AsyncLogging log(options);
    log.start();
    log.attach();
    rung::EventLoop loop;
    PingServer server(&loop);
    std::thread client([&] {
      answered = allAnswered(server.address());
      loop.quit();
    });
    loop.loop();
    client.join();
    if (answered) std::printf("%d questions were answered\n", kQuestions);
    std::printf("lines in the file: %d\n", linesIn(directory));
    diskWorksAgain.set_value();
  }
  std::printf("after stop: %d\n", linesIn(directory));
  std::filesystem::remove_all(directory);
  return answered ? 0 : 1;
}
