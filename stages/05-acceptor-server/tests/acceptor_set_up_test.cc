// What an Acceptor needs to come into being, and how it says what is missing.

#include <doctest/doctest.h>
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <stdexcept>
#include <string>
#include <system_error>

#include "tests/support/AcceptorFixture.h"
#include "tests/support/ChildProcess.h"
#include "tests/support/Client.h"
#include "tests/support/Ipv6.h"
#include "tests/support/Process.h"
#include "tests/support/TempDirectory.h"
#include "tests/support/Thrown.h"

using namespace std::chrono_literals;
using rung::Acceptor;
using rung::EventLoop;
using rung::InetAddress;
using rung::Socket;
using rung::UniqueFd;
using rung::testing::AcceptorFixture;
using rung::testing::Client;
using rung::testing::descriptorCount;
using rung::testing::exhaustDescriptors;
using rung::testing::hasIpv6;
using rung::testing::mentions;
using rung::testing::runInChild;
using rung::testing::TempDirectory;

namespace {

/// The code of the std::system_error that `call` throws, 0 if it throws none.
template <class Call>
int errorOf(Call call) {
  try {
    call();
  } catch (const std::system_error& e) {
    return e.code().value();
  }
  return 0;
}

// The header promised that the constructor finds out. It cannot: Linux lets two sockets with
// SO_REUSEADDR have one port as long as neither listens.
TEST_CASE("Acceptor: of two that are bound to a port, the second to listen throws and names it") {
  EventLoop loop;
  Acceptor first(&loop, InetAddress::loopback(0));
  Acceptor second(&loop, first.localAddress());
  second.listen();
  try {
    first.listen();
    FAIL("no exception");
  } catch (const std::system_error& e) {
    CHECK(e.code().value() == EADDRINUSE);
    CHECK(mentions(e.what(), {"listen", first.localAddress().toIpPort()}));
  }
  CHECK_FALSE(first.listening());
  CHECK(errorOf([&] { const Acceptor third(&loop, first.localAddress()); }) == EADDRINUSE);
}

TEST_CASE("Acceptor: with ipv6Only, 0.0.0.0 and :: share a port") {
  if (!hasIpv6()) {
    MESSAGE("skipped: this machine has no ::1");
    return;
  }
  EventLoop loop;
  Acceptor v4(&loop, InetAddress(0), {.ipv6Only = true});  // of no effect here
  v4.listen();
  const InetAddress any6("::", v4.localAddress().port());
  CHECK(errorOf([&] { const Acceptor both(&loop, any6); }) == EADDRINUSE);
  Acceptor v6(&loop, any6, {.ipv6Only = true});
  v6.listen();
  int peers4 = 0;
  int peers6 = 0;
  const auto quitAtTwo = [&] {
    if (peers4 + peers6 == 2) loop.quit();
  };
  v4.setNewConnectionCallback([&](Socket, const InetAddress&) { ++peers4, quitAtTwo(); });
  v6.setNewConnectionCallback([&](Socket, const InetAddress&) { ++peers6, quitAtTwo(); });
  const Client client4(InetAddress::loopback(any6.port()));
  const Client client6(InetAddress::loopback(any6.port(), AF_INET6));
  loop.loop();
  CHECK(peers4 == 1);
  CHECK(peers6 == 1);
}

TEST_CASE("Acceptor: on :: an IPv4 peer is equal to its IPv4 address") {
  if (!hasIpv6()) {
    MESSAGE("skipped: this machine has no ::1");
    return;
  }
  EventLoop loop;
  Acceptor acceptor(&loop, InetAddress("::", 0));
  InetAddress peer;
  acceptor.setNewConnectionCallback([&](Socket, const InetAddress& from) {
    peer = from;
    loop.quit();
  });
  acceptor.listen();
  const Client client(InetAddress::loopback(acceptor.localAddress().port()));
  REQUIRE(client.connected());
  loop.loop();
  CHECK(peer.isIpv6());
  CHECK(peer.unmapped().toIp() == "127.0.0.1");
  CHECK(peer == InetAddress("127.0.0.1", peer.port()));
}

TEST_CASE("Acceptor: without a loop it aborts, and says where it was to listen") {
  const auto child = runInChild([] { const Acceptor acceptor(nullptr, InetAddress(8080)); });
  CHECK(child.aborted());
  CHECK(child.says("0.0.0.0:8080"));
}

// The descriptor in reserve was /dev/null, which is not there in a chroot.
TEST_CASE("Acceptor: needs no file, and so starts in an empty chroot") {
  const TempDirectory empty;
  const auto child = runInChild([&] {
    if (chroot(empty.path().c_str()) != 0) {
      // An ordinary user may, where user namespaces are allowed.
      if (unshare(CLONE_NEWUSER) != 0 || chroot(empty.path().c_str()) != 0) _exit(8);
    }
    AcceptorFixture f;
    f.acceptor.listen();
    const Client client(f.acceptor.localAddress());
    f.runUntilAccepted(1);
    _exit(7);
  });
  if (child.exitedWith(8)) {
    MESSAGE("skipped: this process may not change its root");
    return;
  }
  CHECK_MESSAGE(child.exitedWith(7), child.status << child.output);
}

TEST_CASE("Acceptor: without a descriptor for the reserve it says so, and for whom") {
  const auto child = runInChild([] {
    const rlimit few{64, 64};
    setrlimit(RLIMIT_NOFILE, &few);
    EventLoop loop;
    const std::vector<UniqueFd> taken = exhaustDescriptors(2);  // the socket and the timerfd
    try {
      const Acceptor acceptor(&loop, InetAddress::loopback(0));
    } catch (const std::system_error& e) {
      puts(e.what());
      fflush(stdout);
      _exit(e.code().value() == EMFILE ? 7 : 2);
    }
  });
  CHECK(child.exitedWith(7));
  CHECK(child.says("127.0.0.1:"));
}

TEST_CASE("Acceptor: closed, it gives back its socket and its reserve") {
  AcceptorFixture f;
  const std::size_t before = descriptorCount();
  f.acceptor.close();
  CHECK(descriptorCount() == before - 2);
}

// A callback that had closed the Acceptor in a pause was followed by its retry timer, which watched
// a descriptor that was closed, or another's by then. (Seen as a fault that no test noticed.)
TEST_CASE("Acceptor: closed while it pauses, it does not wake up again") {
  const auto child = runInChild([] {
    const rlimit few{64, 64};
    setrlimit(RLIMIT_NOFILE, &few);
    AcceptorFixture f;
    f.acceptor.listen();
    const std::vector<UniqueFd> taken = exhaustDescriptors(1);
    const Client client(f.acceptor.localAddress());
    const rlimit fewer{0, 64};
    setrlimit(RLIMIT_NOFILE, &fewer);  // not even the number in reserve comes back
    f.runFor(1ms);
    f.acceptor.close();
    const std::uint64_t before = f.loop.iteration();
    f.runFor(3 * Acceptor::kPause);
    _exit(f.loop.iteration() - before == 1 ? 7 : 2);
  });
  CHECK_MESSAGE(child.exitedWith(7), child.status << child.output);
}

// The reserve was lost in a shortage. If it did not come back, the next one could not tell the
// newcomers. (Seen as a fault that no test noticed.)
TEST_CASE("Acceptor: after a pause it has its reserve again, and can close newcomers") {
  const auto child = runInChild([] {
    const rlimit few{64, 64};
    setrlimit(RLIMIT_NOFILE, &few);
    AcceptorFixture f;
    f.acceptor.listen();
    std::vector<UniqueFd> taken = exhaustDescriptors(1);
    Client first(f.acceptor.localAddress());
    const rlimit fewer{0, 64};
    setrlimit(RLIMIT_NOFILE, &fewer);
    f.runFor(1ms);  // and it pauses
    setrlimit(RLIMIT_NOFILE, &few);
    taken.clear();
    f.runUntilAccepted(1);
    taken = exhaustDescriptors(1);
    Client second(f.acceptor.localAddress());
    for (int i = 0; i < 100 && f.acceptor.refused() == 0; ++i)
      f.runFor(10ms);
    _exit(f.acceptor.refused() == 1 ? 7 : 2);
  });
  CHECK_MESSAGE(child.exitedWith(7), child.status << child.output);
}

}  // namespace
