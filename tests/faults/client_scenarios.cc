#include <sys/socket.h>

#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "rung/net/Buffer.h"
#include "rung/net/EventLoopThread.h"
#include "rung/net/TcpClient.h"
#include "rung/net/TcpConnection.h"

#include "tests/faults/Faults.h"
#include "tests/faults/Scenario.h"
#include "tests/support/Client.h"
#include "tests/support/Listener.h"
#include "tests/support/Process.h"
#include "tests/support/ServerThread.h"

namespace rung::testing {

namespace {

using namespace std::chrono_literals;

/// Echoes one connection after the other, on plain socket calls that are left alone.
class PlainEcho {
 public:
  ~PlainEcho() {
    over_ = true;
    Client(address).close();  // it may wait for somebody
    thread_.join();
  }

 private:
  void run() {
    const Faults::Spare spared;
    std::string piece(1 << 16, '\0');
    while (!over_) {
      const UniqueFd peer = listener_.accept();
      for (ssize_t n; (n = recv(peer.get(), piece.data(), piece.size(), 0)) > 0;) {
        if (!sendAll(peer.get(), std::string_view(piece).substr(0, static_cast<std::size_t>(n)))) {
          break;
        }
      }
    }
  }
  static bool sendAll(int fd, std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t n = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
  }

  Listener listener_;
  std::atomic<bool> over_{false};

 public:
  const InetAddress address = listener_.address();

 private:
  std::thread thread_{[this] { run(); }};
};

/// Sends a message over each connection, until one has brought all of it back. Its loop's thread
/// alone uses the members, but for `whole`.
struct Talker {
  Talker(EventLoop* loop, const InetAddress& address, std::uint64_t seed)
      : message(pattern(seed % 3 == 0 ? 300'000 : 500)),
        client(loop, address, "talker",
               {.attempt{.timeout = std::chrono::seconds(1)},
                .reconnect = Backoff::Options{.initial = 1ms, .cap = 4ms, .seed = seed + 1}}) {
    client.setConnectionCallback([this](const TcpConnectionPtr& c) { onConnection(c); });
    client.setFailureCallback([this](const ConnectFailure& failure, auto) {
      if (!failure.error) problem = "a failure without an error";
    });
    client.setMessageCallback([this](const TcpConnectionPtr&, Buffer& buffer, Timestamp) {
      received += buffer.view();
      buffer.retrieveAll();
      if (received == message && !std::exchange(told, true)) whole.set_value();
    });
  }

  void onConnection(const TcpConnectionPtr& connection) {
    if (connection->connected()) {
      ++ups;
      received.clear();
      (void)connection->send(message);
      return;
    }
    ++downs;
    if (!message.starts_with(received)) problem = "wrong bytes";
    if (received != message && Faults::counts().fatal == 0) problem = "down, and nothing failed";
  }

  const std::string message;
  std::string received;
  std::string problem;
  int ups = 0;
  int downs = 0;
  bool told = false;
  std::promise<void> whole;
  TcpClient client;
};

std::string talk(EventLoop* loop, const InetAddress& address, std::uint64_t seed) {
  std::unique_ptr<Talker> talker;
  ServerThread::runOn(loop, [&] { talker = std::make_unique<Talker>(loop, address, seed); });
  Faults::arm(FaultPlan::random(seed));
  talker->client.connect();
  std::string problem;
  if (talker->whole.get_future().wait_for(patience()) != std::future_status::ready) {
    // The seed may have decided that nearly all fails.
    if (Faults::counts().injected < 10) problem = "the message never came back";
  }
  const auto stopped = std::make_shared<std::promise<void>>();
  talker->client.stop(20ms, [stopped](bool) { stopped->set_value(); });
  if (stopped->get_future().wait_for(patience()) != std::future_status::ready) {
    problem = "stop() never came to its end";
  }
  Faults::disarm();
  ServerThread::runOn(loop, [&] {
    if (!talker->problem.empty()) problem = talker->problem;
    if (talker->ups != talker->downs) problem = "a connection is up and never down";
    talker.reset();
  });
  return problem;
}

// A client that reconnects sends a message until it comes back whole.
std::string clientTalks(std::uint64_t seed) {
  const Faults::Spare test;
  const std::size_t before = descriptorCount();
  std::string problem;
  {
    const PlainEcho server;
    EventLoopThread thread;
    problem = talk(thread.startLoop(), server.address, seed);
  }
  if (problem.empty() && descriptorCount() != before) problem = "descriptors leaked";
  return problem;
}

}  // namespace

std::span<const Scenario> clientScenarios() {
  static constexpr Scenario kScenarios[] = {
      {"client", "a client reconnects until its message has come back whole", clientTalks}};
  return kScenarios;
}

}  // namespace rung::testing
