#pragma once

#include <sys/types.h>

#include <fstream>
#include <string>
#include <thread>

namespace rung::testing {

/// Returns once the kernel says that a thread of this process sleeps: in a wait, in poll(2), or for
/// a lock. A test that knows what the thread can sleep in knows where it is.
inline void waitUntilAsleep(pid_t tid) {
  const std::string path = "/proc/self/task/" + std::to_string(tid) + "/stat";
  for (;;) {
    std::string text;
    std::getline(std::ifstream(path), text);
    const auto state = text.rfind(") ");
    if (state == text.npos || text[state + 2] == 'S') return;
    std::this_thread::yield();
  }
}

}  // namespace rung::testing
