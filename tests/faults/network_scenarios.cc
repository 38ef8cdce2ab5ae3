#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <future>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "rung/base/Mutex.h"
#include "rung/net/Buffer.h"

#include "tests/faults/Faults.h"
#include "tests/faults/Scenario.h"
#include "tests/support/Client.h"
#include "tests/support/Process.h"
#include "tests/support/ServerThread.h"

namespace rung::testing {

namespace {

using namespace std::chrono_literals;
using Random = std::mt19937_64;

std::size_t between(Random& random, std::size_t low, std::size_t high) {
  return low + random() % (high - low + 1);
}

/// How a client's stream went.
struct Received {
  std::string bytes;
  bool ended = false;  // FIN or RST
  bool stuck = false;  // nothing came for too long
};

/// Reads `size` bytes, or to the end of the stream.
Received receive(const Client& client, std::size_t size) {
  Received received;
  std::string piece(1 << 16, '\0');
  while (received.bytes.size() < size) {
    const std::size_t most = std::min(piece.size(), size - received.bytes.size());
    const ssize_t n = recv(client.fd(), piece.data(), most, 0);
    if (n > 0) {
      received.bytes.append(piece, 0, static_cast<std::size_t>(n));
      continue;
    }
    received.stuck = n < 0 && (errno == EAGAIN || errno == EINPROGRESS);
    received.ended = !received.stuck;
    break;
  }
  return received;
}

std::unique_ptr<Client> connectTo(const InetAddress& address, int receiveBytes = 0) {
  auto client = std::make_unique<Client>(address, receiveBytes);
  const auto limit = std::chrono::duration_cast<std::chrono::seconds>(patience());
  const timeval time{limit.count(), 0};
  setsockopt(client->fd(), SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time);
  return client;
}

/// What the server has said of its connections, by the port of the client.
class Witness {
 public:
  void note(const TcpConnectionPtr& connection) {
    const MutexLock lock(mutex_);
    End& end = ends_[connection->peerAddress().port()];
    if (connection->connected()) {
      end.connection = connection;
      ++up_;
    } else {
      end.error = connection->error();
      ++end.downs;
      ++down_;
    }
  }
  /// Whether a client that did not get all has been told of at the server, too: as a connection
  /// that failed, or as none at all.
  bool explains(const Client& client) const {
    sockaddr_storage address{};
    socklen_t length = sizeof address;
    if (getsockname(client.fd(), reinterpret_cast<sockaddr*>(&address), &length) != 0) return false;
    return eventually([&] {
      const MutexLock lock(mutex_);
      const auto found = ends_.find(InetAddress(address).port());
      return found == ends_.end() || (found->second.downs == 1 && found->second.error != 0);
    });
  }
  /// Each was up once and down once, and nobody holds one any more.
  std::string verdict() const {
    const MutexLock lock(mutex_);
    if (up_ != down_) return std::to_string(up_ - down_) + " connections are up and never down";
    for (const auto& [port, end] : ends_) {
      if (end.downs != 1) return "a connection was down " + std::to_string(end.downs) + " times";
      if (!end.connection.expired()) return "a connection was not destroyed";
    }
    return {};
  }

 private:
  struct End {
    std::weak_ptr<TcpConnection> connection;
    int error = 0;
    int downs = 0;
  };
  mutable Mutex mutex_;
  std::map<std::uint16_t, End> ends_ RUNG_GUARDED_BY(mutex_);
  int up_ RUNG_GUARDED_BY(mutex_) = 0;
  int down_ RUNG_GUARDED_BY(mutex_) = 0;
};

/// What a client has to have received, in the face of what was injected.
std::string judge(const Received& received, std::string_view expected, const Client& client,
                  const Witness& witness) {
  const std::string progress =
      std::to_string(received.bytes.size()) + " of " + std::to_string(expected.size()) + " bytes";
  if (!expected.starts_with(received.bytes)) return "wrong bytes among " + progress;
  if (received.bytes.size() == expected.size()) return {};
  if (received.stuck) return "stuck after " + progress;
  if (Faults::counts().fatal == 0) return "nothing failed, yet only " + progress;
  if (!witness.explains(client)) return "only " + progress + ", and no error at the server";
  return {};
}

std::string spinning() {
  const FaultCounts counts = Faults::counts();
  if (counts.idleReturns <= 20) return {};
  return "epoll_wait returned " + std::to_string(counts.idleReturns) + " times for nothing";
}

/// The end of a scenario: all clients have closed, so the server has nothing left.
std::string settle(ServerThread& server, const Witness& witness) {
  if (!eventually([&] { return server.server().connectionCount() == 0; })) {
    return std::to_string(server.server().connectionCount()) + " connections left";
  }
  server.destroyServer();
  const std::string problem = spinning();
  Faults::disarm();
  server.inLoop([] {});  // the last task of a connection may still hold it
  return problem.empty() ? witness.verdict() : problem;
}

ConnectionLimits someLimits(Random& random) {
  ConnectionLimits limits;
  if (random() % 2 == 0) limits.highWaterMark = between(random, 1, 20000);
  limits.lowWaterMark = std::min(limits.lowWaterMark, limits.highWaterMark / 2);
  return limits;
}

/// The frame of every scenario: a server, calls that fail while `talk` goes on, and nothing left
/// behind. `setUp` may replace the connection callback, if it notes what it is called for.
template <class SetUp, class Talk>
std::string withServer(std::uint64_t seed, int threads, const SetUp& setUp, const Talk& talk) {
  const Faults::Spare clients;
  const std::size_t before = descriptorCount();
  std::string problem;
  {
    Witness witness;
    ServerThread server(
        [&](TcpServer& s) {
          s.setConnectionCallback([&](const TcpConnectionPtr& c) { witness.note(c); });
          setUp(s, witness);
        },
        threads);
    Faults::arm(FaultPlan::random(seed));
    problem = talk(server, witness);
    if (problem.empty()) problem = settle(server, witness);
    Faults::disarm();
  }
  if (problem.empty() && descriptorCount() != before) problem = "descriptors leaked";
  return problem;
}

// Clients send in pieces and get all of it back.
std::string echoExchange(std::uint64_t seed) {
  Random random(seed);
  const auto setUp = [limits = someLimits(random)](TcpServer& s, Witness&) {
    s.setMessageCallback(echo);
    s.setLimits(limits);
  };
  const auto talk = [&](const ServerThread& server, const Witness& witness) {
    std::string problem;
    for (int i = 0; i < 2 && problem.empty(); ++i) {
      const auto client = connectTo(server.address());
      for (int round = 0; round < 6 && problem.empty(); ++round) {
        const std::string message = pattern(between(random, 1, round >= 4 ? 60000 : 600));
        client->send(message);
        const Received received = receive(*client, message.size());
        problem = judge(received, message, *client, witness);
        if (received.ended) break;
      }
    }
    return problem;
  };
  return withServer(seed, static_cast<int>(seed % 2), setUp, talk);
}

// Clients send, half-close, and read to the end. With an odd seed the answer begins only then.
std::string halfClose(std::uint64_t seed) {
  Random random(seed);
  const auto setUp = [seed, limits = someLimits(random)](TcpServer& s, Witness&) {
    s.setLimits(limits);
    if (seed % 2 == 0) {
      s.setMessageCallback(echo);
      return;
    }
    s.setMessageCallback([](const TcpConnectionPtr&, Buffer&, Timestamp) {});
    s.setHalfCloseCallback([](const TcpConnectionPtr& connection) {
      connection->send(connection->inputBuffer());
      connection->shutdown();
    });
  };
  const auto talk = [&](const ServerThread& server, const Witness& witness) {
    std::string problem;
    for (int i = 0; i < 2 && problem.empty(); ++i) {
      const auto client = connectTo(server.address());
      const std::string message = pattern(between(random, 1, i == 0 ? 500 : 300000));
      client->send(message);
      client->shutdownWrite();
      const Received received = receive(*client, message.size() + 1);
      if (received.stuck && received.bytes.size() == message.size()) problem = "no end of stream";
      if (problem.empty()) problem = judge(received, message, *client, witness);
    }
    return problem;
  };
  return withServer(seed, 0, setUp, talk);
}

/// What is wrong with how a stop() ended.
std::string judgeStop(TcpServer::StopResult stopped, std::size_t clients, bool reading, bool much) {
  const bool failed = Faults::counts().fatal > 0;
  if (stopped.drained + stopped.cut > clients) return "stop() counts too many";
  if (reading && stopped.cut > 0 && !failed) return "a connection was cut without need";
  if (!reading && stopped.cut == 0 && !failed && much) return "drained what nobody reads";
  return {};
}

// A server that owes its clients much is stopped. With an odd seed nobody reads, and it cuts.
std::string stopWithDeadline(std::uint64_t seed) {
  Random random(seed);
  const bool reading = seed % 2 == 0;
  static const std::string kBytes = pattern(8 << 20);  // more than the kernel takes
  const std::string owed =
      kBytes.substr(0, random() % 4 == 0 ? between(random, 1, 500000) : kBytes.size());
  const auto setUp = [&](TcpServer& s, Witness& witness) {
    s.setConnectionCallback([&](const TcpConnectionPtr& c) {
      witness.note(c);
      if (c->connected()) c->send(owed);
    });
  };
  const auto talk = [&](ServerThread& server, const Witness& witness) -> std::string {
    std::vector<std::unique_ptr<Client>> clients;
    std::vector<Received> firsts;
    for (int i = 0; i < 3; ++i) {
      clients.push_back(connectTo(server.address(), reading ? 0 : 4096));
      firsts.push_back(receive(*clients.back(), 1));  // so that it is accepted, or was refused
      if (firsts.back().stuck) return "stuck before the first byte";
    }
    auto result = std::make_shared<std::promise<TcpServer::StopResult>>();
    auto future = result->get_future();
    server.server().stop(reading ? patience() : 20ms,
                         [result](TcpServer::StopResult r) { result->set_value(r); });
    for (std::size_t i = 0; reading && i < clients.size(); ++i) {
      if (firsts[i].ended) continue;
      Received received = receive(*clients[i], owed.size());
      received.bytes.insert(0, firsts[i].bytes);
      const std::string problem = judge(received, owed, *clients[i], witness);
      if (!problem.empty()) return problem;
      clients[i]->close();
    }
    if (future.wait_for(patience()) != std::future_status::ready) {
      return "stop() never came to its end";
    }
    return judgeStop(future.get(), clients.size(), reading, owed.size() == kBytes.size());
  };
  return withServer(seed, static_cast<int>(random() % 3), setUp, talk);
}

}  // namespace

std::span<const Scenario> networkScenarios() {
  static constexpr Scenario kScenarios[] = {
      {"echo", "clients send in pieces and get all of it back", echoExchange},
      {"half-close", "clients send, half-close and read to the end", halfClose},
      {"stop", "a server that owes its clients much is stopped, with a deadline",
       stopWithDeadline}};
  return kScenarios;
}

}  // namespace rung::testing
