#include "rung/base/ThreadPool.h"

#include <exception>

#include "rung/base/Logging.h"

namespace rung {

namespace {

thread_local const ThreadPool* poolOfThisWorker = nullptr;

}  // namespace

ThreadPool::ThreadPool(std::string name) : name_(std::move(name)) {}

ThreadPool::~ThreadPool() {
  (void)stop();
}

void ThreadPool::setMaxQueueSize(std::size_t tasks) {
  const MutexLock lock(mutex_);
  maxQueueSize_ = tasks;
}

void ThreadPool::start(int numThreads) {
  {
    const MutexLock lock(mutex_);
    if (state_ != State::idle) LOG_FATAL << "ThreadPool " << name_ << " started twice";
    state_ = State::running;
    numThreads_ = numThreads;
  }
  try {
    for (int i = 0; i < numThreads; ++i) {
      threads_.push_back(
          std::make_unique<Thread>([this] { work(); }, name_ + "-" + std::to_string(i + 1)));
      threads_.back()->start();
    }
  } catch (...) {
    (void)stop();
    throw;
  }
}

std::size_t ThreadPool::stop(OnStop what) {
  if (onWorker()) LOG_FATAL << "ThreadPool " << name_ << " stopped by one of its own workers";
  std::deque<Task> dropped;  // destroyed outside the lock: what tasks own may call run()
  {
    const MutexLock lock(mutex_);
    state_ = State::stopping;
    if (what == OnStop::dropQueued) tasks_.swap(dropped);
    notEmpty_.notifyAll();
    notFull_.notifyAll();
  }
  for (const auto& thread : threads_)
    thread->join();
  return dropped.size();
}

bool ThreadPool::run(Task task) {
  {
    const MutexLock lock(mutex_);
    while (state_ == State::running && full() && !onWorker())
      notFull_.wait(mutex_);
    if (state_ != State::running) return false;
    if (hasWorkers() && !full()) {
      tasks_.push_back(std::move(task));
      notEmpty_.notifyOne();
      return true;
    }
  }
  runGuarded(task);
  return true;
}

bool ThreadPool::tryRun(Task&& task) {
  const MutexLock lock(mutex_);
  if (state_ != State::running || !hasWorkers() || full()) return false;
  tasks_.push_back(std::move(task));
  notEmpty_.notifyOne();
  return true;
}

std::size_t ThreadPool::queueSize() const {
  const MutexLock lock(mutex_);
  return tasks_.size();
}

bool ThreadPool::full() const {
  return hasWorkers() && maxQueueSize_ > 0 && tasks_.size() >= maxQueueSize_;
}

bool ThreadPool::onWorker() const {
  return poolOfThisWorker == this;
}

void ThreadPool::work() {
  poolOfThisWorker = this;
  if (init_) init_();
  while (Task task = takeTask())
    runGuarded(task);
}

Task ThreadPool::takeTask() {
  const MutexLock lock(mutex_);
  while (tasks_.empty() && state_ == State::running)
    notEmpty_.wait(mutex_);
  if (tasks_.empty()) return Task();
  Task task = std::move(tasks_.front());
  tasks_.pop_front();
  notFull_.notifyOne();
  return task;
}

void ThreadPool::runGuarded(Task& task) {
  try {
    task();
  } catch (...) {
    if (onException_) {
      onException_(std::current_exception());
      return;
    }
    try {
      throw;
    } catch (const std::exception& e) {
      LOG_ERROR << "a task of ThreadPool " << name_ << " threw: " << e.what();
    } catch (...) {
      LOG_ERROR << "a task of ThreadPool " << name_ << " threw something unknown";
    }
  }
}

}  // namespace rung
