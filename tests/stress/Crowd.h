#pragma once

#include <algorithm>
#include <thread>
#include <vector>

#include "rung/base/CountDownLatch.h"

#include "tests/support/Slow.h"

namespace rung::testing {

inline int rounds(int usual) {
  return std::max(3, static_cast<int>(usual / slowness()));
}

/// Threads that begin together.
class Crowd {
 public:
  explicit Crowd(int size) : waiting_(size) {}
  ~Crowd() { join(); }

  template <class Work>
  void add(Work work) {
    threads_.emplace_back([this, work] {
      waiting_.countDown();
      waiting_.wait();
      work();
    });
  }
  void join() {
    for (std::thread& thread : threads_)
      thread.join();
    threads_.clear();
  }

 private:
  CountDownLatch waiting_;
  std::vector<std::thread> threads_;
};

}  // namespace rung::testing
