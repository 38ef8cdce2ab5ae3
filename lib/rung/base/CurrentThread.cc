#include "rung/base/CurrentThread.h"

#include <pthread.h>
#include <unistd.h>

#include <cstddef>

namespace rung::CurrentThread {

namespace detail {

constinit thread_local pid_t cachedTid = 0;

void cacheTid() {
  cachedTid = gettid();
}

// The thread that survives in a forked child has a new id. Registered before main() and not by the
// first call: a child that is forked amid that would wait for its end for ever. If it failed, a
// child shows its parent's id.
[[maybe_unused]] const int atFork = pthread_atfork(nullptr, nullptr, [] { cachedTid = 0; });

}  // namespace detail

namespace {

constexpr std::size_t kKernelNameSize = 16;  // pthread_setname_np(3), with the final zero

constinit thread_local char threadName[32] = "";

/// Copies `name` with a final zero. One that is too long loses bytes from its middle: the number at
/// its end is all that tells the threads of a pool apart.
void copyShortened(std::string_view name, char* to, std::size_t size) {
  const std::size_t room = size - 1;
  std::string_view number;
  if (name.size() > room) {
    const std::size_t digits = name.find_last_not_of("0123456789") + 1;
    const bool dash = digits > 0 && name[digits - 1] == '-';
    number = name.substr(dash ? digits - 1 : digits);
    if (number.size() > room) number.remove_prefix(number.size() - room);
    name = name.substr(0, room - number.size());
  }
  name.copy(to, name.size());
  to[name.size() + number.copy(to + name.size(), number.size())] = '\0';
}

}  // namespace

const char* name() {
  if (threadName[0] != '\0') return threadName;
  return tid() == getpid() ? "main" : "unknown";
}

void setName(std::string_view name) {
  copyShortened(name, threadName, sizeof threadName);
  char shortName[kKernelNameSize] = "";
  copyShortened(name, shortName, sizeof shortName);
  // It fails only for a name that is too long, which this one is not.
  (void)pthread_setname_np(pthread_self(), shortName);
}

}  // namespace rung::CurrentThread
