// At most so many connections, and what becomes of those beyond; more input than a message needs.

#include <doctest/doctest.h>
#include <poll.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "rung/base/LogLimit.h"
#include "rung/net/TcpConnection.h"
#include "rung/net/TcpServer.h"

#include "tests/support/Client.h"
#include "tests/support/LogTrap.h"
#include "tests/support/ServerThread.h"

using rung::CloseReason;
using rung::TcpConnectionPtr;
using rung::TcpServer;
using rung::testing::Client;
using rung::testing::echo;
using rung::testing::eventually;
using rung::testing::LogTrap;
using rung::testing::ServerThread;

using namespace std::chrono_literals;

namespace {

/// How often `text` has `part`.
int count(const std::string& text, const std::string& part) {
  int found = 0;
  for (auto at = text.find(part); at != text.npos; at = text.find(part, at + 1))
    ++found;
  return found;
}

bool echoes(Client& client) {
  return client.send("x") && client.receive(1) == "x";
}

TEST_CASE("TcpServer maxConnections: those beyond it are reset and counted, one line in the log") {
  LogTrap log;
  ServerThread server(
      [](TcpServer& s) {
        s.setMessageCallback(echo);
        s.setMaxConnections(3);
      },
      2);
  std::vector<std::unique_ptr<Client>> served;
  for (int i = 0; i < 3; ++i) {
    served.push_back(std::make_unique<Client>(server.address()));
    CHECK(echoes(*served.back()));
  }
  for (int i = 0; i < 5; ++i) {
    Client client(server.address());
    CHECK(client.receiveAll().empty());
    CHECK(client.lastError() == ECONNRESET);
  }
  CHECK(server.server().stats().refusedOverLimit == 5);
  CHECK(server.server().stats().open == 3);
  CHECK(count(LogTrap::take(), " WARN ") == 1);
  for (const auto& client : served)
    CHECK(echoes(*client));

  served.pop_back();
  CHECK(eventually([&] { return server.server().stats().open == 2; }));
  Client next(server.address());
  CHECK(echoes(next));
}

TEST_CASE("TcpServer maxConnections: wait: they stay in the kernel's queue until one ends") {
  ServerThread server(
      [](TcpServer& s) {
        s.setMessageCallback(echo);
        s.setMaxConnections(2, TcpServer::Beyond::wait);
      },
      2);
  auto first = std::make_unique<Client>(server.address());
  Client second(server.address());
  CHECK(echoes(*first));
  CHECK(echoes(second));
  Client third(server.address());
  CHECK(third.connected());  // the kernel has told it so
  CHECK(third.send("x"));
  pollfd answer{third.fd(), POLLIN, 0};
  CHECK(::poll(&answer, 1, 250) == 0);  // longer than a pause of the Acceptor
  CHECK(server.server().stats().accepted == 2);
  first.reset();
  CHECK(third.receive(1) == "x");
  CHECK(server.server().stats().refusedOverLimit == 0);
  CHECK(server.server().stats().accepted == 3);
}

// Each waits for its predecessor. If nobody told the Acceptor of an end, it would find out after
// its pause only, each time. On a busy machine the fastest of them tells.
TEST_CASE("TcpServer maxConnections: wait: an end lets the next one in at once") {
  ServerThread server(
      [](TcpServer& s) {
        s.setMessageCallback(echo);
        s.setMaxConnections(1, TcpServer::Beyond::wait);
      },
      1);
  auto fastest = std::chrono::steady_clock::duration::max();
  auto served = std::make_unique<Client>(server.address());
  CHECK(echoes(*served));
  for (int i = 0; i < 8; ++i) {
    auto next = std::make_unique<Client>(server.address());
    std::this_thread::sleep_for(1ms);  // so that the Acceptor meets it while there is no room
    const auto begin = std::chrono::steady_clock::now();
    served = std::move(next);
    CHECK(echoes(*served));
    fastest = std::min(fastest, std::chrono::steady_clock::now() - begin);
  }
  CHECK(fastest < rung::Acceptor::kPause / 2);
  CHECK(server.server().stats().accepted == 9);
}

TEST_CASE("TcpServer maxConnections: never more than that, however many come to several loops") {
  for (const auto beyond : {TcpServer::Beyond::refuse, TcpServer::Beyond::wait}) {
    const LogTrap log;
    std::atomic<int> open{0};
    std::atomic<int> most{0};
    std::atomic<int> served{0};
    ServerThread server(
        [&](TcpServer& s) {
          s.setMaxConnections(4, beyond);
          s.setMessageCallback(echo);
          s.setConnectionCallback([&](const TcpConnectionPtr& c) {
            if (!c->connected()) {
              --open;
              return;
            }
            const int now = ++open;
            for (int before = most; before < now && !most.compare_exchange_weak(before, now);) {
            }
            ++served;
          });
        },
        3);
    std::vector<std::thread> threads;
    for (int t = 0; t < 8; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i < 30; ++i) {
          Client client(server.address());
          (void)echoes(client);
        }
      });
    }
    for (std::thread& thread : threads)
      thread.join();
    CHECK(eventually([&] { return server.server().stats().open == 0; }));
    CHECK(most.load() <= 4);
    const rung::ServerStats stats = server.server().stats();
    CHECK(stats.accepted == 240);
    CHECK(stats.accepted == static_cast<std::uint64_t>(served) + stats.refusedOverLimit);
    if (beyond == TcpServer::Beyond::wait) CHECK(stats.refusedOverLimit == 0);
  }
}

TEST_CASE("TcpServer maxConnections: may be set while the server runs; 0 is no limit") {
  const LogTrap log;
  ServerThread server([](TcpServer& s) {
    s.setMessageCallback(echo);
    s.setMaxConnections(1, TcpServer::Beyond::wait);
  });
  Client first(server.address());
  CHECK(echoes(first));
  Client waiting(server.address());
  CHECK(waiting.send("x"));
  server.server().setMaxConnections(0);
  CHECK(waiting.receive(1) == "x");
  server.server().setMaxConnections(1);
  Client refused(server.address());
  CHECK(refused.receiveAll().empty());
  CHECK(echoes(first));
  CHECK(echoes(waiting));
}

// The number and what becomes of those beyond it were two variables. Between accept(2) and the
// question whether there is room, another thread may change them.
TEST_CASE("TcpServer maxConnections: with wait nobody is reset, though the limit comes meanwhile") {
  const LogTrap log;
  for (const auto beyond : {TcpServer::Beyond::wait, TcpServer::Beyond::refuse}) {
    TcpServer* limited = nullptr;
    rung::EventLoopThread thread;
    rung::EventLoop* const loop = thread.startLoop();
    std::unique_ptr<TcpServer> server;
    ServerThread::runOn(loop, [&] {
      rung::ListenOptions options;
      options.prepareAccepted = [&](int) { limited->setMaxConnections(1, beyond); };
      server = std::make_unique<TcpServer>(loop, rung::InetAddress::loopback(0), "test", options);
      limited = server.get();
      server->setMessageCallback(echo);
      server->start();
    });
    Client first(server->listenAddress());
    CHECK(echoes(first));
    server->setMaxConnections(0);
    Client second(server->listenAddress());
    (void)second.send("x");  // the reset may be faster
    const bool served = second.receive(1) == "x";
    CHECK(served == (beyond == TcpServer::Beyond::wait));
    CHECK(server->stats().refusedOverLimit == (served ? 0 : 1));
    ServerThread::runOn(loop, [&] { server.reset(); });
  }
}

TEST_CASE("TcpServer maxConnections: wait: stop() resets those that still wait, and is answered") {
  ServerThread server([](TcpServer& s) {
    s.setMessageCallback(echo);
    s.setMaxConnections(1, TcpServer::Beyond::wait);
  });
  Client first(server.address());
  CHECK(echoes(first));
  Client waiting(server.address());
  std::atomic<bool> answered{false};
  server.server().stop(10s, [&](TcpServer::StopResult result) {
    CHECK(result.drained == 1);
    answered = true;
  });
  CHECK(waiting.receiveAll().empty());
  CHECK(waiting.lastError() == ECONNRESET);
  first.shutdownWrite();
  CHECK(eventually([&] { return answered.load(); }));
}

TEST_CASE("maxInput: 1 MiB by default; its ends are counted, and the log has one line a minute") {
  LogTrap log;
  ServerThread server([](TcpServer& s) {
    s.setMessageCallback([](const TcpConnectionPtr&, rung::Buffer&, auto) {});  // never enough
  });
  const std::string tooMuch(3 << 20, 'x');
  for (int i = 0; i < 3; ++i) {
    Client client(server.address());
    (void)client.send(tooMuch);
    (void)client.receiveAll();
  }
  CHECK(eventually([&] { return server.server().stats().endedBy(CloseReason::inputLimit) == 3; }));
  const std::string text = LogTrap::take();
  CHECK(count(text, " WARN ") <= 1);  // none, if a case before this one had the line
  CHECK(count(text, "test-127.0.0.1:") == count(text, " WARN "));
}

TEST_CASE("LogLimit: one line in each interval, with the number of those that it held back") {
  rung::LogLimit limit(10s);
  const rung::LogLimit::Clock::time_point start(1h);
  CHECK(limit.next(start) == 0);
  CHECK_FALSE(limit.next(start));
  CHECK_FALSE(limit.next(start + 9s));
  CHECK(limit.next(start + 10s) == 2);
  CHECK_FALSE(limit.next(start + 19s));
  CHECK(limit.next(start + 1min) == 1);
}

}  // namespace
