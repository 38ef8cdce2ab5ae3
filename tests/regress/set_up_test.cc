// Set-up that fails must throw, and leave nothing behind that makes the next try fail as well.

#include <doctest/doctest.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>

#include "rung/base/AsyncLogging.h"
#include "rung/base/ThreadPool.h"
#include "rung/net/EventLoop.h"
#include "rung/net/EventLoopThread.h"
#include "rung/net/InetAddress.h"
#include "rung/net/SignalFd.h"
#include "rung/net/TcpConnection.h"
#include "rung/net/TcpServer.h"

#include "tests/faults/Faults.h"
#include "tests/support/ChildProcess.h"
#include "tests/support/Client.h"
#include "tests/support/Process.h"
#include "tests/support/TempDirectory.h"

using namespace rung::testing;
using rung::EventLoop;
using rung::InetAddress;
using rung::TcpServer;

namespace {

// Each descriptor, and each watch, that a loop needs is refused in turn. A loop that had failed at
// its second watch left the thread with a pointer to it: the next one aborted, because "thread has
// an EventLoop already".
TEST_CASE("regress: a loop that cannot be made throws, and the thread can make one later") {
  const std::size_t before = descriptorCount();
  for (const Call call :
       {Call::epollCreate1, Call::eventfd, Call::timerfdCreate, Call::epollCtlAdd}) {
    for (std::size_t successes = 0; successes < 2; ++successes) {
      CAPTURE(nameOf(call));
      CAPTURE(successes);
      std::vector<int> script(successes, 0);
      script.push_back(ENOMEM);
      bool threw = false;
      Faults::arm(FaultPlan::scriptOf(call, script));
      try {
        const EventLoop loop;
      } catch (const std::system_error& e) {
        threw = true;
        CHECK(e.code().value() == ENOMEM);
      }
      CHECK(threw == (Faults::disarm().injected > 0));
      REQUIRE(EventLoop::ofCurrentThread() == nullptr);
      const EventLoop again;
    }
  }
  CHECK(descriptorCount() == before);
}

// start() threw, because the listening socket could not be watched. The second start() then did
// nothing, without a word, and nobody listened.
TEST_CASE("regress: a server whose start failed can be started again") {
  EventLoop loop;
  TcpServer server(&loop, InetAddress::loopback(0), "again");
  // The kernel completes a connection as soon as somebody listens; that it is served shows here.
  bool served = false;
  server.setConnectionCallback([&](const rung::TcpConnectionPtr& connection) {
    served = true;
    if (!connection->connected()) loop.quit();
  });
  Faults::arm(FaultPlan::scriptOf(Call::epollCtlAdd, {ENOSPC}));
  CHECK_THROWS_AS(server.start(), std::system_error);
  Faults::disarm();
  server.start();
  Client client(server.listenAddress());
  CHECK(client.connected());
  client.close();
  loop.runAfter(std::chrono::seconds(10), [&] { loop.quit(); });
  loop.loop();
  CHECK(served);
}

// A malformed address was logged, and the server listened on 0.0.0.0. C functions read up to a zero
// byte, and what stood behind it was ignored: in the interface of a scope, here.
TEST_CASE("regress: an address with a zero byte in any place is refused") {
  using namespace std::string_view_literals;
  for (const std::string_view text : {"127.0.0.1\0"sv, "127.0.0.1\0.1"sv, "\0"sv, "::1\0"sv,
                                      "fe80::1%lo\0"sv, "fe80::1%lo\0garbage"sv, "fe80::1%1\0"sv}) {
    CAPTURE(std::string(text));
    CHECK_THROWS_AS(InetAddress(text, 80), std::invalid_argument);
  }
}

// A helper thread that was started first did not block the signal, and so the kernel gave it to
// that thread: SIGTERM killed the process, and log lines that waited were lost.
TEST_CASE("regress: a SignalFd made after all kinds of threads gets its signal") {
  const TempDirectory directory;
  const auto child = runInChild([&] {
    rung::AsyncLogging log({.file = {.baseName = directory / "log"}});
    log.start();
    log.attach();
    rung::ThreadPool pool;
    pool.start(2);
    rung::EventLoopThread thread;
    thread.startLoop();
    EventLoop loop;
    int got = 0;
    const rung::SignalFd signals(&loop, {SIGTERM}, [&](int signal) {
      got = signal;
      loop.quit();
    });
    loop.queueInLoop([] { (void)kill(getpid(), SIGTERM); });
    loop.loop();
    _exit(got == SIGTERM ? 7 : 1);
  });
  CHECK_MESSAGE(child.exitedWith(7), child.output);
}

}  // namespace
