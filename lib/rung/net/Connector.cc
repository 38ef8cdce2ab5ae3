#include "rung/net/Connector.h"

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <list>
#include <new>
#include <utility>
#include <variant>
#include <vector>

#include "rung/base/Deadline.h"
#include "rung/base/Logging.h"
#include "rung/net/ConnectAttempt.h"
#include "rung/net/EventLoop.h"
#include "rung/net/Mailbox.h"
#include "rung/net/Resolver.h"

namespace rung {

namespace {

using Attempt = ConnectAttempt;

/// A client that is connected to itself tries once more. The kernel takes the next port.
constexpr int kMostSelfConnects = 8;

/// The first family and the other one in turn, each in its order: RFC 8305, 4. If one family is
/// broken, its addresses cost one wait, and not one each.
std::vector<Attempt::Address> alternating(const std::vector<InetAddress>& addresses) {
  std::vector<Attempt::Address> result;
  result.reserve(addresses.size());
  std::size_t next[2] = {0, 0};  // of the first one's family, and of the others
  const auto isOfFirst = [&](const InetAddress& a) { return a.family() == addresses[0].family(); };
  for (std::size_t which = 0; result.size() < addresses.size(); which = 1 - which) {
    std::size_t& i = next[which];
    while (i < addresses.size() && isOfFirst(addresses[i]) != (which == 0))
      ++i;
    if (i < addresses.size()) result.emplace_back(addresses[i++]);
  }
  return result;
}

}  // namespace

/// One connect(): shared with its timers, tasks and Channels, which so find it in one piece.
class Connector::Race : noncopyable, public std::enable_shared_from_this<Race> {
 public:
  Race(EventLoop* loop, std::shared_ptr<const Options> options, const Target& target, Done done)
      : loop_(loop),
        mailbox_(loop->mailbox()),
        options_(std::move(options)),
        target_(target),
        targetText_(target.toText()),
        deadline_(deadlineAfter(options_->timeout)),
        done_(std::move(done)) {}

  /// In a task, so that nothing is called from within connect().
  void begin();
  void cancel();
  [[nodiscard]] bool pending() const { return done_ != nullptr; }
  void assertMayCancel() const {
    if (pending() && mailbox_->loop() != nullptr) loop_->assertInLoopThread();
  }

 private:
  template <class Work>
  void guarded(Work work);
  template <class Work>
  Task weakly(Work work);
  void findAddresses();
  void resolved(const Resolver::Answer& answer);
  void tryNext();
  void ended(Attempt& attempt);
  [[nodiscard]] bool anyUnderWay() const;
  void allFailed();
  void fail(ConnectStep step, std::error_code error);
  void finish(Result result);

  EventLoop* const loop_;
  const std::shared_ptr<Mailbox> mailbox_;
  const std::shared_ptr<const Options> options_;
  const Target target_;
  std::string targetText_;
  const std::chrono::steady_clock::time_point deadline_;
  Done done_;  // empty: it is over
  TimerId deadlineTimer_;
  TimerId staggerTimer_;
  Resolver::Query query_;
  std::vector<Attempt::Address> addresses_;
  std::size_t next_ = 0;
  std::list<Attempt> attempts_;  // all of them, to the end: one may be the caller
  int selfConnects_ = 0;
};

/// Nothing throws through the loop.
template <class Work>
void Connector::Race::guarded(Work work) {
  try {
    work();
  } catch (const std::bad_alloc&) {
    fail(attempts_.empty() ? ConnectStep::resolve : ConnectStep::connect, errnoCode(ENOMEM));
  }
}

template <class Work>
Task Connector::Race::weakly(Work work) {
  return [weak = weak_from_this(), work] {
    if (const auto self = weak.lock()) work(*self);
  };
}

void Connector::Race::begin() {
  if (!done_) return;
  guarded([this] {
    deadlineTimer_ = loop_->runAt(deadline_, weakly([](Race& self) {
                                    self.fail(ConnectStep::deadline, errnoCode(ETIMEDOUT));
                                  }));
    findAddresses();
  });
}

void Connector::Race::findAddresses() {
  const auto& where = target_.where();
  if (const auto* name = std::get_if<Target::Name>(&where)) {
    const auto& resolver = options_->resolver ? options_->resolver : Resolver::ofProcess();
    query_ = resolver->resolve(loop_, name->host, name->port,
                               [weak = weak_from_this()](const Resolver::Answer& answer) {
                                 if (const auto self = weak.lock()) self->resolved(answer);
                               });
    return;
  }
  if (const auto* address = std::get_if<InetAddress>(&where)) addresses_ = {*address};
  if (const auto* address = std::get_if<UnixAddress>(&where)) addresses_ = {*address};
  tryNext();
}

void Connector::Race::resolved(const Resolver::Answer& answer) {
  if (answer.error) return fail(ConnectStep::resolve, answer.error);
  guarded([&] {
    addresses_ = alternating(answer.addresses);
    tryNext();
  });
}

/// The next address that does not fail at once.
void Connector::Race::tryNext() {
  loop_->cancel(staggerTimer_);
  while (next_ < addresses_.size()) {
    Attempt& attempt =
        attempts_.emplace_back(loop_, addresses_[next_++], [this](Attempt& a) { ended(a); });
    attempt.start(options_->prepare, shared_from_this());
    if (attempt.state() != Attempt::State::underWay) continue;
    if (next_ == addresses_.size()) return;
    staggerTimer_ = loop_->runAfter(
        options_->stagger, weakly([](Race& self) { self.guarded([&] { self.tryNext(); }); }));
    return;
  }
  if (!anyUnderWay()) allFailed();
}

void Connector::Race::ended(Attempt& attempt) {
  switch (attempt.state()) {
    case Attempt::State::loopGone:
      return cancel();
    case Attempt::State::connected:
      return finish({.socket = attempt.takeSocket(), .peer = attempt.peer()});
    default:
      break;
  }
  guarded([&] {
    if (attempt.selfConnected() && ++selfConnects_ < kMostSelfConnects) {
      addresses_.insert(addresses_.begin() + static_cast<std::ptrdiff_t>(next_), attempt.address());
    }
    tryNext();
  });
}

bool Connector::Race::anyUnderWay() const {
  return std::any_of(attempts_.begin(), attempts_.end(),
                     [](const Attempt& a) { return a.state() == Attempt::State::underWay; });
}

void Connector::Race::allFailed() {
  const Attempt& first = attempts_.front();
  fail(first.step(), first.error());
}

void Connector::Race::fail(ConnectStep step, std::error_code error) {
  if (!done_) return;
  Result result;
  ConnectFailure& failure = result.failure.emplace();
  failure.step = step;
  failure.error = error;
  failure.target = std::move(targetText_);
  try {
    for (const Attempt& attempt : attempts_) {
      const bool underWay = attempt.state() == Attempt::State::underWay;
      failure.tried.push_back(
          {attempt.text(), attempt.step(), underWay ? errnoCode(EINPROGRESS) : attempt.error()});
    }
  } catch (const std::bad_alloc&) {  // the list ends here
  }
  finish(std::move(result));
}

void Connector::Race::finish(Result result) {
  const Done done = std::exchange(done_, {});
  cancel();
  if (done) done(std::move(result));
}

void Connector::Race::cancel() {
  done_ = {};
  query_.cancel();
  for (Attempt& attempt : attempts_)
    attempt.close();
  if (mailbox_->loop() == nullptr) return;  // it has taken its timers along
  loop_->cancel(deadlineTimer_);
  loop_->cancel(staggerTimer_);
}

Connector::Connector(EventLoop* loop) : Connector(loop, Options{}) {}

Connector::Connector(EventLoop* loop, Options options)
    : loop_(loop), options_(std::make_shared<const Options>(std::move(options))) {
  if (loop == nullptr) LOG_FATAL << "Connector without an EventLoop";
}

Connector::~Connector() {
  cancel();
}

void Connector::connect(const Target& target, Done done) {
  if (!done) LOG_FATAL << "Connector::connect() without a callback";
  loop_->assertInLoopThread();
  cancel();
  auto race = std::make_shared<Race>(loop_, options_, target, std::move(done));
  loop_->queueInLoop([weak = std::weak_ptr(race)] {
    if (const auto self = weak.lock()) self->begin();
  });
  race_ = std::move(race);
}

void Connector::cancel() {
  const auto race = std::exchange(race_, nullptr);
  if (race == nullptr) return;
  race->assertMayCancel();
  race->cancel();
}

bool Connector::connecting() const {
  return race_ != nullptr && race_->pending();
}

}  // namespace rung
