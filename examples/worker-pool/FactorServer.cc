#include "worker-pool/FactorServer.h"

#include <any>
#include <charconv>
#include <deque>
#include <optional>
#include <utility>

#include "rung/net/Mailbox.h"

#include "common/Program.h"

namespace {

/// By trial division: a few nanoseconds or the better part of a second, depending on the number.
std::string factors(std::uint64_t number) {
  std::string result = std::to_string(number) + ":";
  const auto append = [&](std::uint64_t prime) {
    result.append(" ").append(std::to_string(prime));
  };
  const auto divideBy = [&](std::uint64_t prime) {
    for (; number % prime == 0; number /= prime)
      append(prime);
  };
  divideBy(2);
  divideBy(3);
  // All other primes are one less or one more than a multiple of 6.
  for (std::uint64_t candidate = 5; candidate * candidate <= number; candidate += 6) {
    divideBy(candidate);
    divideBy(candidate + 2);
  }
  if (number > 1) append(number);
  return result + "\n";
}

std::optional<std::uint64_t> parse(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool whole = error == std::errc() && end == text.data() + text.size();
  if (!whole || number < 1 || number > FactorServer::kMaxNumber) return std::nullopt;
  return number;
}

}  // namespace

/// What a connection waits for.
struct FactorServer::Session {
  std::deque<std::optional<std::string>> pending;  // by request; nullopt: still being computed
  std::uint64_t firstId = 0;                       // of the request that pending[0] answers
  bool ended = false;                              // no more requests are taken
  std::string lastWords;                           // for a peer that is to be dismissed

  [[nodiscard]] bool full() const { return pending.size() >= kMaxPending; }

  /// The answers that no other has to wait for.
  std::string takeReady() {
    std::string ready;
    for (; !pending.empty() && pending.front(); ++firstId) {
      ready += *pending.front();
      pending.pop_front();
    }
    return ready;
  }
};

FactorServer::FactorServer(rung::EventLoop* loop, const rung::InetAddress& address,
                           std::size_t maxQueue)
    : loop_(loop), pool_("worker"), server_(loop, address, "worker-pool") {
  pool_.setMaxQueueSize(maxQueue);
  server_.setConnectionCallback([](const rung::TcpConnectionPtr& connection) {
    common::logConnection(connection);
    if (connection->connected()) connection->setContext(Session());
  });
  server_.setMessageCallback([this](const rung::TcpConnectionPtr& connection, rung::Buffer&,
                                    rung::Timestamp) { advance(connection); });
  // Without this, the connection would end when there is no output at the moment, and the answers
  // under way with it.
  server_.setHalfCloseCallback([this](const rung::TcpConnectionPtr& connection) {
    Session& session = sessionOf(connection);
    session.ended = true;
    if (!connection->inputBuffer().empty())
      session.pending.emplace_back("error: the last line has no end\n");
    advance(connection);
  });
}

FactorServer::~FactorServer() {
  (void)pool_.stop(rung::ThreadPool::OnStop::dropQueued);
}

void FactorServer::start(int ioThreads, int workers) {
  server_.setThreadNum(ioThreads);
  pool_.start(workers);
}

FactorServer::Session& FactorServer::sessionOf(const rung::TcpConnectionPtr& connection) {
  return *std::any_cast<Session>(&connection->context());
}

/// Sends what is ready, takes what there is room for, and ends the connection if that was all.
void FactorServer::advance(const rung::TcpConnectionPtr& connection) {
  Session& session = sessionOf(connection);
  do
    connection->send(session.takeReady());
  while (takeRequests(connection));

  if (session.ended && session.pending.empty()) {
    if (session.lastWords.empty()) return connection->shutdown();
    return common::dismiss(connection, session.lastWords);
  }
  // Held back by TCP, a peer that asks faster than it is answered costs no memory here.
  session.full() || session.ended ? connection->stopRead() : connection->startRead();
}

/// Returns whether there was any to take.
bool FactorServer::takeRequests(const rung::TcpConnectionPtr& connection) {
  Session& session = sessionOf(connection);
  rung::Buffer& input = connection->inputBuffer();
  bool any = false;
  while (!session.ended && !session.full()) {
    const std::string_view start = input.view().substr(0, kMaxLineBytes + 1);
    const std::size_t end = start.find('\n');
    if (end != start.npos) {
      request(connection, start.substr(0, end));
      input.retrieve(end + 1);
      any = true;
    } else if (start.size() > kMaxLineBytes) {
      session.ended = true;
      session.lastWords =
          "error: a line of more than " + std::to_string(kMaxLineBytes) + " bytes\n";
    } else {
      break;
    }
  }
  return any;
}

void FactorServer::request(const rung::TcpConnectionPtr& connection, std::string_view line) {
  if (line.ends_with('\r')) line.remove_suffix(1);
  Session& session = sessionOf(connection);
  const std::uint64_t id = session.firstId + session.pending.size();
  std::optional<std::string>& answer = session.pending.emplace_back();
  const std::optional<std::uint64_t> number = parse(line);
  if (!number) {
    answer = "error: not a number from 1 to " + std::to_string(kMaxNumber) + "\n";
  } else if (!compute(connection, id, *number)) {
    answer = std::to_string(*number) + ": busy\n";
  }
}

/// Returns false if no worker will have time for it.
bool FactorServer::compute(const rung::TcpConnectionPtr& connection, std::uint64_t id,
                           std::uint64_t number) {
  // The worker holds what survives the connection and its loop. In between, either may go.
  rung::Task work([this, asker = std::weak_ptr(connection), mailbox = connection->loop()->mailbox(),
                   id, number] {
    std::string answer = asker.expired() ? "" : factors(number);
    (void)mailbox->post([this, asker, id, answer = std::move(answer)]() mutable {
      deliver(asker, id, std::move(answer));
    });
  });
  ++underWay_;  // first: finish() must not overlook it
  if (!finishing_ && pool_.tryRun(std::move(work))) return true;
  requestEnded();
  return false;
}

void FactorServer::deliver(const std::weak_ptr<rung::TcpConnection>& asker, std::uint64_t id,
                           std::string answer) {
  const rung::TcpConnectionPtr connection = asker.lock();
  if (connection != nullptr && connection->connected()) {
    Session& session = sessionOf(connection);
    session.pending[id - session.firstId] = std::move(answer);
    advance(connection);
  }
  requestEnded();
}

void FactorServer::requestEnded() {
  if (--underWay_ > 0 || !finishing_) return;
  loop_->queueInLoop([this] { done_(); });
}

void FactorServer::finish(std::function<void()> done) {
  done_ = std::move(done);
  finishing_ = true;
  if (underWay_ == 0) done_();
}
