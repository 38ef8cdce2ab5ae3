// A server under all kinds of clients at once, for as long as one likes. See --help.

#include <malloc.h>
#include <sys/resource.h>

#include <array>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "tests/support/Client.h"
#include "tests/support/Process.h"
#include "tests/support/ServerThread.h"

using namespace std::chrono_literals;
using namespace rung::testing;

namespace {

constexpr const char* kUsage =
    "usage: soak [--seconds N]\n"
    "\n"
    "An echo server serves, for N seconds (5), clients that come and go, clients that reset, slow\n"
    "readers, clients that half-close, and clients that stay. Then nothing of them may be left, "
    "and\n"
    "not one byte may have been wrong. Prints TAP, and its figures.\n";

/// What the allocator may keep in pieces that are too small to give back.
constexpr std::size_t kToleranceBytes = 1 << 20;

enum Figure { kEchoes, kChurned, kResets, kSlowReads, kHalfCloses, kBytes, kWrong, kFigures };
constexpr const char* kNames[kFigures] = {"echoes on connections that stay",
                                          "connections that came and went",
                                          "resets",
                                          "slow readers",
                                          "half-closes",
                                          "bytes compared",
                                          "wrong or missing answers"};

std::array<std::atomic<std::uint64_t>, kFigures> figures{};
std::atomic<bool> ending{false};

/// Compares, and counts.
void expect(std::string_view got, std::string_view wanted, Figure figure) {
  ++figures[figure];
  figures[kBytes] += got.size();
  if (got != wanted) ++figures[kWrong];
}

void stay(const rung::InetAddress& server, unsigned seed) {
  std::minstd_rand random(seed);
  Client client(server);
  const std::string all = pattern(60000);
  while (!ending) {
    const std::string_view message =
        std::string_view(all).substr(0, random() % 5 == 0 ? 60000 : 1 + random() % 300);
    client.send(message);
    expect(client.receive(message.size()), message, kEchoes);
  }
}

void comeAndGo(const rung::InetAddress& server, unsigned) {
  while (!ending) {
    Client client(server);
    client.send("once");
    expect(client.receive(4), "once", kChurned);
  }
}

void reset(const rung::InetAddress& server, unsigned seed) {
  std::minstd_rand random(seed);
  const std::string much = pattern(50000);
  while (!ending) {
    Client client(server);
    client.send(std::string_view(much).substr(0, random() % much.size()));
    if (random() % 2 == 0) (void)client.receive(1);
    client.reset();
    ++figures[kResets];
    std::this_thread::sleep_for(200us);  // or most of the machine would do nothing else
  }
}

void readSlowly(const rung::InetAddress& server, unsigned) {
  const std::string much = pattern(2 << 20);
  while (!ending) {
    Client client(server, 4096);
    std::thread sender([&] { client.send(much); });
    std::string got;
    while (got.size() < much.size()) {
      const std::string piece =
          client.receive(std::min<std::size_t>(32768, much.size() - got.size()));
      if (piece.empty()) break;
      got += piece;
      std::this_thread::sleep_for(1ms);  // that is what makes it slow
    }
    sender.join();
    expect(got, much, kSlowReads);
  }
}

void halfClose(const rung::InetAddress& server, unsigned seed) {
  std::minstd_rand random(seed);
  const std::string all = pattern(200000);
  while (!ending) {
    Client client(server);
    const std::string_view message = std::string_view(all).substr(0, 1 + random() % all.size());
    client.send(message);
    client.shutdownWrite();
    expect(client.receiveAll(), message, kHalfCloses);
  }
}

void run(const rung::InetAddress& server, std::chrono::milliseconds duration) {
  ending = false;
  std::vector<std::thread> clients;
  unsigned seed = 0;
  for (const auto kind : {stay, stay, comeAndGo, reset, readSlowly, readSlowly, halfClose})
    clients.emplace_back(kind, server, ++seed);
  std::this_thread::sleep_for(duration);
  ending = true;
  for (std::thread& client : clients)
    client.join();
}

struct Level {
  std::size_t descriptors = 0;
  std::size_t resident = 0;
  std::size_t connections = 0;
};

Level levelOf(rung::TcpServer& server) {
  eventually([&] { return server.connectionCount() == 0; });
  malloc_trim(0);  // what is free shall not count
  return {descriptorCount(), residentBytes(), server.connectionCount()};
}

bool report(int number, bool good, const std::string& what) {
  std::printf("%s %d - soak: %s\n", good ? "ok" : "not ok", number, what.c_str());
  return good;
}

int soak(int seconds) {
  ServerThread server(
      [](rung::TcpServer& s) {
        s.setMessageCallback(echo);
        s.setLimits({.highWaterMark = 128 << 10, .lowWaterMark = 32 << 10});
      },
      2);
  run(server.address(), 500ms);  // so that what is made once is there
  const Level before = levelOf(server.server());
  for (auto& figure : figures)
    figure = 0;
  run(server.address(), std::chrono::seconds(seconds));
  const Level after = levelOf(server.server());
  const std::size_t grown = after.resident - std::min(before.resident, after.resident);
  const bool sanitized = std::getenv("RUNG_SANITIZED") != nullptr;  // keeps freed memory

  bool good = true;
  bool active = true;
  for (int i = 0; i < kBytes; ++i)
    active = active && figures[static_cast<std::size_t>(i)] > 0;
  good &= report(1, active, "every kind of client was there");
  good &= report(2, figures[kWrong] == 0, "not one byte was wrong or missing");
  good &= report(3, after.connections == 0, "no connection is left");
  good &= report(4, after.descriptors == before.descriptors, "as many descriptors as before");
  good &= report(5, sanitized || grown <= kToleranceBytes,
                 "at most " + std::to_string(kToleranceBytes >> 20) + " MiB more than before");
  std::printf("1..5\n# %d s\n", seconds);
  for (std::size_t i = 0; i < kFigures; ++i)
    std::printf("# %12llu %s\n", static_cast<unsigned long long>(figures[i].load()), kNames[i]);
  std::printf("# descriptors %zu -> %zu, resident %zu -> %zu KiB\n", before.descriptors,
              after.descriptors, before.resident / 1024, after.resident / 1024);
  return good ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  int seconds = 5;
  const auto refuse = [](const char* what) {
    std::fprintf(stderr, "soak: bad argument: %s\n%s", what, kUsage);
    return 2;
  };
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--help") == 0) {
      std::fputs(kUsage, stdout);
      return 0;
    }
    if (std::strcmp(argv[i], "--seconds") != 0 || i + 1 == argc) return refuse(argv[i]);
    const std::string_view text = argv[++i];
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
    if (error != std::errc() || end != text.data() + text.size() || seconds <= 0) {
      return refuse(argv[i]);
    }
  }
  // One heap: what each thread's own would keep is the allocator's, and would hide a leak.
  (void)mallopt(M_ARENA_MAX, 1);
  return soak(seconds);
}
