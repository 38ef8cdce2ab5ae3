// Not a failure but a count, on stage 03: how often is an eventfd written to when another thread
// hands a loop 200,000 tasks? Once with a bell for each task, as one writes it first, and once with
// the Mailbox, which rings only while the loop sleeps.

#include <sys/eventfd.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "rung/base/Task.h"
#include "rung/base/UniqueFd.h"
#include "rung/net/Channel.h"
#include "rung/net/EventLoop.h"

namespace {

constexpr int kTasks = 200'000;

/// Tasks for a loop, with a bell for each.
class BellForEach {
 public:
  explicit BellForEach(rung::EventLoop* loop) : channel_(loop, bell_.get()) {
    channel_.setReadCallback([this](rung::Timestamp) { runTasks(); });
    channel_.enableReading();
  }
  ~BellForEach() { channel_.remove(); }

  void post(rung::Task task) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      tasks_.push_back(std::move(task));
    }
    const std::uint64_t one = 1;
    if (write(bell_.get(), &one, sizeof one) != sizeof one) std::perror("write");
    ++rings_;
  }
  [[nodiscard]] std::uint64_t rings() const { return rings_; }

 private:
  void runTasks() {
    std::uint64_t count = 0;
    if (read(bell_.get(), &count, sizeof count) != sizeof count) std::perror("read");
    std::vector<rung::Task> batch;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      batch.swap(tasks_);
    }
    for (rung::Task& task : batch)
      task();
  }

  const rung::UniqueFd bell_{eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
  rung::Channel channel_;
  std::mutex mutex_;
  std::vector<rung::Task> tasks_;  // guarded by mutex_
  std::uint64_t rings_ = 0;        // the posting thread's
};

/// Posts to a loop that runs on this thread; returns ns a task, until the last one has run.
template <class Post>
double nsATask(rung::EventLoop& loop, Post post) {
  int ran = 0;
  const auto begin = std::chrono::steady_clock::now();
  std::thread other([&] {
    for (int i = 0; i < kTasks; ++i) {
      post([&] {
        if (++ran == kTasks) loop.quit();
      });
    }
  });
  loop.loop();
  const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - begin;
  other.join();
  return took.count() / kTasks;
}

}  // namespace

int main() {
  rung::EventLoop loop;
  {
    BellForEach naive(&loop);
    const double ns = nsATask(loop, [&](rung::Task task) { naive.post(std::move(task)); });
    std::printf("a bell for each task: %6llu rings, %4.0f ns a task\n",
                static_cast<unsigned long long>(naive.rings()), ns);
  }
  const std::uint64_t before = loop.wakeups();
  const double ns = nsATask(loop, [&](rung::Task task) { loop.queueInLoop(std::move(task)); });
  std::printf("Mailbox:              %6llu rings, %4.0f ns a task\n",
              static_cast<unsigned long long>(loop.wakeups() - before), ns);
}
