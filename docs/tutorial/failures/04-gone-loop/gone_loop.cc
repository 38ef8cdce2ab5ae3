// On stage 03, under the address sanitizer: a loop on a thread of its own, and an owner that ends
// it through a pointer. The loop has ended by itself in between, and the pointer dangles.

#include <cstdio>
#include <future>
#include <memory>
#include <thread>

#include "rung/net/EventLoop.h"

namespace {

class NaiveLoopThread {
 public:
  NaiveLoopThread() : loop_(created_.get_future().get()) {}
  ~NaiveLoopThread() {
    loop_->quit();
    thread_.join();
  }
  [[nodiscard]] rung::EventLoop* loop() const { return loop_; }
  [[nodiscard]] std::future<void> ended() { return ended_.get_future(); }

 private:
  std::promise<rung::EventLoop*> created_;
  std::promise<void> ended_;
  std::thread thread_{[this] {
    {
      auto loop = std::make_unique<rung::EventLoop>();
      created_.set_value(loop.get());
      loop->loop();
    }
    ended_.set_value();
  }};
  rung::EventLoop* const loop_;
};

}  // namespace

int main() {
  NaiveLoopThread thread;
  std::future<void> ended = thread.ended();
  rung::EventLoop* loop = thread.loop();
  loop->queueInLoop([loop] { loop->quit(); });
  ended.wait();
  std::puts("the loop has ended by itself");
  std::fflush(stdout);
}
