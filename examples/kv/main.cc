// A store for the clients of Redis. Server.h is where to begin; README.md tells how it is built.

#include "common/Program.h"
#include "kv/Server.h"

int main(int argc, char** argv) {
  std::string address = "127.0.0.1";
  std::uint16_t port = 0;
  std::size_t maxMemory = 1024;
  common::Options options("kv", "A store of keys and values, for the clients of Redis.");
  options.add("address", "A", "IPv4 or IPv6 address to listen on", address);
  options.add("port", "N", "port to listen on; 0 picks a free one", port, 0, 65535);
  options.add("max-memory", "MIB", "keys and values; beyond that SET is refused", maxMemory, 1,
              SIZE_MAX >> 20U);
  options.add("verbose", "more lines on stderr: connections that come and go", options.verbose);
  options.parse(argc, argv);
  return common::run(options, [&] {
    rung::EventLoop loop;
    kv::Server server(&loop, rung::InetAddress(address, port), maxMemory << 20U);
    common::serve(loop, {&server.tcp()});
  });
}
