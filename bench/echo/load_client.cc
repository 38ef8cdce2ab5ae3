// A neutral client for the echo servers: epoll itself, one thread, every byte checked.

#include <sys/epoll.h>

#include <chrono>
#include <cstdio>
#include <exception>
#include <memory>
#include <stdexcept>

#include "bench/echo/load_options.h"
#include "bench/echo/load_support.h"
#include "bench/histogram.h"

namespace {

using Nanoseconds = std::uint64_t;

Nanoseconds now() {
  timespec time{};
  (void)clock_gettime(CLOCK_MONOTONIC, &time);  // cannot fail
  return static_cast<Nanoseconds>(time.tv_sec) * 1'000'000'000 +
         static_cast<Nanoseconds>(time.tv_nsec);
}

Nanoseconds seconds(double count) {
  return static_cast<Nanoseconds>(count * 1e9);
}

struct Connection {
  std::size_t number = 0;
  int fd = -1;
  bool writable = false;
  std::uint64_t begun = 0;  // messages; they are under way until they are done
  std::uint64_t done = 0;
  std::uint64_t sent = 0;  // bytes
  std::uint64_t received = 0;
  std::vector<Nanoseconds> beginnings;  // of the messages under way, a ring
};

/// What has been counted when the measurement begins, and when it ends.
struct Mark {
  Nanoseconds time = 0;
  std::uint64_t messages = 0;
  double serverCpu = 0;
  double ownCpu = 0;
};

class LoadClient {
 public:
  explicit LoadClient(const bench::LoadOptions& options)
      : options_(options),
        probe_(options.serverPid),
        epoll_(epoll_create1(EPOLL_CLOEXEC)),
        connections_(options.connections),
        input_(std::make_unique<char[]>(kInputBytes)) {
    if (epoll_ < 0) bench::throwErrno("epoll_create1");
  }

  void run() {
    if (options_.mode == bench::Mode::idle) return runIdle();
    openIdle(options_.idle);
    for (std::size_t i = 0; i < connections_.size(); ++i) {
      connections_[i].number = i;
      connections_[i].beginnings.resize(options_.pipeline);
    }
    const Nanoseconds start = now();
    measureFrom_ = start + seconds(options_.warmUp);
    for (Connection& connection : connections_)
      open(connection);
    while (begun_ > done_)
      turn();
    if (begin_.time == 0 || end_.time == 0) throw std::runtime_error("too short to measure");
    report();
  }

 private:
  static constexpr std::size_t kInputBytes = 1 << 18;
  static_assert(kInputBytes <= bench::Pattern::kMostAtOnce);
  static constexpr Nanoseconds kPatience = 10'000'000'000;

  // Idle connections block, so that the queue of the server's listener cannot overflow.
  void openIdle(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      idle_.push_back(bench::connectTo(options_.port, true));
      bench::echoOnce(idle_.back(), pattern_, idle_.size(), options_.size);
    }
  }

  void runIdle() {
    // What the first connections cost once for all does not belong to each of those that follow.
    constexpr std::size_t kFirst = 100;
    openIdle(kFirst);
    probe_.askForAccounting();
    const std::uint64_t before = probe_.resident();
    openIdle(options_.idle);
    const std::uint64_t after = probe_.resident();
    probe_.askForAccounting();
    const double each = (static_cast<double>(after) - static_cast<double>(before)) /
                        static_cast<double>(options_.idle);
    std::printf(
        "{\"mode\": \"idle\", \"size\": %zu, \"idle\": %zu, \"rss_before\": %llu, "
        "\"rss_after\": %llu, \"rss_per_connection\": %.1f, \"errors\": 0}\n",
        options_.size, options_.idle, static_cast<unsigned long long>(before),
        static_cast<unsigned long long>(after), each);
  }

  void open(Connection& connection) {
    const Nanoseconds time = now();
    connection.fd = bench::connectTo(options_.port, options_.mode == bench::Mode::echo);
    if (fcntl(connection.fd, F_SETFL, O_NONBLOCK) != 0) bench::throwErrno("fcntl");
    connection.sent = connection.received = connection.begun = connection.done = 0;
    connection.writable = false;
    // Edge-triggered and for both from the start: no system call to change it, ever.
    epoll_event event{};
    event.events = EPOLLIN | EPOLLOUT | EPOLLET;
    event.data.ptr = &connection;
    if (epoll_ctl(epoll_, EPOLL_CTL_ADD, connection.fd, &event) != 0)
      bench::throwErrno("epoll_ctl");
    begin(connection, time);
  }

  void turn() {
    epoll_event events[256];
    const int count = epoll_wait(epoll_, events, 256, 1000);
    if (count < 0 && errno != EINTR) bench::throwErrno("epoll_wait");
    const Nanoseconds time = now();
    if (count > 0) lastProgress_ = time;
    if (lastProgress_ != 0 && time - lastProgress_ > kPatience)
      throw std::runtime_error("the server has been silent for 10 s");
    if (options_.messages == 0) {
      if (begin_.time == 0 && time >= measureFrom_) mark(begin_, time);
      if (begin_.time != 0 && end_.time == 0 && time >= begin_.time + seconds(options_.seconds))
        mark(end_, time);
    }
    for (int i = 0; i < count; ++i) {
      auto& connection = *static_cast<Connection*>(events[i].data.ptr);
      if ((events[i].events & EPOLLOUT) != 0) connection.writable = true;
      if ((events[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0) receive(connection);
      if (connection.fd >= 0) flush(connection);
    }
  }

  void mark(Mark& at, Nanoseconds time) {
    probe_.askForAccounting();
    timespec own{};
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &own);  // cannot fail
    at = {time, done_, probe_.cpu(),
          static_cast<double>(own.tv_sec) * 1e6 + static_cast<double>(own.tv_nsec) / 1e3};
  }

  [[nodiscard]] std::uint64_t warmUpMessages() const { return 2 * options_.connections; }

  [[nodiscard]] bool mayBegin() const {
    if (end_.time != 0) return false;
    return options_.messages == 0 || begun_ < warmUpMessages() + options_.messages;
  }

  /// Begins as many messages as may be under way on one connection.
  void begin(Connection& connection, Nanoseconds time) {
    while (connection.begun - connection.done < options_.pipeline && mayBegin()) {
      connection.beginnings[connection.begun % options_.pipeline] = time;
      ++connection.begun;
      ++begun_;
    }
  }

  void flush(Connection& connection) {
    while (connection.writable && connection.sent < connection.begun * options_.size) {
      const std::size_t size = std::min<std::uint64_t>(
          connection.begun * options_.size - connection.sent, bench::Pattern::kMostAtOnce);
      const ssize_t put =
          send(connection.fd, pattern_.at(connection.number, connection.sent), size, MSG_NOSIGNAL);
      if (put < 0 && errno != EAGAIN) bench::throwErrno("send");
      if (put > 0) connection.sent += static_cast<std::uint64_t>(put);
      // The next edge comes when there is room again.
      if (put < static_cast<ssize_t>(size)) connection.writable = false;
    }
  }

  void receive(Connection& connection) {
    for (;;) {
      const ssize_t got = read(connection.fd, input_.get(), kInputBytes);
      if (got < 0 && errno == EAGAIN) return;
      if (got < 0) bench::throwErrno("read");
      const auto size = static_cast<std::size_t>(got);
      check(connection, size);
      connection.received += size;
      finish(connection, now());
      // A short read has emptied the socket; what comes later is another edge.
      if (connection.fd < 0 || size < kInputBytes) return;
    }
  }

  void check(const Connection& connection, std::size_t size) const {
    const char* wrong = nullptr;
    if (size == 0) {
      wrong = "the server closed";
    } else if (connection.received + size > connection.sent) {
      wrong = "more came back than was sent";
    } else if (std::memcmp(input_.get(), pattern_.at(connection.number, connection.received),
                           size) != 0) {
      wrong = "wrong bytes";
    }
    if (wrong == nullptr) return;
    throw std::runtime_error(wrong + (" on connection " + std::to_string(connection.number)) +
                             " after " + std::to_string(connection.received) + " bytes");
  }

  void finish(Connection& connection, Nanoseconds time) {
    while ((connection.done + 1) * options_.size <= connection.received) {
      if (begin_.time != 0 && end_.time == 0)
        latency_.add(time - connection.beginnings[connection.done % options_.pipeline]);
      ++connection.done;
      ++done_;
      if (options_.messages == 0) continue;
      if (done_ == warmUpMessages()) mark(begin_, time);
      if (done_ == warmUpMessages() + options_.messages) mark(end_, time);
    }
    if (options_.mode == bench::Mode::echo) return begin(connection, time);
    if (connection.done == 0) return;
    (void)close(connection.fd);
    connection.fd = -1;
    if (mayBegin()) open(connection);
  }

  void report() const {
    const double elapsed = static_cast<double>(end_.time - begin_.time) / 1e9;
    const std::uint64_t messages = end_.messages - begin_.messages;
    const auto count = static_cast<double>(messages);
    const double serverCpu = end_.serverCpu - begin_.serverCpu;
    const auto us = [](double nanoseconds) { return nanoseconds / 1e3; };
    std::printf("{\"mode\": \"%s\", \"size\": %zu, \"connections\": %zu, \"pipeline\": %zu, ",
                options_.mode == bench::Mode::echo ? "echo" : "connect", options_.size,
                options_.connections, options_.pipeline);
    std::printf("\"idle\": %zu, \"seconds\": %.6f, \"messages\": %llu, ", idle_.size(), elapsed,
                static_cast<unsigned long long>(messages));
    std::printf("\"messages_per_second\": %.1f, \"bytes_per_second\": %.0f, ", count / elapsed,
                count * static_cast<double>(options_.size) / elapsed);
    std::printf("\"p50_us\": %.2f, \"p90_us\": %.2f, \"p99_us\": %.2f, \"max_us\": %.2f, ",
                us(latency_.quantile(0.5)), us(latency_.quantile(0.9)), us(latency_.quantile(0.99)),
                us(static_cast<double>(latency_.max())));
    std::printf("\"client_cpu_us\": %.0f, \"server_cpu_us\": %.0f, ", end_.ownCpu - begin_.ownCpu,
                serverCpu);
    std::printf("\"server_cpu_us_per_message\": %.4f, \"server_rss\": %llu, \"errors\": 0}\n",
                count > 0 ? serverCpu / count : 0.0,
                static_cast<unsigned long long>(probe_.resident()));
  }

  const bench::LoadOptions options_;
  const bench::ServerProbe probe_;
  const bench::Pattern pattern_;
  const int epoll_;
  std::vector<Connection> connections_;
  std::vector<int> idle_;
  const std::unique_ptr<char[]> input_;
  std::uint64_t begun_ = 0;  // messages, of all connections
  std::uint64_t done_ = 0;
  Nanoseconds measureFrom_ = 0;
  Nanoseconds lastProgress_ = 0;
  Mark begin_;
  Mark end_;
  bench::Histogram latency_;
};

}  // namespace

int main(int argc, char** argv) {
  const bench::LoadOptions options = bench::parseLoadOptions(argc, argv);
  const std::uint64_t limit = bench::raiseDescriptorLimit();
  if (limit < options.idle + options.connections + 120) {
    std::fprintf(stderr, "load-client: %zu connections, but only %llu descriptors\n",
                 options.idle + options.connections, static_cast<unsigned long long>(limit));
    return 2;
  }
  try {
    LoadClient(options).run();
    return 0;
  } catch (const std::exception& e) {
    std::printf("{\"errors\": 1, \"first_error\": \"%s\"}\n", e.what());
    std::fprintf(stderr, "load-client: %s\n", e.what());
    return 1;
  }
}
