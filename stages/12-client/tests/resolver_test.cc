// Lookups beside the loop. getaddrinfo(3) cannot be stopped, so most cases have a lookup that hangs
// until the test lets it go.

#include "rung/net/Resolver.h"

#include <doctest/doctest.h>
#include <netdb.h>
#include <pthread.h>
#include <sys/socket.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "rung/base/CountDownLatch.h"
#include "rung/base/Thread.h"
#include "rung/net/ConnectFailure.h"
#include "rung/net/EventLoop.h"

#include "tests/support/ChildProcess.h"
#include "tests/support/FakeLookup.h"
#include "tests/support/Listener.h"
#include "tests/support/LoopRounds.h"
#include "tests/support/ServerThread.h"

using rung::CountDownLatch;
using rung::EventLoop;
using rung::InetAddress;
using rung::Resolver;
using rung::resolverCategory;
using rung::testing::eventually;
using rung::testing::FakeLookup;
using rung::testing::runInChild;
using rung::testing::runRounds;
using rung::testing::runToQuit;

using namespace std::chrono_literals;

namespace {

/// One lookup of a host, whose answer ends the loop.
struct OneLookup {
  explicit OneLookup(
      Resolver& resolver, const std::string& host = "host",
      std::chrono::steady_clock::time_point deadline = std::chrono::steady_clock::time_point::max())
      : query(resolver.resolve(
            &loop, host, 80,
            [this](Resolver::Answer a) {
              ++answers;
              answer = std::move(a);
              loop.quit();
            },
            deadline)) {}

  EventLoop loop;
  int answers = 0;
  Resolver::Answer answer;
  Resolver::Query query;
};

std::error_code errorOf(const Resolver::Lookup& lookup) {
  Resolver resolver({.lookup = lookup});
  OneLookup one(resolver);
  CHECK(runToQuit(one.loop));
  CHECK(one.answer.addresses.empty());
  return one.answer.error;
}

// First the cases with a child process: later ones leave threads, and a child has none of them.

TEST_CASE("Resolver: in a child of fork, which has none of its threads, the answer is ECHILD") {
  Resolver resolver;
  const auto result = runInChild([&] {
    {
      OneLookup one(resolver);
      if (!runToQuit(one.loop)) _exit(2);
      if (one.answer.error != std::error_code(ECHILD, std::generic_category())) _exit(3);
    }
    Resolver own;
    OneLookup one(own, "localhost");
    if (!runToQuit(one.loop) || one.answer.error) _exit(4);
  });
  CHECK(result.exitedWith(0));
}

TEST_CASE("Resolver: on the wrong thread it aborts") {
  const auto asks = runInChild([] {
    EventLoop loop;
    std::thread([&] { (void)Resolver().resolve(&loop, "host", 80, [](auto) {}); }).join();
  });
  CHECK(asks.aborted());
  CHECK(asks.says("was used from thread"));
  const auto cancels = runInChild([] {
    FakeLookup fake;
    Resolver resolver({.lookup = fake.lookup()});
    OneLookup one(resolver);
    std::thread([&] { one.query.cancel(); }).join();
  });
  CHECK(cancels.aborted());
  CHECK(cancels.says("was used from thread"));
}

TEST_CASE("Resolver: when the system gives no thread, the answer is EAGAIN") {
  const auto child = runInChild([] {
    pthread_attr_t huge;
    pthread_getattr_default_np(&huge);
    pthread_attr_setstacksize(&huge, std::size_t{1} << (sizeof(void*) == 8 ? 46 : 31));
    pthread_setattr_default_np(&huge);
    Resolver resolver;
    OneLookup one(resolver);
    if (!runToQuit(one.loop)) _exit(1);
    if (one.answer.error != std::error_code(EAGAIN, std::generic_category())) _exit(2);
    _exit(resolver.waiting() == 0 ? 7 : 3);
  });
  CHECK_MESSAGE(child.exitedWith(7), child.output);
}

TEST_CASE("Resolver: a thread is made when it is first needed, and used again") {
  const int before = rung::Thread::numCreated();
  Resolver resolver({.lookup = [](auto&, auto) {
    return Resolver::Answer{.addresses = {InetAddress("127.0.0.1", 1)}};
  }});
  for (const auto& [host, made] : {std::pair("127.0.0.1", 0), {"host", 1}, {"host", 1}}) {
    OneLookup one(resolver, host);
    CHECK(runToQuit(one.loop));
    CHECK(rung::Thread::numCreated() <= before + made + (made == 1 ? 1 : 0));
    if (made == 0) CHECK(rung::Thread::numCreated() == before);
  }
}

TEST_CASE("Resolver: the addresses of a host, in the order in which the lookup gives them") {
  const std::vector<InetAddress> addresses{InetAddress("::1", 80), InetAddress("127.0.0.2", 80),
                                           InetAddress("127.0.0.1", 80)};
  Resolver resolver({.lookup = [&](const std::string& host, std::uint16_t port) {
    CHECK(host == "host");
    CHECK(port == 80);
    return Resolver::Answer{.addresses = addresses};
  }});
  OneLookup one(resolver);
  CHECK(one.query.pending());
  CHECK(one.answers == 0);  // never from within resolve()
  CHECK(runToQuit(one.loop));
  CHECK(one.answers == 1);
  CHECK(!one.answer.error);
  CHECK(one.answer.addresses == addresses);
  CHECK(!one.query.pending());
}

TEST_CASE("Resolver lookUp: what getaddrinfo says, in its order, and none twice") {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  REQUIRE(getaddrinfo("localhost", "80", &hints, &list) == 0);
  std::vector<InetAddress> expected;
  for (const addrinfo* each = list; each != nullptr; each = each->ai_next) {
    sockaddr_storage storage{};
    memcpy(&storage, each->ai_addr, each->ai_addrlen);
    expected.emplace_back(storage);
  }
  freeaddrinfo(list);
  CHECK(Resolver::lookUp("localhost", 80).addresses == expected);

  const auto unknown = Resolver::lookUp("a..b", 80);
  CHECK(unknown.error == std::error_code(EAI_NONAME, resolverCategory()));
  CHECK(unknown.error.message() == "Name or service not known");
  CHECK(unknown.addresses.empty());
}

TEST_CASE("Resolver: the one of the process knows localhost") {
  OneLookup one(*Resolver::ofProcess(), "localhost");
  CHECK(runToQuit(one.loop));
  CHECK(!one.answer.error);
  CHECK(!one.answer.addresses.empty());
  CHECK(Resolver::ofProcess() == Resolver::ofProcess());
}

TEST_CASE("Resolver: an address in numbers does not wait for the lookups that hang") {
  FakeLookup fake;
  Resolver resolver({.threads = 1, .lookup = fake.lookup()});
  OneLookup hanging(resolver);
  fake.waitUntilCalled(1);
  for (const auto& [host, address] :
       {std::pair("127.0.0.3", InetAddress("127.0.0.3", 80)), {"::1", InetAddress("::1", 80)}}) {
    std::vector<InetAddress> addresses;
    const auto query = resolver.resolve(&hanging.loop, host, 80, [&](Resolver::Answer answer) {
      addresses = std::move(answer.addresses);
      hanging.loop.quit();
    });
    CHECK(addresses.empty());
    CHECK(runToQuit(hanging.loop));
    CHECK(addresses == std::vector{address});
  }
  CHECK(fake.calls() == 1);
}

// evpp #7, #43: the answer came after the timeout, to somebody who was gone.
TEST_CASE("Resolver: at the deadline the answer is ETIMEDOUT, and a later one is thrown away") {
  FakeLookup fake;
  Resolver resolver({.lookup = fake.lookup()});
  OneLookup one(resolver, "host", std::chrono::steady_clock::now() + 10ms);
  CHECK(runToQuit(one.loop));
  CHECK(one.answer.error == std::error_code(ETIMEDOUT, std::generic_category()));
  fake.release();
  CHECK(eventually([&] { return fake.returned() == 1; }));
  runRounds(one.loop, 3);
  CHECK(one.answers == 1);
}

TEST_CASE("Resolver: so many lookups at a time as threads; the others wait, and leave with time") {
  FakeLookup fake;
  Resolver resolver({.threads = 2, .lookup = fake.lookup()});
  EventLoop loop;
  int answers = 0;
  std::vector<Resolver::Query> queries;
  const auto ask = [&](auto deadline) {
    queries.push_back(resolver.resolve(
        &loop, "host", 80,
        [&](const Resolver::Answer&) {
          ++answers;
          loop.quit();
        },
        deadline));
  };
  for (int i = 0; i < 4; ++i)
    ask(std::chrono::steady_clock::time_point::max());
  fake.waitUntilCalled(2);
  CHECK(eventually([&] { return resolver.waiting() == 2; }));
  ask(std::chrono::steady_clock::now());
  CHECK(resolver.waiting() == 3);
  CHECK(runToQuit(loop));  // the deadline of the last one
  CHECK(resolver.waiting() == 2);
  queries[3].cancel();
  CHECK(resolver.waiting() == 1);
  CHECK(fake.calls() == 2);
  fake.release();
  while (answers < 4 && runToQuit(loop)) {
  }
  CHECK(answers == 4);  // the three that were not cancelled, and the one that was late
  CHECK(fake.calls() == 3);
}

TEST_CASE("Resolver: a lookup is cancelled without a wait, also in its own callback") {
  FakeLookup fake;
  Resolver resolver({.lookup = fake.lookup()});
  {
    OneLookup one(resolver);
    fake.waitUntilCalled(1);
    one.query.cancel();
    CHECK(!one.query.pending());
    fake.release();
    CHECK(eventually([&] { return fake.returned() == 1; }));
    runRounds(one.loop, 3);
    CHECK(one.answers == 0);
  }
  EventLoop loop;
  std::optional<Resolver::Query> query;
  query = resolver.resolve(&loop, "host", 80, [&](const Resolver::Answer&) {
    query.reset();
    loop.quit();
  });
  CHECK(runToQuit(loop));
  CHECK(!query.has_value());
}

TEST_CASE("Resolver: destroyed while lookups hang, it waits for none; each still has its answer") {
  FakeLookup fake;
  EventLoop loop;
  std::vector<std::error_code> errors;
  std::vector<Resolver::Query> queries;
  {
    Resolver resolver({.threads = 1, .lookup = fake.lookup()});
    for (int i = 0; i < 2; ++i) {
      queries.push_back(resolver.resolve(&loop, "host", 80, [&](const Resolver::Answer& answer) {
        errors.push_back(answer.error);
        loop.quit();
      }));
    }
    fake.waitUntilCalled(1);
  }
  CHECK(runToQuit(loop));
  REQUIRE(errors.size() == 1);
  CHECK(errors[0] == std::error_code(ECANCELED, std::generic_category()));
  fake.release();
  CHECK(runToQuit(loop));
  REQUIRE(errors.size() == 2);
  CHECK(!errors[1]);
}

TEST_CASE("Resolver: the loop may go while a lookup hangs, and the query after both") {
  FakeLookup fake;
  Resolver::Query query;
  {
    auto resolver = std::make_unique<Resolver>(Resolver::Options{.lookup = fake.lookup()});
    EventLoop loop;
    query = resolver->resolve(&loop, "host", 80, [](const Resolver::Answer&) { CHECK(false); });
    fake.waitUntilCalled(1);
  }
  fake.release();
  CHECK(eventually([&] { return fake.returned() == 1; }));
  std::thread([last = std::move(query)]() mutable { last.cancel(); }).join();
}

TEST_CASE("Resolver: a lookup that throws, or finds nothing, is an error") {
  using Answer = Resolver::Answer;
  CHECK(errorOf([](auto&, auto) { return Answer(); }) ==
        std::error_code(EAI_NODATA, resolverCategory()));
  CHECK(errorOf([](auto&, auto) -> Answer { throw std::runtime_error("no"); }) ==
        std::error_code(EAI_FAIL, resolverCategory()));
  CHECK(errorOf([](auto&, auto) -> Answer { throw std::bad_alloc(); }) ==
        std::error_code(ENOMEM, std::generic_category()));
  CHECK_THROWS_WITH(Resolver({.threads = 0}), "threads of a Resolver: 0");
  Resolver resolver;
  EventLoop loop;
  CHECK_THROWS_AS((void)resolver.resolve(&loop, std::string(300, 'x'), 80, [](auto) {}),
                  std::invalid_argument);
  CHECK_THROWS_AS((void)resolver.resolve(&loop, "host", 0, [](auto) {}), std::invalid_argument);
}

TEST_CASE("Resolver: serves several loops, each on its own thread") {
  Resolver resolver({.threads = 2, .lookup = [](const std::string&, std::uint16_t port) {
                       return Resolver::Answer{.addresses = {InetAddress("127.0.0.1", port)}};
                     }});
  std::atomic<int> answers{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      EventLoop loop;
      for (int port = 1; port <= 50; ++port) {
        const auto query = resolver.resolve(&loop, "host", port, [&](const auto& answer) {
          if (answer.addresses.at(0).port() == port) ++answers;
          loop.quit();
        });
        (void)runToQuit(loop);
      }
    });
  }
  for (std::thread& thread : threads)
    thread.join();
  CHECK(answers == 200);
}

}  // namespace
