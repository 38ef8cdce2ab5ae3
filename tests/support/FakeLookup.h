#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "rung/base/Mutex.h"
#include "rung/net/InetAddress.h"
#include "rung/net/Resolver.h"

namespace rung::testing {

/// What a test gives a Resolver in place of getaddrinfo(3): it hangs until release(), and at the
/// latest until this object goes. Then it finds the given addresses.
class FakeLookup {
 public:
  explicit FakeLookup(std::vector<InetAddress> found = {InetAddress::loopback(1)})
      : shared_(std::make_shared<Shared>(std::move(found))) {}
  FakeLookup(const FakeLookup&) = delete;
  FakeLookup& operator=(const FakeLookup&) = delete;
  ~FakeLookup() { release(); }

  [[nodiscard]] Resolver::Lookup lookup() const {
    return [shared = shared_](const std::string&, std::uint16_t) { return shared->answer(); };
  }
  [[nodiscard]] std::shared_ptr<Resolver> resolver(int threads = 4) const {
    return std::make_shared<Resolver>(Resolver::Options{.threads = threads, .lookup = lookup()});
  }

  void release() {
    const MutexLock lock(shared_->mutex);
    shared_->released = true;
    shared_->changed.notifyAll();
  }
  void waitUntilCalled(int times) {
    const MutexLock lock(shared_->mutex);
    while (shared_->calls < times)
      shared_->changed.wait(shared_->mutex);
  }
  [[nodiscard]] int calls() const {
    const MutexLock lock(shared_->mutex);
    return shared_->calls;
  }
  [[nodiscard]] int returned() const {
    const MutexLock lock(shared_->mutex);
    return shared_->returned;
  }

 private:
  /// Lives as long as a thread is in it.
  struct Shared {
    explicit Shared(std::vector<InetAddress> f) : found(std::move(f)) {}

    Resolver::Answer answer() {
      const MutexLock lock(mutex);
      ++calls;
      changed.notifyAll();
      while (!released)
        changed.wait(mutex);
      ++returned;
      return {.addresses = found};
    }

    const std::vector<InetAddress> found;
    Mutex mutex;
    Condition changed;
    bool released RUNG_GUARDED_BY(mutex) = false;
    int calls RUNG_GUARDED_BY(mutex) = 0;
    int returned RUNG_GUARDED_BY(mutex) = 0;
  };

  const std::shared_ptr<Shared> shared_;
};

}  // namespace rung::testing
