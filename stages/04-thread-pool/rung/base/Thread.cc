#include "rung/base/Thread.h"

#include <pthread.h>

#include <csignal>

#include "rung/base/CountDownLatch.h"
#include "rung/base/CurrentThread.h"
#include "rung/base/Guarded.h"
#include "rung/base/Logging.h"

namespace rung {

namespace {

/// While it lives, the calling thread blocks all signals but those of faults. A thread that it
/// makes meanwhile inherits that.
class SignalsBlocked : noncopyable {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS})
      sigdelset(&all, fault);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before_);  // fails for a bad first argument only
  }
  ~SignalsBlocked() { (void)pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_;
};

}  // namespace

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
  CountDownLatch stored(1);
  CountDownLatch running(1);
  {
    const SignalsBlocked inherited;
    thread_ = std::thread([this, &stored, &running, function = function_] {
      stored.wait();
      CurrentThread::setName(name_);
      tid_.store(CurrentThread::tid());
      running.countDown();
      // From here on this object may be destroyed at any time, also by the function.
      runGuarded(function, [] { return std::string("thread ") + CurrentThread::name(); });
    });
  }
  started_ = true;
  stored.countDown();  // start() has written all members
  running.wait();
}

void Thread::join() {
  if (thread_.joinable()) thread_.join();
}

}  // namespace rung
