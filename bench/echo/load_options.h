#pragma once

#include <cstdint>
#include <string>

#include "bench/arguments.h"

namespace bench {

enum class Mode { echo, connect, idle };

struct LoadOptions {
  std::uint16_t port = 0;
  Mode mode = Mode::echo;
  std::size_t size = 64;
  std::size_t connections = 100;
  std::size_t pipeline = 1;
  std::size_t idle = 0;
  double seconds = 2;
  double warmUp = 0.3;
  std::uint64_t messages = 0;  // instead of seconds, if not 0
  int serverPid = 0;
};

inline constexpr const char* kLoadUsage =
    "usage: load-client --port N [--mode echo|connect|idle] [OPTION VALUE]...\n"
    "Sends messages to an echo server on 127.0.0.1, checks every byte that comes back, and prints\n"
    "what it saw as JSON. Exit status 1 if anything went wrong.\n"
    "  --mode M         echo: messages on connections that stay (default)\n"
    "                   connect: connect, one message, close, and again\n"
    "                   idle: open --idle connections, one message each, and look at the memory\n"
    "  --size N         bytes a message (64)\n"
    "  --connections N  how many at a time (100)\n"
    "  --pipeline N     messages on their way on each connection; echo mode (1)\n"
    "  --idle N         connections that stay open beside those, after one message each (0)\n"
    "  --seconds S      how long to measure (2)\n"
    "  --warm-up S      how long to run before that (0.3)\n"
    "  --messages N     measure that many messages, after two a connection, instead of a time\n"
    "  --server-pid P   also report CPU and memory of that process, and send it SIGUSR1 when the\n"
    "                   measurement begins and ends, so that a bench server prints its "
    "accounting\n";

inline LoadOptions parseLoadOptions(int argc, char** argv) {
  Arguments arguments(argc, argv, "", kLoadUsage);
  LoadOptions options;
  options.port = static_cast<std::uint16_t>(arguments.number("--port", 0, 1, 65535));
  const std::string mode = arguments.text("--mode", "echo");
  options.size = arguments.number("--size", options.size, 1, 1 << 28);
  options.connections = arguments.number("--connections", options.connections, 1, 1'000'000);
  options.pipeline = arguments.number("--pipeline", options.pipeline, 1, 100'000);
  options.idle = arguments.number("--idle", options.idle, 0, 1'000'000);
  options.seconds = arguments.real("--seconds", options.seconds, 0.01, 86400);
  options.warmUp = arguments.real("--warm-up", options.warmUp, 0, 86400);
  options.messages = arguments.number("--messages", options.messages, 1, UINT64_MAX / 4);
  options.serverPid = static_cast<int>(arguments.number("--server-pid", 0, 1, INT32_MAX));
  arguments.refuseOthers();

  if (options.port == 0) arguments.refuse("--port is missing");
  if (mode == "connect") {
    options.mode = Mode::connect;
    if (options.pipeline != 1) arguments.refuse("--pipeline is for --mode echo");
  } else if (mode == "idle") {
    options.mode = Mode::idle;
    if (options.idle == 0) arguments.refuse("--mode idle needs --idle");
    if (options.serverPid == 0) arguments.refuse("--mode idle needs --server-pid");
  } else if (mode != "echo") {
    arguments.refuse("--mode: '" + mode + "' is none of echo, connect, idle");
  }
  return options;
}

}  // namespace bench
