// That the shim injects what it says, and nothing else, and that it sees the library's calls.

#include "tests/faults/Faults.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "rung/base/AsyncLogging.h"
#include "rung/base/UniqueFd.h"

#include "tests/support/Client.h"
#include "tests/support/ServerThread.h"
#include "tests/support/Sockets.h"
#include "tests/support/TempDirectory.h"

using namespace rung::testing;
using rung::UniqueFd;

namespace {

FaultPlan only(Call call, int perMille, std::uint64_t seed = 1) {
  FaultPlan plan;
  plan.seed = seed;
  plan[call] = perMille;
  return plan;
}

/// The errors that `attempt` met with in many calls that all fail; 0 stands for success.
template <class Attempt>
std::set<int> errorsOf(Call call, Attempt attempt) {
  std::set<int> errors;
  Faults::arm(only(call, 1000));
  for (int i = 0; i < 400; ++i)
    errors.insert(attempt() < 0 ? errno : 0);
  Faults::disarm();
  return errors;
}

TEST_CASE("Faults: each call fails with the errors that it can have, and with no others") {
  char bytes[64] = {};
  epoll_event event{};
  const UniqueFd epoll(epoll_create1(EPOLL_CLOEXEC));
  const UniqueFd counter(eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC));
  const std::uint64_t one = 1;
  CHECK(errorsOf(Call::read, [&] { return read(counter.get(), bytes, 8); }) ==
        std::set<int>{EAGAIN, EINTR});
  CHECK(errorsOf(Call::write, [&] { return write(counter.get(), &one, sizeof one); }) ==
        std::set<int>{EINTR});
  CHECK(errorsOf(Call::epollWait, [&] { return epoll_wait(epoll.get(), &event, 1, 0); }) ==
        std::set<int>{EINTR});
  CHECK(errorsOf(Call::epollCtlAdd, [&] {
          return epoll_ctl(epoll.get(), EPOLL_CTL_ADD, counter.get(), &event);
        }) == std::set<int>{ENOMEM, ENOSPC});
  CHECK(errorsOf(Call::eventfd, [&] { return eventfd(0, 0); }) ==
        std::set<int>{EMFILE, ENFILE, ENOMEM});
  CHECK(errorsOf(Call::open, [&] { return open("/dev/null", O_RDONLY | O_CLOEXEC); }) ==
        std::set<int>{EMFILE, ENFILE, ENOMEM});
  const TempDirectory directory;
  CHECK(errorsOf(Call::open, [&] {
          return open((directory / "new").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        }) == std::set<int>{EMFILE, ENFILE, ENOMEM, ENOSPC, EINTR});
  const std::set<int> accept =
      errorsOf(Call::accept4, [&] { return accept4(-1, nullptr, nullptr, 0); });
  for (const int error : {EMFILE, ENFILE, ENOBUFS, ENOMEM, ECONNABORTED, EINTR, EAGAIN})
    CHECK(accept.count(error) == 1);
  CHECK(accept.count(EBADF) == 0);  // the kernel was never asked
}

TEST_CASE("Faults: reads and writes of sockets and files fall short, or fail") {
  std::string bytes(10000, 'x');
  std::set<int> errors;
  std::set<ssize_t> sizes;
  for (std::uint64_t seed = 1; seed < 300; ++seed) {
    const SocketPair pair;  // a new one each time: an injected reset ends it
    Faults::arm(only(Call::send, 1000, seed));
    const ssize_t n = send(pair.ours.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n < 0) errors.insert(errno);
    if (n >= 0) sizes.insert(n);
    Faults::disarm();
  }
  CHECK(errors == std::set<int>{EINTR, EAGAIN, ENOMEM, ENOBUFS, ECONNRESET, EPIPE});
  CHECK(sizes.size() > 20);
  CHECK(*sizes.begin() == 1);
  CHECK(*sizes.rbegin() < static_cast<ssize_t>(bytes.size()));

  const TempDirectory directory;
  const UniqueFd file(open((directory / "file").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  CHECK(errorsOf(Call::write, [&] { return write(file.get(), "abc", 3); }) ==
        std::set<int>{0, EINTR, ENOSPC, EIO});
}

TEST_CASE("Faults: several buffers fall short in order, without a gap") {
  std::string first = "abcdef";
  std::string second = "ghijklmnop";
  iovec places[] = {{first.data(), first.size()}, {second.data(), second.size()}};
  msghdr message{};
  message.msg_iov = places;
  message.msg_iovlen = 2;
  std::set<ssize_t> sizes;
  for (std::uint64_t seed = 1; seed < 300; ++seed) {
    const SocketPair pair;
    Faults::arm(only(Call::sendmsg, 1000, seed));
    const ssize_t n = sendmsg(pair.ours.get(), &message, MSG_NOSIGNAL);
    Faults::disarm();
    if (n < 0) continue;
    sizes.insert(n);
    CHECK(take(pair.theirs.get()) == (first + second).substr(0, static_cast<std::size_t>(n)));
  }
  CHECK(sizes.size() > 5);
  CHECK(sizes.count(static_cast<ssize_t>(first.size() + second.size())) == 0);
}

TEST_CASE("Faults: an injected reset is one, for the calls after it and for the peer") {
  for (std::uint64_t seed = 1;; ++seed) {
    const SocketPair pair;
    char byte = 0;
    Faults::arm(only(Call::read, 1000, seed));
    const ssize_t n = read(pair.ours.get(), &byte, 1);
    const int error = errno;
    Faults::disarm();
    if (n >= 0 || error != ECONNRESET) continue;
    CHECK(read(pair.ours.get(), &byte, 1) == 0);
    CHECK(send(pair.ours.get(), &byte, 1, MSG_NOSIGNAL) == -1);
    CHECK(errno == EPIPE);
    CHECK(read(pair.theirs.get(), &byte, 1) == 0);
    return;
  }
}

TEST_CASE("Faults: a seed is a schedule, and another seed is another one") {
  const auto scheduleOf = [](std::uint64_t seed) {
    const UniqueFd counter(eventfd(1000, EFD_NONBLOCK | EFD_SEMAPHORE | EFD_CLOEXEC));
    std::vector<int> schedule;
    Faults::arm(only(Call::read, 300, seed));
    for (int i = 0; i < 200; ++i) {
      std::uint64_t count = 0;
      schedule.push_back(read(counter.get(), &count, sizeof count) < 0 ? errno : 0);
    }
    const FaultCounts counts = Faults::disarm();
    CHECK(counts.of(Call::read) == 200);
    CHECK(counts.injected > 30);
    CHECK(counts.injected < 90);
    return schedule;
  };
  CHECK(scheduleOf(1) == scheduleOf(1));
  CHECK(scheduleOf(1) != scheduleOf(2));
}

TEST_CASE("Faults: a script is followed call by call, and then all succeed") {
  const UniqueFd counter(eventfd(7, EFD_NONBLOCK | EFD_SEMAPHORE | EFD_CLOEXEC));
  std::uint64_t count = 0;
  Faults::arm(FaultPlan::scriptOf(Call::read, {0, EIO, 0, EINTR}));
  for (const int expected : {0, EIO, 0, EINTR, 0, 0}) {
    const bool good = read(counter.get(), &count, sizeof count) == sizeof count;
    CHECK((good ? 0 : errno) == expected);
  }
  CHECK(Faults::disarm().injected == 2);
}

TEST_CASE("Faults: who is spared, and everybody once it is over, is left alone") {
  const UniqueFd counter(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  const std::uint64_t one = 1;
  const auto put = [&] { return write(counter.get(), &one, sizeof one); };
  Faults::arm(only(Call::write, 1000));
  {
    const Faults::Spare spare;
    const Faults::Spare nested;
    CHECK(put() == sizeof one);
  }
  CHECK(put() == -1);
  ssize_t onOther = 0;
  {
    const Faults::Spare spare;  // this thread's alone
    std::thread([&] { onOther = put(); }).join();
  }
  CHECK(onOther == -1);
  Faults::disarm();
  CHECK(put() == sizeof one);
}

// If the library takes to another system call, the schedules would go on to pass, and test nothing.
TEST_CASE("Faults: sees the system calls of the library") {
  FaultCounts counts;
  {
    const Faults::Spare clients;
    ServerThread server([](rung::TcpServer& s) { s.setMessageCallback(echo); });
    Faults::arm(FaultPlan{});
    Client client(server.address());
    const std::string much = pattern(8 << 20);
    std::thread sender([&] {
      const Faults::Spare spare;
      client.send(much);
    });
    CHECK(client.receive(much.size()) == much);
    sender.join();
    counts = Faults::disarm();
  }
  CHECK(counts.injected == 0);
  CHECK(counts.of(Call::accept4) == 1);
  CHECK(counts.of(Call::epollCtlAdd) > 0);
  CHECK(counts.of(Call::epollWait) > 0);
  CHECK(counts.of(Call::read) + counts.of(Call::readv) + counts.of(Call::recv) > 10);
  CHECK(counts.of(Call::send) + counts.of(Call::sendmsg) + counts.of(Call::writev) > 10);

  const TempDirectory directory;
  Faults::arm(FaultPlan{});
  {
    rung::EventLoop loop;
    rung::AsyncLogging log({.file = {.baseName = directory / "log"}});
    log.start();
    log.append("line\n");
  }
  counts = Faults::disarm();
  for (const Call call : {Call::epollCreate1, Call::eventfd, Call::timerfdCreate, Call::open})
    CHECK(counts.of(call) > 0);
  CHECK(counts.of(Call::write) + counts.of(Call::writev) > 0);
}

}  // namespace
