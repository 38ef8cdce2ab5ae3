// Computation off the I/O threads: a line with a number is answered with its prime factors.

#include "common/Program.h"
#include "worker-pool/FactorServer.h"

int main(int argc, char** argv) {
  int workers = 2;
  std::size_t queue = 64;
  common::ServerOptions options("worker-pool",
                                "Answers each line that holds a number with its prime factors.");
  options.add("workers", "N", "threads that compute", workers, 1, 256);
  options.add("queue", "N", "requests that may wait for a worker; beyond that it is busy", queue, 1,
              1'000'000);
  options.parse(argc, argv);
  return common::run(options, [&] {
    rung::EventLoop loop;
    FactorServer server(&loop, rung::InetAddress(options.address, options.port), queue);
    server.start(options.threads, workers);
    common::serve(loop, {&server.tcp()},
                  [&](std::function<void()> stop) { server.finish(std::move(stop)); });
  });
}
