// How long newcomers wait beside busy connections, and what these pay for it:
// build/bench/bench/accept-bench --at-a-time 64

#include <sys/epoll.h>
#include <sys/resource.h>

#include <chrono>
#include <cstdio>
#include <exception>
#include <memory>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include "rung/base/CountDownLatch.h"
#include "rung/base/UniqueFd.h"
#include "rung/net/EventLoop.h"
#include "rung/net/EventLoopThread.h"
#include "rung/net/TcpConnection.h"
#include "rung/net/TcpServer.h"

#include "bench/arguments.h"
#include "bench/echo/load_support.h"
#include "bench/histogram.h"

namespace {

using Clock = std::chrono::steady_clock;
using rung::UniqueFd;

constexpr char kUsage[] =
    "accept-bench [--at-a-time 64] [--busy 1000] [--newcomers 300] [--work-us 20]\n"
    "One loop accepts and serves. Each busy connection has a message under way at all times, "
    "which\n"
    "costs the server so much work. Then the newcomers connect, all at once, and send one message\n"
    "each. Prints as JSON when they have their answers, and how long the busy ones waited for\n"
    "theirs, before and meanwhile.\n";

struct Options {
  int atATime = 64;
  std::size_t busy = 1000;
  std::size_t newcomers = 300;
  std::chrono::microseconds work{20};
};

/// An echo server on a loop of its own, whose every answer takes some work.
class Server {
 public:
  explicit Server(const Options& options) {
    onLoop([&] {
      server_ = std::make_unique<rung::TcpServer>(
          loop_, rung::InetAddress::loopback(0), "accept-bench",
          rung::Acceptor::Options{.acceptsPerEvent = options.atATime});
      server_->setMessageCallback([work = options.work](const rung::TcpConnectionPtr& connection,
                                                        rung::Buffer& buffer, rung::Timestamp) {
        const auto end = Clock::now() + work;
        while (Clock::now() < end) {
          // as if it computed an answer
        }
        connection->send(buffer);
      });
      server_->start();
    });
  }
  ~Server() {
    onLoop([&] { server_.reset(); });
  }
  [[nodiscard]] std::uint16_t port() const { return server_->listenAddress().port(); }

 private:
  template <class Work>
  void onLoop(Work work) {
    rung::CountDownLatch done(1);
    loop_->runInLoop([&] {
      work();
      done.countDown();
    });
    done.wait();
  }

  rung::EventLoopThread thread_;
  rung::EventLoop* const loop_ = thread_.startLoop();
  std::unique_ptr<rung::TcpServer> server_;
};

/// Clients on one epoll, each with one message of 64 bytes under way.
class Clients {
 public:
  explicit Clients(std::uint16_t port) : port_(port) {}

  void connectAndSend(std::size_t count) {
    const std::size_t first = peers_.size();
    for (std::size_t i = 0; i < count; ++i)
      connect();
    for (std::size_t i = first; i < peers_.size(); ++i)
      sendOne(peers_[i]);
  }

  /// Takes what has come, and sends the next message on each connection if `again`.
  void takeAnswers(bool again) {
    // Room for all: what epoll(7) could not report in one go may have to wait for others again.
    events_.resize(peers_.size());
    const int count =
        epoll_wait(epoll_.get(), events_.data(), static_cast<int>(peers_.size()), 10'000);
    if (count <= 0) throw std::runtime_error("no answer for ten seconds");
    for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
      Peer& peer = peers_[events_[i].data.u64];
      char answer[64];
      if (recv(peer.fd.get(), answer, sizeof answer, MSG_WAITALL) != sizeof answer)
        bench::throwErrno("recv");
      const auto now = Clock::now();
      waits_.add(static_cast<std::uint64_t>((now - peer.since).count()));
      peer.since = now;
      if (again) sendOne(peer);
    }
  }

  /// How long the answers took, the first ones from connect(2) on; and begins anew.
  bench::Histogram takeWaits() { return std::exchange(waits_, {}); }
  [[nodiscard]] std::uint64_t answers() const { return waits_.count(); }

 private:
  struct Peer {
    UniqueFd fd;
    Clock::time_point since;
  };

  void connect() {
    const auto since = Clock::now();
    UniqueFd fd(bench::connectTo(port_, true));
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = peers_.size();
    if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd.get(), &event) != 0)
      bench::throwErrno("epoll_ctl");
    peers_.push_back({std::move(fd), since});
  }

  static void sendOne(const Peer& peer) {
    const char message[64] = {};
    if (::send(peer.fd.get(), message, sizeof message, MSG_NOSIGNAL) != sizeof message)
      bench::throwErrno("send");
  }

  const std::uint16_t port_;
  const UniqueFd epoll_ = rung::checkedFd(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
  std::vector<Peer> peers_;
  std::vector<epoll_event> events_;
  bench::Histogram waits_;
};

/// The busy ones, on a thread of their own: they must not wait for the newcomers' connect(2).
class BusyClients {
 public:
  BusyClients(std::uint16_t port, std::size_t count)
      : thread_([this, port, count](const std::stop_token& stop) {
          Clients clients(port);
          clients.connectAndSend(count);
          const auto warm = Clock::now() + std::chrono::seconds(1);
          while (Clock::now() < warm)
            clients.takeAnswers(true);
          before_ = clients.takeWaits();
          ready_.countDown();
          while (!stop.stop_requested())
            clients.takeAnswers(true);
          meanwhile_ = clients.takeWaits();
        }) {}

  void waitUntilWarm() { ready_.wait(); }
  /// Before the newcomers came, and meanwhile.
  std::pair<bench::Histogram, bench::Histogram> stop() {
    thread_.request_stop();
    thread_.join();
    return {before_, meanwhile_};
  }

 private:
  bench::Histogram before_;
  bench::Histogram meanwhile_;
  rung::CountDownLatch ready_{1};
  std::jthread thread_;
};

void run(const Options& options) {
  const Server server(options);
  BusyClients busy(server.port(), options.busy);
  busy.waitUntilWarm();
  Clients newcomers(server.port());
  newcomers.connectAndSend(options.newcomers);
  while (newcomers.answers() < options.newcomers)
    newcomers.takeAnswers(false);
  const bench::Histogram waits = newcomers.takeWaits();
  const auto [before, meanwhile] = busy.stop();
  std::printf(
      "{\"last_ms\": %.1f, \"median_ms\": %.1f, \"busy_before_p50_ms\": %.2f, "
      "\"busy_p50_ms\": %.2f, \"busy_p99_ms\": %.2f, \"busy_max_ms\": %.2f}\n",
      static_cast<double>(waits.max()) / 1e6, waits.quantile(0.5) / 1e6, before.quantile(0.5) / 1e6,
      meanwhile.quantile(0.5) / 1e6, meanwhile.quantile(0.99) / 1e6,
      static_cast<double>(meanwhile.max()) / 1e6);
}

}  // namespace

int main(int argc, char** argv) {
  bench::Arguments arguments(argc, argv, "", kUsage);
  Options options;
  options.atATime = static_cast<int>(arguments.number("--at-a-time", 64, 1, 4096));
  options.busy = arguments.number("--busy", 1000, 1, 100'000);
  options.newcomers = arguments.number("--newcomers", 300, 1, 4000);
  options.work = std::chrono::microseconds(arguments.number("--work-us", 20, 0, 1'000'000));
  arguments.refuseOthers();
  rlimit limit{};
  (void)getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  (void)setrlimit(RLIMIT_NOFILE, &limit);
  try {
    run(options);
    return 0;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s: %s\n", argv[0], e.what());
    return 1;
  }
}
