#include "rung/net/Resolver.h"

#include <netdb.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <list>
#include <new>
#include <stdexcept>
#include <utility>
#include <variant>

#include "rung/base/Insist.h"
#include "rung/base/Logging.h"
#include "rung/base/Mutex.h"
#include "rung/base/Thread.h"
#include "rung/net/ConnectFailure.h"
#include "rung/net/EventLoop.h"
#include "rung/net/Mailbox.h"
#include "rung/net/Target.h"
#include "rung/net/TimerId.h"

namespace rung {

/// One lookup. The loop's thread owns `done` and `timer`, and alone changes `mailbox`: with the
/// mutex of the State, since the resolver's threads read it.
struct Resolver::Request {
  Request(std::shared_ptr<Mailbox> m, std::string h, std::uint16_t p, Done d)
      : mailbox(std::move(m)), host(std::move(h)), port(p), done(std::move(d)) {}

  void answer(Answer&& answer) {
    if (!done) return;  // cancelled, or the time was over
    if (EventLoop* loop = mailbox != nullptr ? mailbox->loop() : nullptr) loop->cancel(timer);
    std::exchange(done, {})(std::move(answer));
  }

  std::shared_ptr<Mailbox> mailbox;  // nullptr once nobody wants an answer
  const std::string host;
  const std::uint16_t port;
  Done done;  // empty once it was called, or is not to be called
  TimerId timer;
};

/// What a Resolver and its threads have in common. The last of them frees it.
class Resolver::State : public std::enable_shared_from_this<State> {
 public:
  explicit State(Options options)
      : lookup_(options.lookup ? std::move(options.lookup) : lookUp), most_(options.threads) {}

  void add(const std::shared_ptr<Request>& request) RUNG_EXCLUDES(mutex_);
  void remove(const std::shared_ptr<Request>& request) RUNG_EXCLUDES(mutex_);
  /// Nobody wants an answer any more. A thread that hangs keeps nothing of the loop.
  void forget(const std::shared_ptr<Request>& request) RUNG_EXCLUDES(mutex_);
  void close() RUNG_EXCLUDES(mutex_);
  [[nodiscard]] std::size_t waiting() const RUNG_EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    return waiting_.size();
  }

 private:
  using Waiting = std::list<std::shared_ptr<Request>>;

  /// Of a thread. It owns its own Thread object, which so is detached: nobody joins it.
  struct Worker {
    const std::shared_ptr<State> state;
    std::unique_ptr<Thread> thread;
  };

  void startWorker();
  void work() RUNG_EXCLUDES(mutex_);
  std::shared_ptr<Request> take() RUNG_EXCLUDES(mutex_);
  [[nodiscard]] Answer ask(const Request& request) const noexcept;
  void post(const std::shared_ptr<Request>& request, const Answer& answer) RUNG_EXCLUDES(mutex_);

  const Lookup lookup_;
  const int most_;
  const pid_t processId_ = getpid();

  mutable Mutex mutex_;
  Condition notEmpty_;
  Waiting waiting_ RUNG_GUARDED_BY(mutex_);
  int workers_ RUNG_GUARDED_BY(mutex_) = 0;
  std::size_t idle_ RUNG_GUARDED_BY(mutex_) = 0;
  bool closed_ RUNG_GUARDED_BY(mutex_) = false;
};

void Resolver::State::add(const std::shared_ptr<Request>& request) {
  if (getpid() != processId_) return post(request, {.error = errnoCode(ECHILD)});
  Waiting one{request};
  bool more = false;
  {
    const MutexLock lock(mutex_);
    waiting_.splice(waiting_.end(), one);
    more = waiting_.size() > idle_ && workers_ < most_;
    if (more) ++workers_;
    notEmpty_.notifyOne();
  }
  if (!more) return;
  int error = 0;
  try {
    return startWorker();
  } catch (const std::system_error& e) {
    error = e.code().value();
  } catch (const std::bad_alloc&) {
    error = ENOMEM;
  }
  {
    const MutexLock lock(mutex_);
    if (--workers_ > 0) return;  // it waits for one of the others
  }
  remove(request);
  post(request, {.error = errnoCode(error)});
}

void Resolver::State::startWorker() {
  auto worker = std::make_unique<Worker>(Worker{shared_from_this(), nullptr});
  Worker* const raw = worker.get();
  raw->thread = std::make_unique<Thread>(
      [raw] {
        const std::unique_ptr<Worker> own(raw);
        own->state->work();
      },
      "resolver");
  raw->thread->start();
  (void)worker.release();  // the thread has it, and may have ended
}

void Resolver::State::remove(const std::shared_ptr<Request>& request) {
  Waiting removed;  // freed outside the lock
  const MutexLock lock(mutex_);
  const auto found = std::find(waiting_.begin(), waiting_.end(), request);
  if (found != waiting_.end()) removed.splice(removed.end(), waiting_, found);
}

void Resolver::State::forget(const std::shared_ptr<Request>& request) {
  remove(request);
  std::shared_ptr<Mailbox> mailbox;  // as above
  const MutexLock lock(mutex_);
  mailbox.swap(request->mailbox);
}

void Resolver::State::close() {
  Waiting left;
  {
    const MutexLock lock(mutex_);
    closed_ = true;
    left.swap(waiting_);
    notEmpty_.notifyAll();
  }
  for (const auto& request : left)
    post(request, {.error = errnoCode(ECANCELED)});
}

std::shared_ptr<Resolver::Request> Resolver::State::take() {
  const MutexLock lock(mutex_);
  ++idle_;
  while (waiting_.empty() && !closed_)
    notEmpty_.wait(mutex_);
  --idle_;
  if (waiting_.empty()) return nullptr;
  auto request = std::move(waiting_.front());
  waiting_.pop_front();
  return request;
}

void Resolver::State::work() {
  while (const auto request = take())
    post(request, ask(*request));
}

Resolver::Answer Resolver::State::ask(const Request& request) const noexcept {
  Answer answer;
  try {
    answer = lookup_(request.host, request.port);
    if (!answer.error && answer.addresses.empty()) answer.error = {EAI_NODATA, resolverCategory()};
  } catch (const std::bad_alloc&) {
    answer = {.error = errnoCode(ENOMEM)};
  } catch (...) {
    answer = {.error = {EAI_FAIL, resolverCategory()}};
  }
  return answer;
}

/// Copies, since there may be no memory for the task at first. A thread of the resolver has the
/// time to wait for it.
void Resolver::State::post(const std::shared_ptr<Request>& request, const Answer& answer) {
  std::shared_ptr<Mailbox> mailbox;
  {
    const MutexLock lock(mutex_);
    mailbox = request->mailbox;
  }
  if (mailbox == nullptr) return;
  insist([&] {
    (void)mailbox->post(
        [request, answer = Answer(answer)]() mutable { request->answer(std::move(answer)); });
  });
}

Resolver::Resolver() : Resolver(Options{}) {}

Resolver::Resolver(Options options) {
  if (options.threads < 1) {
    throw std::invalid_argument("threads of a Resolver: " + std::to_string(options.threads));
  }
  state_ = std::make_shared<State>(std::move(options));
}

Resolver::~Resolver() {
  state_->close();
}

const std::shared_ptr<Resolver>& Resolver::ofProcess() {
  static const auto* const resolver = new std::shared_ptr<Resolver>(std::make_shared<Resolver>());
  return *resolver;
}

Resolver::Query Resolver::resolve(EventLoop* loop, std::string_view host, int port, Done done,
                                  std::chrono::steady_clock::time_point deadline) {
  if (loop == nullptr) LOG_FATAL << "Resolver::resolve() without an EventLoop";
  if (!done) LOG_FATAL << "Resolver::resolve() without a callback";
  loop->assertInLoopThread();
  const Target target(host, port);
  auto request = std::make_shared<Request>(loop->mailbox(), std::string(host),
                                           static_cast<std::uint16_t>(port), std::move(done));
  Query query(state_, request);
  if (const auto* address = std::get_if<InetAddress>(&target.where())) {
    loop->queueInLoop([weak = std::weak_ptr(request), address = *address] {
      if (const auto self = weak.lock()) self->answer({.addresses = {address}});
    });
    return query;
  }
  if (deadline != (std::chrono::steady_clock::time_point::max)()) {
    request->timer = loop->runAt(deadline, [state = state_, weak = std::weak_ptr(request)] {
      const auto self = weak.lock();
      if (self == nullptr) return;
      state->forget(self);
      self->answer({.error = errnoCode(ETIMEDOUT)});
    });
  }
  state_->add(request);
  return query;
}

std::size_t Resolver::waiting() const {
  return state_->waiting();
}

Resolver::Query& Resolver::Query::operator=(Query&& other) noexcept {
  if (this == &other) return *this;
  cancel();
  state_ = std::move(other.state_);
  request_ = std::move(other.request_);
  return *this;
}

void Resolver::Query::cancel() {
  const auto request = std::exchange(request_, nullptr);
  const auto state = std::exchange(state_, nullptr);
  if (request == nullptr || request->done == nullptr) return;
  if (EventLoop* const loop = request->mailbox->loop()) {
    loop->assertInLoopThread();
    loop->cancel(request->timer);
  }
  state->forget(request);
  request->done = {};
}

bool Resolver::Query::pending() const {
  return request_ != nullptr && request_->done != nullptr;
}

}  // namespace rung
