// accept(2) fails in many ways. In muduo, ENFILE, ENOBUFS, ENOMEM and unknown errors ended the
// process; network errors of the connection that waited, which Linux reports here, were not tried
// again. See accept(2), "Error handling".

#include <doctest/doctest.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "rung/base/Logging.h"

#include "tests/faults/Faults.h"
#include "tests/support/Client.h"
#include "tests/support/QuietLog.h"
#include "tests/support/ServerThread.h"

using namespace std::chrono_literals;
using namespace rung::testing;

namespace {

bool isServed(const rung::InetAddress& address) {
  Client client(address);
  client.send("hello");
  return client.receive(5) == "hello";
}

TEST_CASE("regress: no error of accept ends a server, and it serves again") {
  const QuietLog quiet;
  const Faults::Spare clients;
  ServerThread server([](rung::TcpServer& s) { s.setMessageCallback(echo); });
  for (const int error :
       {EAGAIN, EINTR, ECONNABORTED, EPROTO, EPERM, ENETDOWN, ENOPROTOOPT, EHOSTDOWN, ENONET,
        EHOSTUNREACH, EOPNOTSUPP, ENETUNREACH, ETIMEDOUT, ENFILE, ENOBUFS, ENOMEM, EIO}) {
    CAPTURE(strerrorname_np(error));
    Faults::arm(FaultPlan::scriptOf(Call::accept4, {error, error}));
    CHECK(isServed(server.address()));
    CHECK(Faults::disarm().injected == 2);
  }
  // Out of descriptors it closes the one that waits, and serves the next.
  Faults::arm(FaultPlan::scriptOf(Call::accept4, {EMFILE}));
  CHECK_FALSE(isServed(server.address()));
  CHECK(isServed(server.address()));
  Faults::disarm();
}

// The number that the reserve has freed was taken by another thread, or by another process.
TEST_CASE("regress: when the reserve does not help either, accepting pauses, and all are served") {
  const QuietLog quiet;
  const Faults::Spare clients;
  ServerThread server([](rung::TcpServer& s) { s.setMessageCallback(echo); });
  for (const int error : {EMFILE, ENFILE}) {
    CAPTURE(strerrorname_np(error));
    Faults::arm(FaultPlan::scriptOf(Call::accept4, {EMFILE, error}));
    CHECK(isServed(server.address()));
    const FaultCounts counts = Faults::disarm();
    CHECK(counts.injected == 2);
    CHECK(counts.of(Call::accept4) == 3);
  }
}

// A connection that is not taken keeps the listening socket readable, and the loop awake.
TEST_CASE("regress: errors of accept that last do not make the loop spin") {
  const QuietLog quiet;
  const Faults::Spare clients;
  ServerThread server([](rung::TcpServer& s) { s.setMessageCallback(echo); });
  // EPERM is what a filter of system calls says, such as a container's.
  for (const int error : {EMFILE, ENFILE, ENOBUFS, ENOMEM, EPERM, EACCES, EINVAL}) {
    CAPTURE(strerrorname_np(error));
    Faults::arm(FaultPlan::scriptOf(Call::accept4, std::vector<int>(100000, error)));
    const Client waiting(server.address());
    // Not to synchronise: it is the time in which a loop could spin, and pauses last 100 ms.
    std::this_thread::sleep_for(50ms);
    CHECK(Faults::disarm().of(Call::accept4) <= 10);
    CHECK(isServed(server.address()));
  }
}

TEST_CASE("regress: when the reserve descriptor cannot be opened again, accepting pauses") {
  const QuietLog quiet;
  const Faults::Spare clients;
  ServerThread server([](rung::TcpServer& s) { s.setMessageCallback(echo); });
  FaultPlan plan;
  plan.scripted = Call::accept4;
  plan.script = {EMFILE};
  plan[Call::eventfd] = 1000;
  Faults::arm(plan);
  CHECK_FALSE(isServed(server.address()));  // closed with the help of the reserve
  Faults::disarm();
  CHECK(isServed(server.address()));
}

// The pause ended while the reserve still could not be opened; then accepting went well, and nobody
// thought of the reserve any more.
TEST_CASE("regress: the reserve comes back with the next newcomer, if the pause did not bring it") {
  const QuietLog quiet;
  const Faults::Spare clients;
  ServerThread server([](rung::TcpServer& s) { s.setMessageCallback(echo); });
  FaultPlan plan = FaultPlan::scriptOf(Call::accept4, {EMFILE, EMFILE});
  plan[Call::eventfd] = 1000;
  Faults::arm(plan);
  CHECK(isServed(server.address()));  // after the pause
  Faults::disarm();
  for (const std::uint64_t opened : {1U, 0U}) {
    Faults::arm({});
    CHECK(isServed(server.address()));
    CHECK(Faults::disarm().of(Call::eventfd) == opened);
  }
}

// To accept until nobody waits needs one call more that fails, and it is not cheap: Linux makes a
// file before it looks.
TEST_CASE("regress: one connection costs one accept, and no call that fails") {
  const Faults::Spare clients;
  ServerThread server([](rung::TcpServer& s) { s.setMessageCallback(echo); });
  Faults::arm({});
  CHECK(isServed(server.address()));
  CHECK(isServed(server.address()));
  CHECK(Faults::disarm().of(Call::accept4) == 2);
}

}  // namespace
