#include "rung/base/Thread.h"

#include "rung/base/CountDownLatch.h"
#include "rung/base/CurrentThread.h"
#include "rung/base/Logging.h"

namespace rung {

std::atomic<int> Thread::numCreated_{0};

Thread::Thread(Function function, std::string name)
    : function_(std::move(function)), name_(std::move(name)) {
  const int number = numCreated_.fetch_add(1) + 1;
  if (name_.empty()) name_ = "thread-" + std::to_string(number);
}

Thread::~Thread() {
  if (!thread_.joinable()) return;
  if (thread_.get_id() == std::this_thread::get_id()) {
    thread_.detach();
  } else {
    thread_.join();
  }
}

void Thread::start() {
  if (started_) LOG_FATAL << "Thread " << name_ << " started twice";
  CountDownLatch running(1);
  thread_ = std::thread([this, &running, function = function_] {
    CurrentThread::setName(name_);
    tid_.store(CurrentThread::tid());
    // From here on this object may go at any time: a detached thread outlives it.
    running.countDown();
    function();
  });
  started_ = true;
  running.wait();
}

void Thread::join() {
  if (thread_.joinable()) thread_.join();
}

}  // namespace rung
