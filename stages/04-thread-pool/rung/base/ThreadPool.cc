#include "rung/base/ThreadPool.h"

#include <algorithm>
#include <exception>
#include <iterator>
#include <stdexcept>
#include <utility>

#include "rung/base/CountDownLatch.h"
#include "rung/base/Guarded.h"
#include "rung/base/Logging.h"

namespace rung {

namespace {

constinit thread_local const ThreadPool* poolOfThisWorker = nullptr;

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
  if (numThreads < 0) {
    throw std::invalid_argument("number of threads: " + std::to_string(numThreads));
  }
  std::deque<Task> waiting;
  {
    const MutexLock lock(mutex_);
    if (state_ == State::running) LOG_FATAL << "ThreadPool " << name_ << " started twice";
    if (state_ == State::stopping) LOG_FATAL << "ThreadPool " << name_ << " started after stop()";
    state_ = State::running;
    inline_ = numThreads == 0;
    if (inline_) tasks_.swap(waiting);
    initFailure_ = nullptr;
  }
  for (Task& task : waiting)
    runTask(task);
  startThreads(numThreads);
}

void ThreadPool::startThreads(int numThreads) {
  const MutexLock starting(threadsMutex_);
  CountDownLatch initialised(numThreads);
  try {
    for (int i = 0; i < numThreads; ++i) {
      threads_.push_back(std::make_unique<Thread>([this, &initialised] { work(initialised); },
                                                  name_ + "-" + std::to_string(i + 1)));
      threads_.back()->start();
    }
    initialised.wait();
    const MutexLock lock(mutex_);
    if (initFailure_ != nullptr) std::rethrow_exception(initFailure_);
  } catch (...) {
    {
      const MutexLock lock(mutex_);
      if (state_ == State::running) state_ = State::idle;  // workers end when no task is left
      notEmpty_.notifyAll();
      notFull_.notifyAll();
    }
    threads_.clear();
    throw;
  }
}

std::size_t ThreadPool::stop(OnStop what) {
  if (onWorker()) LOG_FATAL << "ThreadPool " << name_ << " stopped by one of its own workers";
  std::deque<Task> dropped;  // destroyed outside the lock: their captures may call run()
  {
    const MutexLock lock(mutex_);
    if (what == OnStop::dropQueued) tasks_.swap(dropped);
    state_ = State::stopping;
    notEmpty_.notifyAll();
    notFull_.notifyAll();
  }
  const MutexLock joining(threadsMutex_);
  for (const auto& thread : threads_)
    thread->join();
  const MutexLock lock(mutex_);  // without a worker, some are left
  std::move(tasks_.begin(), tasks_.end(), std::back_inserter(dropped));
  tasks_.clear();
  return dropped.size();
}

bool ThreadPool::run(Task task) {
  refuseEmpty(task);
  {
    const MutexLock lock(mutex_);
    while (state_ == State::running && full() && !onWorker())
      notFull_.wait(mutex_);
    if (state_ == State::stopping) return false;
    if (!inline_) {
      queue(std::move(task));
      return true;
    }
  }
  runTask(task);
  return true;
}

bool ThreadPool::tryRun(Task&& task) {
  refuseEmpty(task);
  const MutexLock lock(mutex_);
  if (state_ == State::stopping || inline_ || full()) return false;
  queue(std::move(task));
  return true;
}

std::size_t ThreadPool::queueSize() const {
  const MutexLock lock(mutex_);
  return tasks_.size();
}

bool ThreadPool::full() const {
  return maxQueueSize_ > 0 && tasks_.size() >= maxQueueSize_;
}

bool ThreadPool::onWorker() const {
  return poolOfThisWorker == this;
}

void ThreadPool::refuseEmpty(const Task& task) const {
  if (!task) LOG_FATAL << "an empty task was given to ThreadPool " << name_;
}

void ThreadPool::queue(Task&& task) {
  tasks_.push_back(std::move(task));
  notEmpty_.notifyOne();
}

void ThreadPool::work(CountDownLatch& initialised) {
  poolOfThisWorker = this;
  try {
    if (init_) init_();
  } catch (...) {
    {
      const MutexLock lock(mutex_);
      initFailure_ = std::current_exception();
    }
    initialised.countDown();
    return;
  }
  initialised.countDown();
  while (Task task = takeTask())
    runTask(task);
  if (exit_) {
    runGuarded(exit_, [this] { return "the thread exit callback of ThreadPool " + name_; });
  }
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

void ThreadPool::runTask(Task& task) {
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
