#include "rung/net/EventLoopThreadPool.h"

#include <stdexcept>

#include "rung/base/Logging.h"
#include "rung/net/EventLoop.h"

namespace rung {

EventLoopThreadPool::EventLoopThreadPool(EventLoop* baseLoop, std::string name)
    : baseLoop_(baseLoop), name_(std::move(name)) {
  if (baseLoop == nullptr) LOG_FATAL << "EventLoopThreadPool " << name_ << " without a base loop";
}

EventLoopThreadPool::~EventLoopThreadPool() = default;

void EventLoopThreadPool::setThreadNum(int numThreads) {
  if (started_) LOG_FATAL << "setThreadNum() of pool " << name_ << " after start()";
  if (numThreads < 0) {
    throw std::invalid_argument("number of threads: " + std::to_string(numThreads));
  }
  numThreads_ = numThreads;
}

void EventLoopThreadPool::setThreadExitCallback(ThreadExitCallback callback) {
  if (started_) LOG_FATAL << "setThreadExitCallback() of pool " << name_ << " after start()";
  exit_ = std::move(callback);
}

void EventLoopThreadPool::start(const ThreadInitCallback& init) {
  baseLoop_->assertInLoopThread();
  if (started_) LOG_FATAL << "EventLoopThreadPool " << name_ << " started twice";
  try {
    for (int i = 0; i < numThreads_; ++i) {
      threads_.push_back(
          std::make_unique<EventLoopThread>(init, name_ + "-" + std::to_string(i + 1)));
      threads_.back()->setThreadExitCallback(exit_);
      loops_.push_back(threads_.back()->startLoop());
    }
  } catch (...) {
    loops_.clear();
    threads_.clear();
    throw;
  }
  if (numThreads_ == 0 && init) init(baseLoop_);
  started_ = true;
}

EventLoop* EventLoopThreadPool::getNextLoop() {
  baseLoop_->assertInLoopThread();
  if (loops_.empty()) return baseLoop_;
  EventLoop* loop = loops_[next_];
  next_ = (next_ + 1) % loops_.size();
  return loop;
}

std::vector<EventLoop*> EventLoopThreadPool::getAllLoops() const {
  baseLoop_->assertInLoopThread();
  if (loops_.empty()) return {baseLoop_};
  return loops_;
}

}  // namespace rung
