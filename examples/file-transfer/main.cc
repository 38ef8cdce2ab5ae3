// Sends a file to everyone who connects, in one of three ways, or takes files from them. What to
// look at: what a client costs in each way (Source.cc), and how an upload is kept from doing harm
// (Receiver.cc).

#include <signal.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>

#include "common/Program.h"
#include "file-transfer/Receiver.h"
#include "file-transfer/Source.h"

namespace {

struct Settings {
  std::string file;
  std::string how = "chunks";
  std::string directory;
  std::size_t maxBytes = 1 << 30;
  unsigned stallSeconds = 30;
};

void serveFile(const common::ServerOptions& options, const Settings& settings) {
  const transfer::Source source(settings.file);
  const rung::InetAddress address(options.address, options.port);
  const std::chrono::seconds stall(settings.stallSeconds);
  rung::EventLoop loop;
  rung::TcpServer server(&loop, address, "file-transfer");
  server.setThreadNum(options.threads);
  server.setIdleTimeout(stall);
  if (settings.how == "whole") {
    transfer::sendWhole(server, source);
  } else if (settings.how == "sendfile") {
    transfer::sendDescriptor(server, source);
  } else {
    transfer::sendChunks(server, source);
  }
  common::serve(loop, {&server});
}

void receiveFiles(const common::ServerOptions& options, const Settings& settings) {
  (void)::signal(SIGXFSZ, SIG_IGN);  // beyond a limit of the process, write(2) shall say EFBIG
  transfer::Receiver receiver(settings.directory, settings.maxBytes);
  rung::EventLoop loop;
  rung::TcpServer server(&loop, rung::InetAddress(options.address, options.port), "file-transfer");
  server.setThreadNum(options.threads);
  server.setIdleTimeout(std::chrono::seconds(settings.stallSeconds));
  receiver.attach(server);
  common::serve(loop, {&server});
}

}  // namespace

int main(int argc, char** argv) {
  common::ServerOptions options("file-transfer",
                                "Sends a file to everyone who connects, or takes files from them.");
  Settings settings;
  options.add("file", "PATH", "what to send", settings.file);
  options.add("how", "WAY", "whole, chunks or sendfile", settings.how);
  options.add("receive", "DIR", "where to put what clients send", settings.directory);
  options.add("max-size", "BYTES", "largest file to receive", settings.maxBytes, 0,
              std::size_t{1} << 50);
  options.add("stall-seconds", "N", "cut clients that stand still for so long",
              settings.stallSeconds, 1, 1'000'000);
  options.parse(argc, argv);
  if (settings.how != "whole" && settings.how != "chunks" && settings.how != "sendfile") {
    options.refuse("--how: '" + settings.how + "' is not whole, chunks or sendfile");
  }
  if (settings.file.empty() == settings.directory.empty()) {
    options.refuse("give either --file or --receive");
  }
  return common::run(options, [&] {
    if (settings.directory.empty()) {
      serveFile(options, settings);
    } else {
      receiveFiles(options, settings);
    }
  });
}
