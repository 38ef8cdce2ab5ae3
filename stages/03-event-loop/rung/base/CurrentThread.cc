#include "rung/base/CurrentThread.h"

#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace rung::CurrentThread {

namespace detail {

constinit thread_local pid_t cachedTid = 0;

void cacheTid() {
  cachedTid = gettid();
  // The thread that survives in a forked child has a new id. Registered by whoever comes first.
  static const int registered = pthread_atfork(nullptr, nullptr, [] { cachedTid = 0; });
  (void)registered;  // without memory for it, only a child of fork() shows its parent's id
}

}  // namespace detail

namespace {

constexpr std::size_t kKernelNameSize = 16;  // pthread_setname_np(3), with the final zero

constinit thread_local char threadName[32] = "";

}  // namespace

const char* name() {
  if (threadName[0] != '\0') return threadName;
  return tid() == getpid() ? "main" : "unknown";
}

void setName(std::string_view name) {
  const std::size_t length = std::min(name.size(), sizeof threadName - 1);
  std::memcpy(threadName, name.data(), length);
  threadName[length] = '\0';
  char shortName[kKernelNameSize] = "";
  std::memcpy(shortName, threadName, std::min(length, sizeof shortName - 1));
  // It fails only for a name that is too long, which this one is not.
  (void)pthread_setname_np(pthread_self(), shortName);
}

}  // namespace rung::CurrentThread
