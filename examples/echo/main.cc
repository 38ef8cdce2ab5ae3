// An echo server. What to look at: callbacks, back-pressure, and a clean end on a signal.
//
// A client that sends and does not read its echo is held back: at --high-water bytes of output the
// library stops reading from it, and goes on when it has caught up.

#include <getopt.h>
#include <signal.h>

#include <any>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <string_view>

#include "rung/base/Logging.h"
#include "rung/net/EventLoop.h"
#include "rung/net/SignalFd.h"
#include "rung/net/TcpConnection.h"
#include "rung/net/TcpServer.h"

namespace {

constexpr std::chrono::seconds kDrainTime{3};

constexpr const char* kUsage =
    "usage: echo [--address A] [--port N] [--threads N] [--high-water BYTES] [--verbose]\n"
    "  --address A         IPv4 or IPv6 address to listen on (127.0.0.1)\n"
    "  --port N            port to listen on; 0 picks a free one (0)\n"
    "  --threads N         I/O threads; with 0 the main thread serves all (0)\n"
    "  --high-water BYTES  output waiting for a client from which on it is not read from "
    "(1048576)\n"
    "  --verbose           a line on stderr for each connection that comes and goes\n";

struct Options {
  std::string address = "127.0.0.1";
  std::uint16_t port = 0;
  int threads = 0;
  std::size_t highWater = 1 << 20;
  bool verbose = false;
};

[[noreturn]] void refuse(const std::string& what) {
  std::fprintf(stderr, "echo: %s\n%s", what.c_str(), kUsage);
  std::exit(2);
}

template <class Number>
Number number(const char* option, std::string_view text, Number least, Number most) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < least || value > most) {
    refuse(std::string(option) + ": '" + std::string(text) + "' is not a number from " +
           std::to_string(least) + " to " + std::to_string(most));
  }
  return value;
}

Options parse(int argc, char** argv) {
  const option known[] = {{"address", required_argument, nullptr, 'a'},
                          {"port", required_argument, nullptr, 'p'},
                          {"threads", required_argument, nullptr, 't'},
                          {"high-water", required_argument, nullptr, 'w'},
                          {"verbose", no_argument, nullptr, 'v'},
                          {"help", no_argument, nullptr, 'h'},
                          {}};
  Options options;
  for (int c; (c = getopt_long(argc, argv, "", known, nullptr)) != -1;) {
    switch (c) {
      case 'a':
        options.address = optarg;
        break;
      case 'p':
        options.port = number<std::uint16_t>("--port", optarg, 0, 65535);
        break;
      case 't':
        options.threads = number("--threads", optarg, 0, 256);
        break;
      case 'w':
        options.highWater = number<std::size_t>("--high-water", optarg, 1, 1UL << 40);
        break;
      case 'v':
        options.verbose = true;
        break;
      case 'h':
        std::fputs(kUsage, stdout);
        std::exit(0);
      default:
        std::fputs(kUsage, stderr);
        std::exit(2);  // getopt has said what is wrong
    }
  }
  if (optind < argc) refuse("unexpected argument '" + std::string(argv[optind]) + "'");
  return options;
}

thread_local int loopNumber = 0;  // 0 is the base loop, the others count from 1

void onConnection(const rung::TcpConnectionPtr& connection) {
  const std::string peer = connection->peerAddress().toIpPort();
  if (connection->connected()) {
    connection->setContext(std::size_t{0});
    LOG_DEBUG << peer << " up on loop " << loopNumber;
  } else {
    LOG_DEBUG << peer << " down after " << std::any_cast<std::size_t>(connection->context())
              << " bytes on loop " << loopNumber;
  }
}

void onMessage(const rung::TcpConnectionPtr& connection, rung::Buffer& buffer, rung::Timestamp) {
  *std::any_cast<std::size_t>(&connection->context()) += buffer.readableBytes();
  connection->send(buffer);
}

int run(const Options& options) {
  rung::EventLoop loop;
  rung::TcpServer server(&loop, rung::InetAddress(options.address, options.port), "echo");

  std::atomic<int> loops{0};
  server.setThreadNum(options.threads);
  server.setThreadInitCallback([&](rung::EventLoop* started) {
    if (started != &loop) loopNumber = ++loops;
  });
  server.setLimits({.highWaterMark = options.highWater, .lowWaterMark = options.highWater / 4});
  server.setConnectionCallback(onConnection);
  server.setMessageCallback(onMessage);

  bool stopping = false;
  const rung::SignalFd signals(&loop, {SIGINT, SIGTERM}, [&](int signal) {
    if (stopping) return loop.quit();  // asked twice: now
    stopping = true;
    LOG_INFO << "signal " << signal << ", stopping with " << server.connectionCount()
             << " connections";
    server.stop(kDrainTime, [&](rung::TcpServer::StopResult result) {
      LOG_INFO << "stopped: " << result.drained << " drained, " << result.cut << " cut";
      loop.quit();
    });
  });

  server.start();
  std::printf("listening on %s\n", server.listenAddress().toIpPort().c_str());
  std::fflush(stdout);
  loop.loop();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = parse(argc, argv);
  if (options.verbose) rung::Logger::setLevel(rung::LogLevel::debug);
  // stdout is for what a client of this program wants to read: the port.
  rung::Logger::setOutput(
      [](std::string_view line) { (void)std::fwrite(line.data(), 1, line.size(), stderr); });
  try {
    return run(options);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "echo: %s\n", e.what());
    return 1;
  }
}
