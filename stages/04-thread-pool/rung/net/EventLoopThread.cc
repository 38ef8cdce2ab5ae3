#include "rung/net/EventLoopThread.h"

#include <exception>

#include "rung/base/CountDownLatch.h"
#include "rung/net/EventLoop.h"
#include "rung/net/Mailbox.h"

namespace rung {

struct EventLoopThread::Shared {
  explicit Shared(ThreadInitCallback callback) : init(std::move(callback)) {}

  const ThreadInitCallback init;
  CountDownLatch ready{1};
  // Written by the new thread before `ready` opens, read by the owner after it.
  EventLoop* loop = nullptr;
  std::shared_ptr<Mailbox> mailbox;
  std::exception_ptr failure;
};

EventLoopThread::EventLoopThread(ThreadInitCallback init, std::string name)
    : shared_(std::make_shared<Shared>(std::move(init))),
      thread_([shared = shared_] { threadFunction(shared); }, std::move(name)) {}

EventLoopThread::~EventLoopThread() {
  // Not through the loop: it may have ended by itself, and be gone. The member thread_ then joins.
  if (shared_->mailbox != nullptr) shared_->mailbox->requestQuit();
}

EventLoop* EventLoopThread::startLoop() {
  thread_.start();
  shared_->ready.wait();
  if (shared_->failure != nullptr) std::rethrow_exception(shared_->failure);
  return shared_->loop;
}

void EventLoopThread::threadFunction(const std::shared_ptr<Shared>& shared) {
  std::unique_ptr<EventLoop> loop;
  try {
    loop = std::make_unique<EventLoop>();
  } catch (...) {
    shared->failure = std::current_exception();
    shared->ready.countDown();
    return;
  }
  if (shared->init) shared->init(loop.get());
  shared->loop = loop.get();
  shared->mailbox = loop->mailbox();
  shared->ready.countDown();
  loop->loop();
}

}  // namespace rung
