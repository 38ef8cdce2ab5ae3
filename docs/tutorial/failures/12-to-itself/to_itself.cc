// A client waits for a server of its own machine that is not up yet: it tries again and again. On
// stage 11 with a connect written by hand, on stage 12 with Connector.

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>
#include <system_error>

#include "rung/net/EventLoop.h"
#include "rung/net/Socket.h"
#include "rung/net/TcpServer.h"

#if __has_include("rung/net/Connector.h")
#include "rung/net/Connector.h"
#endif

namespace {

using rung::InetAddress;
using rung::Socket;

/// In most runs a tenth of that is enough.
constexpr int kMostAttempts = 200'000;
constexpr int kCannotRun = 77;

bool mayBind(const InetAddress& address) {
  Socket socket = Socket::create(AF_INET);
  socket.setReuseAddress(true);
  return bind(socket.fd(), address.data(), address.length()) == 0;
}

/// Nobody has it. It is one of the ports that the kernel also gives to clients, and an even one:
/// the odd ones are those of bind(2), as long as there are any.
InetAddress nobody() {
  for (;;) {
    Socket socket = Socket::create(AF_INET);
    socket.bind(InetAddress("127.0.0.1", 0));
    const InetAddress even("127.0.0.1", socket.localAddress().port() & ~1);
    if (mayBind(even)) return even;
  }
}

struct Outcome {
  Socket socket;
  std::string why;       // if there is none
  bool strange = false;  // not just refused
};

#if __has_include("rung/net/Connector.h")

Outcome tryOnce(rung::EventLoop& loop, const InetAddress& server) {
  Outcome outcome;
  rung::Connector connector(&loop);
  connector.connect(server, [&](rung::Connector::Result result) {
    outcome.socket = std::move(result.socket);
    if (result.failure) {
      outcome.strange = result.failure->tried.size() > 1;
      if (outcome.strange) outcome.why = result.failure->toText();
    }
    loop.quit();
  });
  loop.loop();
  return outcome;
}

#else

/// connect(2), wait until the socket is writable, ask for SO_ERROR: as many books show it.
Outcome tryOnce(rung::EventLoop&, const InetAddress& server) {
  Outcome outcome;
  Socket socket = Socket::create(AF_INET);
  if (connect(socket.fd(), server.data(), server.length()) != 0 && errno != EINPROGRESS) {
    return outcome;
  }
  pollfd watched{socket.fd(), POLLOUT, 0};
  if (poll(&watched, 1, -1) == 1 && socket.takeError() == 0) outcome.socket = std::move(socket);
  return outcome;
}

#endif

void talk(const Socket& socket) {
  const std::string question = "who are you?";
  char answer[64] = "";
  if (send(socket.fd(), question.data(), question.size(), MSG_NOSIGNAL) < 0) return;
  pollfd watched{socket.fd(), POLLIN, 0};
  poll(&watched, 1, 1000);
  const ssize_t n = recv(socket.fd(), answer, sizeof answer, 0);
  std::printf("the client: %s\nthe answer: %.*s\n", question.c_str(), static_cast<int>(n), answer);
}

void startServer(rung::EventLoop& loop, const InetAddress& address) {
  try {
    rung::TcpServer server(&loop, address, "late");
    server.start();
    std::printf("the server: listening\n");
  } catch (const std::system_error& e) {
    std::printf("the server: %s\n", e.code().message().c_str());
  }
}

}  // namespace

int main() {
  rung::EventLoop loop;
  const InetAddress address = nobody();
  for (int attempt = 1; attempt <= kMostAttempts; ++attempt) {
    const Outcome outcome = tryOnce(loop, address);
    if (!outcome.socket.valid() && !outcome.strange) continue;
    if (outcome.socket.valid()) {
      std::printf("attempt %d: connected to %s\n", attempt, address.toIpPort().c_str());
      talk(outcome.socket);
    } else {
      std::printf("attempt %d: %s\n", attempt, outcome.why.c_str());
    }
    startServer(loop, address);
    return 0;
  }
  std::printf("this kernel never chose the port\n");
  return kCannotRun;
}
