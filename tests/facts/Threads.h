#pragma once

#include <sys/types.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <functional>
#include <sstream>
#include <string>
#include <thread>

#include "tests/facts/Kernel.h"

namespace facts {

/// A thread that can be watched falling asleep: the kernel's view of it, from /proc.
class Watched {
 public:
  template <class Work>
  explicit Watched(Work work)
      : thread_([this, work = std::move(work)]() mutable {
          tid_.store(gettid());
          work();
        }) {}
  ~Watched() { join(); }
  void join() {
    if (thread_.joinable()) thread_.join();
  }

  /// Waits until the thread sleeps in the kernel. Use it on threads whose work is one call that
  /// blocks: there is nothing else that they could sleep in.
  [[nodiscard]] bool fallsAsleep() const {
    // Many looks in a row: it may have slept for a moment in something else while it began.
    int looks = 0;
    return eventually([&] {
      looks = isAsleep() ? looks + 1 : 0;
      return looks == 50;
    });
  }

  [[nodiscard]] bool isAsleep() const { return tid_.load() != 0 && state() == 'S'; }

  /// How many times it has gone to sleep: each wake-up that led nowhere adds one.
  [[nodiscard]] long timesAsleep() const {
    std::ifstream status("/proc/self/task/" + std::to_string(tid_.load()) + "/status");
    for (std::string line; std::getline(status, line);) {
      const std::string key = "voluntary_ctxt_switches:";
      if (line.rfind(key, 0) == 0) return std::stol(line.substr(key.size()));
    }
    return -1;
  }

 private:
  /// 'R' runs, 'S' sleeps: proc_pid_stat(5).
  [[nodiscard]] char state() const {
    std::ifstream stat("/proc/self/task/" + std::to_string(tid_.load()) + "/stat");
    std::stringstream text;
    text << stat.rdbuf();
    const std::string all = text.str();
    const std::size_t parenthesis = all.rfind(')');
    return parenthesis == std::string::npos || parenthesis + 2 >= all.size() ? '?'
                                                                             : all[parenthesis + 2];
  }

  std::atomic<pid_t> tid_{0};
  std::thread thread_;
};

}  // namespace facts
