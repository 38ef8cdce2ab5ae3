// Built with ThreadSanitizer and run by thread_facts_test.cc: programs of two threads, some of them
// wrong. The name of one is the argument. TSan ends a wrong one with exit status 66.

#include <atomic>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <thread>

namespace {

template <class Work>
void twice(Work work) {
  std::thread other(work);
  work();
  other.join();
}

int plain = 0;
std::atomic<int> counter{0};
std::mutex mutex;

int message = 0;
std::atomic<bool> ready{false};

/// Hands `message` over: the flag is set with one order and awaited with another.
void handOver(std::memory_order store, std::memory_order load) {
  std::thread sender([store] {
    message = 42;
    ready.store(true, store);
  });
  while (!ready.load(load))
    std::this_thread::yield();
  std::printf("%d\n", message);
  sender.join();
}

}  // namespace

int main(int argc, char** argv) {
  const char* const what = argc > 1 ? argv[1] : "";
  if (std::strcmp(what, "plain-int") == 0) {
    twice([] { ++plain; });
  } else if (std::strcmp(what, "atomic-int") == 0) {
    twice([] { ++counter; });
  } else if (std::strcmp(what, "mutex") == 0) {
    twice([] {
      const std::lock_guard lock(mutex);
      ++plain;
    });
  } else if (std::strcmp(what, "relaxed-flag") == 0) {
    handOver(std::memory_order_relaxed, std::memory_order_relaxed);
  } else if (std::strcmp(what, "release-acquire-flag") == 0) {
    handOver(std::memory_order_release, std::memory_order_acquire);
  } else {
    std::fprintf(stderr, "no such program: '%s'\n", what);
    return 2;
  }
}
