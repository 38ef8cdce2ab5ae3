#pragma once

// What the examples have in common: options on the command line, a log on stderr, servers that end
// in an orderly way on a signal, and a last word to a peer that broke the rules.

#include <getopt.h>
#include <signal.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "rung/base/Logging.h"
#include "rung/net/EventLoop.h"
#include "rung/net/SignalFd.h"
#include "rung/net/TcpConnection.h"
#include "rung/net/TcpServer.h"

namespace common {

/// How long connections may take to read what they are owed when the server stops.
constexpr std::chrono::seconds kDrainTime{3};
/// How long a peer that was dismissed may take to go.
constexpr std::chrono::seconds kLingerTime{1};

/// The options of a program. Each is added with the variable that it sets, whose value at that
/// moment is the default.
class Options {
 public:
  /// `about` is what --help says under the usage line.
  Options(std::string program, std::string about)
      : program_(std::move(program)), about_(std::move(about)) {}
  Options(const Options&) = delete;
  Options& operator=(const Options&) = delete;

  bool verbose = false;
  std::string logLevel = "info";

  /// A number from `least` to `most`; a double may have a fraction.
  template <class Number>
  void add(std::string name, std::string unit, std::string help, Number& value,
           std::type_identity_t<Number> least, std::type_identity_t<Number> most) {
    known_.push_back({name, std::move(unit), std::move(help) + " (" + text(value) + ")",
                      [this, name, &value, least, most](std::string_view given) {
                        value = number<Number>("--" + name, given, least, most);
                      }});
  }
  void add(std::string name, std::string unit, std::string help, std::string& value) {
    if (!value.empty()) help += " (" + value + ")";
    known_.push_back({std::move(name), std::move(unit), std::move(help),
                      [&value](std::string_view given) { value = given; }});
  }
  void add(std::string name, std::string help, bool& flag) {
    known_.push_back(
        {std::move(name), "", std::move(help), [&flag](std::string_view) { flag = true; }});
  }

  /// Sets the variables. Prints the usage and exits with 0 for --help, with 2 for what it does not
  /// understand.
  void parse(int argc, char** argv) {
    std::vector<option> table;
    for (const Known& known : known_) {
      const int argument = known.unit.empty() ? no_argument : required_argument;
      table.push_back({known.name.c_str(), argument, nullptr, 0});
    }
    table.push_back({"help", no_argument, nullptr, 'h'});
    table.push_back({});
    int index = 0;
    for (int c; (c = getopt_long(argc, argv, "", table.data(), &index)) != -1;) {
      if (c != 0) {  // if it is not --help, getopt has said what is wrong
        std::fputs(usage().c_str(), c == 'h' ? stdout : stderr);
        std::exit(c == 'h' ? 0 : 2);
      }
      known_[static_cast<std::size_t>(index)].set(optarg == nullptr ? "" : optarg);
    }
    if (optind < argc) refuse("unexpected argument '" + std::string(argv[optind]) + "'");
  }

  /// For what only the program itself can judge. `what` names the option.
  [[noreturn]] void refuse(const std::string& what) const {
    std::fprintf(stderr, "%s: %s\n%s", program_.c_str(), what.c_str(), usage().c_str());
    std::exit(2);
  }

  [[nodiscard]] const std::string& program() const { return program_; }

 private:
  struct Known {
    std::string name;
    std::string unit;  // of its argument; empty for a flag
    std::string help;
    std::function<void(std::string_view)> set;
  };

  template <class Number>
  static std::string text(Number value) {
    char digits[32];
    return {digits, std::to_chars(digits, digits + sizeof digits, value).ptr};
  }

  template <class Number>
  Number number(const std::string& name, std::string_view given, Number least, Number most) const {
    Number value{};
    const auto [end, error] = std::from_chars(given.data(), given.data() + given.size(), value);
    const bool whole = error == std::errc() && end == given.data() + given.size();
    if (!whole || !(value >= least && value <= most)) {  // so that "nan" is refused, too
      refuse(name + ": '" + std::string(given) + "' is not a number from " + text(least) + " to " +
             text(most));
    }
    return value;
  }

  [[nodiscard]] std::string usage() const {
    std::string result = "usage: " + program_ + " [OPTION...]\n" + about_ + "\n\n";
    for (const Known& known : known_) {
      std::string left = "  --" + known.name + (known.unit.empty() ? "" : " " + known.unit);
      left.resize(std::max<std::size_t>(left.size() + 2, 22), ' ');
      result += left + known.help + "\n";
    }
    return result + "  --help              this text\n";
  }

  const std::string program_;
  const std::string about_;
  std::vector<Known> known_;
};

/// Those of a program that listens.
class ServerOptions : public Options {
 public:
  ServerOptions(std::string program, std::string about)
      : Options(std::move(program), std::move(about)) {
    add("address", "A", "IPv4 or IPv6 address to listen on", address);
    add("port", "N", "port to listen on; 0 picks a free one", port, 0, 65535);
    add("threads", "N", "I/O threads; with 0 the main thread serves all", threads, 0, 256);
    add("log-level", "LEVEL", "lowest level on stderr: trace, debug, info, warn, error or fatal",
        logLevel);
    add("verbose", "more lines on stderr: connections that come and go", verbose);
  }

  std::string address = "127.0.0.1";
  std::uint16_t port = 0;
  int threads = 0;
};

/// Runs `body` as the program, and returns its exit status: 1 if it throws, with the reason on
/// stderr. The log goes to stderr, since stdout is for what a script wants to read: the port.
/// Before any thread, because threads inherit that SIGINT and SIGTERM are blocked; they are for
/// serve() alone.
inline int run(const Options& options, const std::function<void()>& body) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  (void)pthread_sigmask(SIG_BLOCK, &signals, nullptr);  // fails for a bad first argument only
  try {
    rung::Logger::setLevel(rung::Logger::parseLevel(options.verbose ? "debug" : options.logLevel));
  } catch (const std::invalid_argument& e) {
    options.refuse(std::string("--log-level: ") + e.what());
  }
  rung::Logger::setOutput(
      [](std::string_view line) { (void)std::fwrite(line.data(), 1, line.size(), stderr); });
  try {
    body();
    return 0;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s: %s\n", options.program().c_str(), e.what());
    return 1;
  }
}

/// For work that should be finished before the servers stop: called at the first signal, it has
/// kDrainTime to call `stop`, on the loop's thread.
using BeforeStop = std::function<void(std::function<void()> stop)>;

/// Starts the servers, prints where they listen, and runs the loop until SIGINT or SIGTERM. Then
/// connections get what they are owed and end; those that are left after kDrainTime are cut. A
/// second signal ends it at once.
inline void serve(rung::EventLoop& loop, const std::vector<rung::TcpServer*>& servers,
                  const BeforeStop& beforeStop = {}) {
  std::size_t running = servers.size();
  rung::TcpServer::StopResult total;
  bool stopping = false;
  const auto stop = [&] {
    if (std::exchange(stopping, true)) return;
    for (rung::TcpServer* server : servers) {
      server->stop(kDrainTime, [&](rung::TcpServer::StopResult result) {
        total.drained += result.drained;
        total.cut += result.cut;
        if (--running > 0) return;
        LOG_INFO << "stopped: " << total.drained << " drained, " << total.cut << " cut";
        loop.quit();
      });
    }
  };
  bool asked = false;
  const rung::SignalFd signals(&loop, {SIGINT, SIGTERM}, [&](int signal) {
    if (std::exchange(asked, true)) return loop.quit();
    std::size_t connections = 0;
    for (const rung::TcpServer* server : servers)
      connections += server->connectionCount();
    LOG_INFO << "signal " << signal << ", stopping with " << connections << " connections";
    if (!beforeStop) return stop();
    loop.runAfter(kDrainTime, stop);
    beforeStop(stop);
  });
  for (rung::TcpServer* server : servers)
    server->start();
  for (const rung::TcpServer* server : servers) {
    const std::string which = servers.size() > 1 ? " for " + server->name() : "";
    std::printf("listening on %s%s\n", server->listenText().c_str(), which.c_str());
  }
  std::fflush(stdout);
  loop.loop();
}

/// A line for each connection that comes and goes, and why, if --verbose asks for it.
inline void logConnection(const rung::TcpConnectionPtr& connection) {
  const std::string peer = connection->peerAddress().toIpPort();
  if (connection->connected()) {
    LOG_DEBUG << peer << " up";
  } else {
    LOG_DEBUG << peer << " down: " << rung::nameOf(connection->closeReason());
  }
}

/// Sends the last words to a peer that broke the rules, and gives it kLingerTime to read them and
/// go. What it sends meanwhile is thrown away: see TcpConnection::close().
inline void dismiss(const rung::TcpConnectionPtr& connection, std::string_view words) {
  connection->send(words);
  connection->close(kLingerTime);
}

}  // namespace common
