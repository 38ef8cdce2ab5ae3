// A TCP relay: what comes in goes on to another address, and back. What to look at: back-pressure
// from end to end, in both directions independently; ends of stream that are passed on one by one;
// and a client for each connection, destroyed in its own callbacks (Relay.cc).

#include <cstdint>
#include <stdexcept>
#include <string>

#include "common/Program.h"
#include "relay/Relay.h"

int main(int argc, char** argv) {
  common::ServerOptions options("relay", "Passes connections on to another address.");
  relay::Settings settings;
  std::string target;
  unsigned connectSeconds = 5;
  unsigned idleSeconds = 0;
  options.add("to", "A:PORT", "where to, such as 127.0.0.1:80 or [::1]:80", target);
  options.add("high-water", "BYTES", "waiting for one side at which the other is not read",
              settings.highWaterBytes, 1, std::size_t{1} << 40);
  options.add("connect-seconds", "N", "how long the onward connection may take", connectSeconds, 1,
              3600);
  options.add("idle-seconds", "N", "close clients that are idle for so long; 0: never", idleSeconds,
              0, 1'000'000);
  options.parse(argc, argv);
  if (target.empty()) options.refuse("--to is missing");
  try {
    settings.target = rung::InetAddress::parse(target);
  } catch (const std::invalid_argument& e) {
    options.refuse(std::string("--to: ") + e.what());
  }
  if (settings.target.port() == 0) options.refuse("--to: '" + target + "' has no port");
  settings.connectTimeout = std::chrono::seconds(connectSeconds);
  settings.idleTimeout = std::chrono::seconds(idleSeconds);
  return common::run(options, [&] {
    rung::EventLoop loop;
    relay::Relay relay(&loop, rung::InetAddress(options.address, options.port), options.threads,
                       settings);
    common::serve(loop, {&relay.server()});
  });
}
