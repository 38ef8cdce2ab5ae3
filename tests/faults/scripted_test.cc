// System calls that fail as the test says, where no kernel can be brought to it: what is told, and
// that all goes on. Most run in a child, for what it writes.

#include <doctest/doctest.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "rung/base/AppendFile.h"
#include "rung/base/LogBuffer.h"
#include "rung/base/LogFile.h"
#include "rung/base/Logging.h"
#include "rung/net/Acceptor.h"
#include "rung/net/Channel.h"
#include "rung/net/EventLoop.h"
#include "rung/net/SignalFd.h"
#include "rung/net/TcpClient.h"

#include "tests/faults/Faults.h"
#include "tests/support/Asleep.h"
#include "tests/support/ChildProcess.h"
#include "tests/support/Client.h"
#include "tests/support/Listener.h"
#include "tests/support/QuietLog.h"
#include "tests/support/ServerThread.h"
#include "tests/support/Sockets.h"
#include "tests/support/TempDirectory.h"

/// What gethostname(2) answers: a name, or an error.
static std::string machineName;
static int machineNameError = 0;

extern "C" {
int __wrap_gethostname(char* name, std::size_t size);
int __wrap_gethostname(char* name, std::size_t size) {
  if (machineNameError != 0) {
    name[0] = '?';  // POSIX leaves open what is there then
    errno = machineNameError;
    return -1;
  }
  name[machineName.copy(name, size - 1)] = '\0';
  return 0;
}
}

using namespace rung::testing;
using rung::Acceptor;
using rung::Channel;
using rung::EventLoop;
using rung::InetAddress;
using rung::TcpConnectionPtr;
using rung::TcpServer;
using rung::Timestamp;

namespace {

constexpr int kShort = FaultPlan::kShort;
constexpr int kNothing = FaultPlan::kNothing;

/// Does `work` on another thread once the calling one sleeps in its loop, which it runs meanwhile.
void loopUntilAsleepThen(EventLoop& loop, const std::function<void()>& work) {
  std::thread other([&, sleeper = gettid()] {
    waitUntilAsleep(sleeper);
    work();
  });
  loop.loop();
  other.join();
}

TEST_CASE("scripted: a loop whose eventfd cannot be read says so, and runs what was posted") {
  const auto child = runInChild([] {
    EventLoop loop;
    Faults::arm(FaultPlan::scriptOf(Call::read, {EIO, EAGAIN, EINTR}));
    bool ran = false;
    loopUntilAsleepThen(loop, [&] {
      loop.queueInLoop([&] {
        ran = true;
        loop.quit();
      });
    });
    _exit(ran && Faults::disarm().injected > 0 ? 7 : 1);
  });
  CHECK_MESSAGE(child.exitedWith(7), child.output);
  CHECK(child.says("read from eventfd: Input/output error"));
}

// EAGAIN: the counter is at its limit, and so the loop is about to wake. It is not told.
TEST_CASE("scripted: a loop that cannot be woken says so, and runs what was posted when it wakes") {
  for (const int error : {EIO, EAGAIN}) {
    CAPTURE(strerrorname_np(error));
    const auto child = runInChild([error] {
      EventLoop loop;
      SocketPair pair;
      Channel channel(&loop, pair.ours.get());
      channel.setReadCallback([&](Timestamp) { channel.remove(); });
      channel.enableReading();
      bool ran = false;
      Faults::arm(FaultPlan::scriptOf(Call::write, {EINTR, error}));
      loopUntilAsleepThen(loop, [&] {
        loop.queueInLoop([&] {
          ran = true;
          loop.quit();
        });
        put(pair.theirs, "x");
      });
      _exit(ran && Faults::disarm().injected == 2 ? 7 : 1);
    });
    CHECK_MESSAGE(child.exitedWith(7), child.output);
    CHECK(child.says("write to eventfd: Input/output error") == (error == EIO));
  }
}

TEST_CASE("scripted: a timerfd that cannot be read says so, and its timers run") {
  const auto child = runInChild([] {
    EventLoop loop;
    loop.runAfter(std::chrono::seconds(0), [&] { loop.quit(); });
    Faults::arm(FaultPlan::scriptOf(Call::read, {EIO, EAGAIN, EINTR}));
    loop.loop();
    _exit(Faults::disarm().injected == 3 ? 7 : 1);
  });
  CHECK_MESSAGE(child.exitedWith(7), child.output);
  CHECK(child.says("read from timerfd: Input/output error"));
}

TEST_CASE("scripted: a signalfd that cannot be read says so, and the signal comes the next time") {
  const auto child = runInChild([] {
    EventLoop loop;
    int got = 0;
    const rung::SignalFd signals(&loop, {SIGUSR1}, [&](int signal) {
      got = signal;
      loop.quit();
    });
    (void)kill(getpid(), SIGUSR1);
    Faults::arm(FaultPlan::scriptOf(Call::read, {EIO, EAGAIN, EINTR}));
    loop.loop();
    _exit(got == SIGUSR1 && Faults::disarm().injected == 3 ? 7 : 1);
  });
  CHECK_MESSAGE(child.exitedWith(7), child.output);
  CHECK(child.says("read from signalfd: Input/output error"));
}

TEST_CASE("scripted: without SO_REUSEADDR and TCP_NODELAY it serves, and says so") {
  const auto child = runInChild([] {
    EventLoop loop;
    Faults::arm(FaultPlan::scriptOf(Call::setsockopt, {EPERM, EPERM}));
    Acceptor acceptor(&loop, InetAddress::loopback(0));
    Faults::disarm();
    acceptor.listen();
    _exit(Client(acceptor.localAddress()).connected() ? 7 : 1);
  });
  CHECK_MESSAGE(child.exitedWith(7), child.output);
  CHECK(child.says("setsockopt SO_REUSEADDR: Operation not permitted"));
  CHECK(child.says("setsockopt TCP_NODELAY: Operation not permitted"));
}

TEST_CASE("scripted: without SO_REUSEPORT, if one asks for it, the set-up throws") {
  EventLoop loop;
  Faults::arm(FaultPlan::scriptOf(Call::setsockopt, {0, 0, ENOPROTOOPT}));
  CHECK_THROWS_WITH_AS(Acceptor(&loop, InetAddress::loopback(0), {.reusePort = true}),
                       "setsockopt SO_REUSEPORT: Protocol not available", std::system_error);
  CHECK(Faults::disarm().injected == 1);
}

TEST_CASE("scripted: an option of the accepted sockets that the kernel refuses is named") {
  using namespace std::chrono_literals;
  EventLoop loop;
  const Acceptor::Options all{.tcpNoDelay = false,
                              .keepAlive = rung::KeepAlive{},
                              .userTimeout = 1s,
                              .sendBufferBytes = 1,
                              .receiveBufferBytes = 1};
  std::vector<int> faults{0};  // SO_REUSEADDR
  for (const char* name : {"SO_SNDBUF", "SO_RCVBUF", "SO_KEEPALIVE", "TCP_KEEPIDLE",
                           "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT"}) {
    faults.push_back(ENOPROTOOPT);
    Faults::arm(FaultPlan::scriptOf(Call::setsockopt, faults));
    CHECK_THROWS_WITH_AS(
        Acceptor(&loop, InetAddress("127.0.0.1", 0), all),
        (std::string("setsockopt ") + name + " for 127.0.0.1:0: Protocol not available").c_str(),
        std::system_error);
    CHECK(Faults::disarm().injected == 1);
    faults.back() = 0;
  }
}

TEST_CASE("scripted: a watch that the kernel calls invalid aborts, as there is no way on") {
  for (const int error : {EINVAL, EEXIST, ENOENT, EBADF}) {
    CAPTURE(strerrorname_np(error));
    const auto child = runInChild([error] {
      EventLoop loop;
      SocketPair pair;
      Channel channel(&loop, pair.ours.get());
      Faults::arm(FaultPlan::scriptOf(Call::epollCtlAdd, {error}));
      channel.enableReading();
    });
    CHECK(child.aborted());
    CHECK(child.says("epoll_ctl ADD of fd"));
  }
}

// Both directions are down and reading is stopped: the kernel would report the hang-up for ever, so
// the socket is not watched. To read on is a new watch.
TEST_CASE("scripted: when the kernel will not watch a socket again, the connection ends") {
  const auto child = runInChild([] {
    const Faults::Spare clients;
    std::atomic<int> reported{0};
    TcpConnectionPtr connection;
    ServerThread server([&](TcpServer& s) {
      s.setConnectionCallback([&](const TcpConnectionPtr& c) {
        connection = c;
        if (!c->connected()) reported = c->error();
        c->stopRead();
        c->shutdown();
      });
    });
    Client client(server.address());
    (void)client.receiveAll();
    client.send("unread");
    client.shutdownWrite();
    server.inLoop([] {});  // the first of these may be the wake-up that brings the hang-up, too
    server.inLoop([] {});
    server.inLoop([&] {
      Faults::arm(FaultPlan::scriptOf(Call::epollCtlAdd, {ENOSPC}));
      connection->startRead();
    });
    const bool told = eventually([&] { return reported == ENOSPC; });
    const bool once = Faults::disarm().injected == 1;
    _exit(told && once && connection->closeReason() == rung::CloseReason::refused ? 7 : 1);
  });
  CHECK_MESSAGE(child.exitedWith(7), child.output);
  CHECK(child.says("connections are closed unserved: epoll_ctl ADD of fd"));
}

TEST_CASE(
    "scripted: a connection that the kernel will not watch is closed, and the next is served") {
  const auto child = runInChild([] {
    const Faults::Spare clients;
    ServerThread server([](TcpServer& s) {
      s.setMessageCallback([](const TcpConnectionPtr& c, rung::Buffer& buffer, rung::Timestamp) {
        c->send(buffer);
      });
    });
    Faults::arm(FaultPlan::scriptOf(Call::epollCtlAdd, {ENOSPC}));
    const bool closed = Client(server.address()).receiveAll().empty();
    const bool once = Faults::disarm().injected == 1;
    Client next(server.address());
    next.send("hello");
    _exit(closed && once && next.receive(5) == "hello" ? 7 : 1);
  });
  CHECK_MESSAGE(child.exitedWith(7), child.output);
}

TEST_CASE("scripted: a log line goes on where a write stopped, and ends where none works") {
  const auto child = runInChild([] {
    Faults::arm(FaultPlan::scriptOf(Call::write, {kShort, EAGAIN, EINTR, kShort}));
    rung::Logger::writeToStdout("one whole line\n");
    const bool all = Faults::disarm().injected == 4;
    Faults::arm(FaultPlan::scriptOf(Call::write, {EIO}));
    rung::Logger::writeToStdout("nothing of this\n");
    const FaultCounts counts = Faults::disarm();
    _exit(all && counts.of(Call::write) == 1 ? 7 : 1);
  });
  CHECK_MESSAGE(child.exitedWith(7), child.output);
  CHECK(child.output == "one whole line\n");
}

// The name of the machine becomes a part of a file's name. It fails where a filter of system calls
// forbids uname(2), and only root can give the machine another name.
TEST_CASE("scripted: a log file of a machine that has no name, or an odd one") {
  struct Machine {
    const char* name;
    int error;
    const char* inFileName;
  };
  for (const Machine& machine : {Machine{"", EPERM, "unknown-host"},
                                 {"", 0, "unknown-host"},
                                 {"m", 0, "m"},
                                 {"rack/7/3", 0, "rack-7-3"}}) {
    CAPTURE(machine.inFileName);
    CAPTURE(machine.error);
    machineName = machine.name;
    machineNameError = machine.error;
    const TempDirectory directory;
    rung::LogFile log({.baseName = directory / "base"});
    log.open();
    REQUIRE(directory.files() == std::vector{log.path()});
    const std::string end =
        std::string(".") + machine.inFileName + '.' + std::to_string(getpid()) + ".log";
    CHECK(log.path().ends_with(end));
  }
}

// POSIX allows it of some devices. To try again could be to try for ever.
TEST_CASE("scripted: a file that takes nothing is an error") {
  const TempDirectory directory;
  rung::AppendFile file;
  REQUIRE(file.open(directory / "log", rung::AppendFile::Existing::append) == 0);
  Faults::arm(FaultPlan::scriptOf(Call::write, {EINTR, kShort, kNothing}));
  const auto done = file.append("some text\n");
  Faults::disarm();
  CHECK(done.error == EIO);
  CHECK(done.bytes > 0);
  CHECK(done.bytes < 10);
}

TEST_CASE("scripted: what a crash rescues is written whole, up to an error") {
  for (const int last : {0, EIO, kNothing}) {
    CAPTURE(last);
    const auto child = runInChild([last] {
      auto* const buffer = rung::LogBuffer::ofThisThread();
      buffer->addBlock(std::make_unique<rung::LogBlock>(100));
      (void)buffer->append("one\ntwo\n");
      Faults::arm(FaultPlan::scriptOf(Call::write, {EINTR, kShort, EINTR, last}));
      rung::LogBuffer::writeAll(STDOUT_FILENO);
      const FaultCounts counts = Faults::disarm();
      _exit(counts.of(Call::write) == 4 ? 7 : 1);
    });
    CHECK_MESSAGE(child.exitedWith(7), child.output);
    CHECK((child.output == "one\ntwo\n") == (last == 0));
  }
}

// The first watch is that of the attempt, the second one that of the connection, which so never
// comes up. Both times the client says so, and tries again.
TEST_CASE("scripted: a client whose socket the kernel will not watch says so, and comes back") {
  const QuietLog quiet;
  for (const std::vector<int>& script : {std::vector{ENOSPC}, {0, ENOSPC}}) {
    Listener listener;
    EventLoop loop;
    const rung::Backoff::Options soon{.initial = std::chrono::milliseconds(1),
                                      .cap = std::chrono::milliseconds(1)};
    rung::TcpClient client(&loop, listener.address(), "unwatched", {.reconnect = soon});
    int ups = 0;
    std::vector<rung::ConnectFailure> failures;
    client.setConnectionCallback([&](const TcpConnectionPtr& connection) {
      ups += connection->connected() ? 1 : 100;
      loop.quit();
    });
    client.setFailureCallback([&](const auto& failure, auto) { failures.push_back(failure); });
    client.connect();
    Faults::arm(FaultPlan::scriptOf(Call::epollCtlAdd, script));
    CHECK(runToQuit(loop));
    CHECK(Faults::disarm().injected == 1);
    CHECK(ups == 1);
    REQUIRE(failures.size() == 1);
    CHECK(failures[0].step == rung::ConnectStep::watch);
    CHECK(failures[0].error.value() == ENOSPC);
    CHECK(failures[0].toText() ==
          "connect to " + listener.address().toIpPort() + ": No space left on device");
    const TcpConnectionPtr last = client.connection();
    CHECK(last->id() == script.size());
    last->setCallbacks(std::make_shared<rung::ConnectionCallbacks>());  // the end is of no interest
  }
}

}  // namespace
