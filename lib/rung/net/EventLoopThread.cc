#include "rung/net/EventLoopThread.h"

#include <exception>

#include "rung/base/CountDownLatch.h"
#include "rung/base/CurrentThread.h"
#include "rung/base/Guarded.h"
#include "rung/base/Logging.h"
#include "rung/net/EventLoop.h"
#include "rung/net/Mailbox.h"

namespace rung {

struct EventLoopThread::Shared {
  Shared(ThreadInitCallback initCallback, ThreadExitCallback exitCallback)
      : init(std::move(initCallback)), exit(std::move(exitCallback)) {}

  const ThreadInitCallback init;
  const ThreadExitCallback exit;
  CountDownLatch ready{1};
  // Written by the new thread before `ready` opens, read by the owner after it.
  EventLoop* loop = nullptr;
  std::shared_ptr<Mailbox> mailbox;
  std::exception_ptr failure;
};

EventLoopThread::EventLoopThread(ThreadInitCallback init, std::string name)
    : init_(std::move(init)), name_(std::move(name)) {}

EventLoopThread::~EventLoopThread() {
  // Not through the loop, which may have ended by itself, and be gone. The member thread_ joins.
  if (shared_ != nullptr) shared_->mailbox->requestQuit();
}

EventLoop* EventLoopThread::startLoop() {
  if (thread_ != nullptr) LOG_FATAL << "EventLoopThread " << thread_->name() << " started twice";
  const auto shared = std::make_shared<Shared>(init_, exit_);
  auto thread = std::make_unique<Thread>([shared] { threadFunction(shared); }, name_);
  thread->start();
  shared->ready.wait();
  if (shared->failure != nullptr) std::rethrow_exception(shared->failure);
  shared_ = shared;
  thread_ = std::move(thread);
  return shared_->loop;
}

void EventLoopThread::threadFunction(const std::shared_ptr<Shared>& shared) {
  std::unique_ptr<EventLoop> loop;
  try {
    loop = std::make_unique<EventLoop>();
    if (shared->init) shared->init(loop.get());
  } catch (...) {
    shared->failure = std::current_exception();
    shared->ready.countDown();
    return;
  }
  shared->loop = loop.get();
  shared->mailbox = loop->mailbox();
  shared->ready.countDown();
  loop->loop();
  if (shared->exit) {
    runGuarded([&] { shared->exit(loop.get()); },
               [] { return std::string("the thread exit callback of ") + CurrentThread::name(); });
  }
}

}  // namespace rung
