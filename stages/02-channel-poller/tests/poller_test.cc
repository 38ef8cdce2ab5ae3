// One table of tests for both demultiplexers, driven through an EventLoop.

#include "rung/net/Poller.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "rung/net/Channel.h"
#include "rung/net/EventLoop.h"

#include "tests/support/Allocations.h"
#include "tests/support/ChildProcess.h"
#include "tests/support/LoopRounds.h"
#include "tests/support/Process.h"
#include "tests/support/Sockets.h"

using rung::Channel;
using rung::EventLoop;
using rung::Poller;
using rung::PollerKind;
using rung::Timestamp;
using rung::UniqueFd;
using rung::testing::allowDescriptors;
using rung::testing::NoMemory;
using rung::testing::Pipe;
using rung::testing::put;
using rung::testing::runInChild;
using rung::testing::runRounds;
using rung::testing::SocketPair;
using rung::testing::take;

using namespace std::chrono_literals;

namespace {

PollerKind eachPoller() {
  PollerKind kind = PollerKind::epoll;
  SUBCASE("epoll") {
    kind = PollerKind::epoll;
  }
  SUBCASE("poll") {
    kind = PollerKind::poll;
  }
  return kind;
}

TEST_CASE("Poller: readable data reaches the read callback, with the time of the wait") {
  EventLoop loop(eachPoller());
  SocketPair pair;
  Channel channel(&loop, pair.ours.get());
  std::string got;
  Timestamp when;
  channel.setReadCallback([&](Timestamp t) {
    got = take(channel.fd());
    when = t;
    loop.quit();
  });
  channel.enableReading();
  put(pair.theirs, "hello");
  loop.loop();
  CHECK(got == "hello");
  CHECK(when == loop.pollReturnTime());
  channel.remove();
}

// A time from before the wait makes all that follows look late.
TEST_CASE("Poller: a wait that finds nothing ends after its timeout, and says when") {
  const std::unique_ptr<Poller> poller = Poller::create(eachPoller());
  Poller::ChannelList ready;
  const Timestamp before = Timestamp::now();
  const Timestamp after = poller->poll(20ms, ready);
  CHECK(after - before >= 19ms);  // the wall clock may be slowed down a little meanwhile
  CHECK(after <= Timestamp::now());
  CHECK(ready.empty());
}

TEST_CASE("Poller: room to write reaches the write callback, until it is switched off") {
  EventLoop loop(eachPoller());
  SocketPair pair;
  Channel channel(&loop, pair.ours.get());
  int calls = 0;
  channel.setWriteCallback([&] {
    if (++calls == 3) channel.disableWriting();
  });
  channel.enableWriting();
  runRounds(loop, 6);
  CHECK(calls == 3);
  channel.remove();
}

TEST_CASE("Poller: reading and writing are switched independently") {
  EventLoop loop(eachPoller());
  SocketPair pair;
  Channel channel(&loop, pair.ours.get());
  int reads = 0;
  int writes = 0;
  channel.setReadCallback([&](Timestamp) { ++reads; });
  channel.setWriteCallback([&] { ++writes; });
  put(pair.theirs, "x");
  channel.enableReading();
  channel.enableWriting();
  runRounds(loop, 1);
  CHECK(reads == 1);
  CHECK(writes == 1);
  channel.disableReading();
  runRounds(loop, 1);
  CHECK(reads == 1);
  CHECK(writes == 2);
  channel.disableAll();
  CHECK(channel.isNoneEvent());
  runRounds(loop, 1);
  CHECK(reads == 1);
  CHECK(writes == 2);
  channel.enableReading();
  runRounds(loop, 1);
  CHECK(reads == 2);
  channel.remove();
}

TEST_CASE("Poller: a callback may remove its own channel") {
  EventLoop loop(eachPoller());
  SocketPair pair;
  Channel channel(&loop, pair.ours.get());
  int reads = 0;
  int writes = 0;
  channel.setReadCallback([&](Timestamp) {
    ++reads;
    channel.remove();
    channel.remove();  // twice does no harm
  });
  channel.setWriteCallback([&] { ++writes; });
  put(pair.theirs, "x");
  channel.enableReading();
  channel.enableWriting();
  runRounds(loop, 3);
  CHECK(reads == 1);
  CHECK(writes == 0);  // ready as well, but no longer wanted
  CHECK_FALSE(loop.hasChannel(&channel));
}

/// Destroys a Channel, and fills the memory with what ends the process if it is used again. As it
/// was left, it would say that no event is wanted, and a stale event would pass for none.
struct DestroyForGood {
  void operator()(Channel* channel) const {
    channel->~Channel();
    std::memset(static_cast<void*>(channel), 0xFF, sizeof(Channel));
    ::operator delete(channel);
  }
};

// The loop has the second channel in its list already. muduo asserts here; a build without asserts
// calls a dead object.
TEST_CASE("Poller: a callback may remove and destroy another channel that is ready in the batch") {
  EventLoop loop(eachPoller());
  constexpr int kPairs = 8;
  std::vector<SocketPair> pairs(kPairs);
  std::vector<std::unique_ptr<Channel, DestroyForGood>> channels;
  int calls = 0;
  for (int i = 0; i < kPairs; ++i) {
    channels.emplace_back(new Channel(&loop, pairs[static_cast<size_t>(i)].ours.get()));
    Channel* self = channels.back().get();
    self->setReadCallback([&, self](Timestamp) {
      ++calls;
      take(self->fd());
      for (auto& channel : channels) {
        if (channel == nullptr || channel.get() == self) continue;
        channel->remove();
        channel.reset();
      }
    });
    self->enableReading();
  }
  for (const SocketPair& pair : pairs)
    put(pair.theirs, "x");
  runRounds(loop, 3);
  CHECK(calls == 1);
  for (auto& channel : channels) {
    if (channel != nullptr) channel->remove();
  }
}

TEST_CASE("Poller: switching off another channel's reading takes effect within the batch") {
  EventLoop loop(eachPoller());
  SocketPair first;
  SocketPair second;
  Channel a(&loop, first.ours.get());
  Channel b(&loop, second.ours.get());
  int calls = 0;
  a.setReadCallback([&](Timestamp) { ++calls, a.disableReading(), b.disableReading(); });
  b.setReadCallback([&](Timestamp) { ++calls, a.disableReading(), b.disableReading(); });
  a.enableReading();
  b.enableReading();
  put(first.theirs, "x");
  put(second.theirs, "x");
  runRounds(loop, 2);
  CHECK(calls == 1);
  a.remove();
  b.remove();
}

// The kernel hands out the lowest free number, so a descriptor closed in a batch comes straight
// back for the next one opened. The event of the old owner must not reach the new one.
TEST_CASE("Poller: a re-used descriptor number does not inherit the events of the batch") {
  EventLoop loop(eachPoller());
  SocketPair one;
  SocketPair two;
  SocketPair fresh;
  std::unique_ptr<Channel> reborn;
  int rebornCalls = 0;
  const auto replace = [&](Channel& victim, UniqueFd& fd) {
    if (reborn != nullptr) return;
    const int number = fd.get();
    victim.remove();
    fd.reset();
    fd = UniqueFd(fcntl(fresh.ours.get(), F_DUPFD_CLOEXEC, number));
    REQUIRE(fd.get() == number);
    reborn = std::make_unique<Channel>(&loop, number);
    reborn->setReadCallback([&](Timestamp) { ++rebornCalls; });
    reborn->enableReading();
  };
  Channel a(&loop, one.ours.get());
  Channel b(&loop, two.ours.get());
  a.setReadCallback([&](Timestamp) { replace(b, two.ours), take(a.fd()); });
  b.setReadCallback([&](Timestamp) { replace(a, one.ours), take(b.fd()); });
  a.enableReading();
  b.enableReading();
  put(one.theirs, "x");
  put(two.theirs, "x");
  runRounds(loop, 2);
  CHECK(rebornCalls == 0);
  put(fresh.theirs, "for the new owner");
  runRounds(loop, 1);
  CHECK(rebornCalls == 1);
  reborn->remove();
  a.remove();
  b.remove();
}

// It is the same object, and it wants to read. But the kernel was asked before it came back.
TEST_CASE("Poller: a channel that is removed and comes back within the batch waits for the next") {
  EventLoop loop(eachPoller());
  SocketPair first;
  SocketPair second;
  Channel a(&loop, first.ours.get());
  Channel b(&loop, second.ours.get());
  int calls = 0;
  const auto restart = [&](Channel& self, Channel& other) {
    ++calls;
    take(self.fd());
    take(other.fd());  // so that there is nothing to read after this batch
    other.remove();
    other.enableReading();
  };
  a.setReadCallback([&](Timestamp) { restart(a, b); });
  b.setReadCallback([&](Timestamp) { restart(b, a); });
  a.enableReading();
  b.enableReading();
  put(first.theirs, "x");
  put(second.theirs, "x");
  runRounds(loop, 2);
  CHECK(calls == 1);
  put(first.theirs, "y");
  runRounds(loop, 1);
  CHECK(calls == 2);
  a.remove();
  b.remove();
}

// A list that loses an element shifts: the channel behind it was passed over. It had its turn after
// the next wait, and an edge-triggered one had none.
TEST_CASE("Poller: a channel that removes itself takes no other one out of the batch") {
  EventLoop loop(eachPoller());
  constexpr int kPairs = 4;
  std::vector<SocketPair> pairs(kPairs);
  std::vector<std::unique_ptr<Channel>> channels;
  std::vector<Timestamp> waits;
  for (const SocketPair& pair : pairs) {
    channels.push_back(std::make_unique<Channel>(&loop, pair.ours.get()));
    Channel* self = channels.back().get();
    self->setReadCallback([&waits, self](Timestamp receiveTime) {
      waits.push_back(receiveTime);
      self->remove();
    });
    self->enableReading();
    put(pair.theirs, "x");
  }
  runRounds(loop, 3);
  REQUIRE(waits.size() == kPairs);
  const auto inTheFirstBatch = std::count(waits.begin(), waits.end(), waits.front());
  CHECK(inTheFirstBatch == kPairs);
}

TEST_CASE("Poller: a removed channel can be registered again") {
  EventLoop loop(eachPoller());
  SocketPair pair;
  Channel channel(&loop, pair.ours.get());
  int calls = 0;
  channel.setReadCallback([&](Timestamp) { ++calls; });
  put(pair.theirs, "x");
  for (int round = 1; round <= 3; ++round) {
    channel.enableReading();
    CHECK(loop.hasChannel(&channel));
    runRounds(loop, 1);
    CHECK(calls == round);
    channel.remove();
    CHECK_FALSE(loop.hasChannel(&channel));
  }
}

TEST_CASE("Poller: removing from the middle keeps the others apart") {
  EventLoop loop(eachPoller());
  std::vector<SocketPair> pairs(5);
  std::vector<std::unique_ptr<Channel>> channels;
  std::vector<int> calls(5, 0);
  for (std::size_t i = 0; i < 5; ++i) {
    channels.push_back(std::make_unique<Channel>(&loop, pairs[i].ours.get()));
    channels[i]->setReadCallback([&calls, i](Timestamp) { ++calls[i]; });
    channels[i]->enableReading();
    put(pairs[i].theirs, "x");
  }
  channels[1]->remove();
  channels[3]->remove();
  runRounds(loop, 1);
  CHECK(calls == std::vector<int>{1, 0, 1, 0, 1});
  for (auto& channel : channels)
    channel->remove();
}

TEST_CASE("Poller: more ready channels than one wait returns are all served") {
  constexpr std::size_t kMany = 200;
  if (!allowDescriptors(2 * kMany + 50)) {
    MESSAGE("skipped: this process may not have " << 2 * kMany + 50 << " descriptors");
    return;
  }
  EventLoop loop(eachPoller());
  std::vector<SocketPair> pairs(kMany);
  std::vector<std::unique_ptr<Channel>> channels;
  std::size_t served = 0;
  for (const SocketPair& pair : pairs) {
    channels.push_back(std::make_unique<Channel>(&loop, pair.ours.get()));
    Channel* self = channels.back().get();
    self->setReadCallback([&, self](Timestamp) {
      take(self->fd());
      if (++served == kMany) loop.quit();
    });
    self->enableReading();
    put(pair.theirs, "x");
  }
  loop.loop();
  CHECK(served == kMany);
  for (auto& channel : channels)
    channel->remove();
}

TEST_CASE("Poller: a signal does not end the loop") {
  EventLoop loop(eachPoller());
  static Pipe* pipeOfHandler = nullptr;
  Pipe pipe;
  pipeOfHandler = &pipe;
  Channel channel(&loop, pipe.readEnd.get());
  channel.setReadCallback([&](Timestamp) { loop.quit(); });
  channel.enableReading();
  struct sigaction action {};
  struct sigaction before {};
  static int signals = 0;
  signals = 0;
  // The first two signals interrupt the wait and nothing else; the third one lets it end.
  action.sa_handler = [](int) {
    if (++signals == 3) put(pipeOfHandler->writeEnd, "x");
  };
  sigaction(SIGALRM, &action, &before);
  const itimerval every{{0, 2000}, {0, 2000}};
  setitimer(ITIMER_REAL, &every, nullptr);
  loop.loop();
  const itimerval never{};
  setitimer(ITIMER_REAL, &never, nullptr);
  sigaction(SIGALRM, &before, nullptr);
  CHECK(signals >= 3);
  channel.remove();
}

TEST_CASE("Poller: two channels on one descriptor are refused") {
  const PollerKind kind = eachPoller();
  const auto child = runInChild([kind] {
    EventLoop loop(kind);
    SocketPair pair;
    Channel a(&loop, pair.ours.get());
    Channel b(&loop, pair.ours.get());
    a.enableReading();
    b.enableReading();
  });
  CHECK(child.aborted());
  CHECK_MESSAGE(child.says("fd "), child.output);
}

TEST_CASE("Poller: a descriptor closed while registered is found out, not ignored") {
  const PollerKind kind = eachPoller();
  const auto child = runInChild([kind] {
    EventLoop loop(kind);
    SocketPair pair;
    Channel channel(&loop, pair.ours.get());
    channel.enableReading();
    pair.ours.reset();
    channel.enableWriting();
    loop.loop();
  });
  CHECK(child.aborted());
  CHECK_MESSAGE(child.says("fd "), child.output);
}

// epoll_wait(2) fills an array of a size that grows up to a limit. The rest comes with the next
// call.
TEST_CASE("Poller: of many ready channels, more than one wait tells of, each gets its turn") {
  constexpr std::size_t kMany = 4500;
  if (!allowDescriptors(kMany + 100)) {
    MESSAGE("skipped: this process may not have " << kMany + 100 << " descriptors");
    return;
  }
  const PollerKind kind = eachPoller();
  const auto child = runInChild([&] {
    EventLoop loop(kind);
    SocketPair pair;
    std::vector<UniqueFd> fds;
    std::vector<std::unique_ptr<Channel>> channels;
    std::size_t called = 0;
    for (std::size_t i = 0; i < kMany; ++i) {
      fds.emplace_back(fcntl(pair.ours.get(), F_DUPFD_CLOEXEC, 0));
      channels.push_back(std::make_unique<Channel>(&loop, fds.back().get()));
      channels.back()->setWriteCallback([&called, first = true]() mutable {
        if (std::exchange(first, false)) ++called;
      });
      channels.back()->enableWriting();
    }
    runRounds(loop, 20);
    _exit(called == kMany ? 7 : 1);
  });
  CHECK_MESSAGE(child.exitedWith(7), child.output);
}

TEST_CASE("Poller: a Channel that wants nothing is not registered") {
  EventLoop loop(eachPoller());
  SocketPair pair;
  Channel channel(&loop, pair.ours.get());
  loop.updateChannel(&channel);
  CHECK_FALSE(loop.hasChannel(&channel));
}

std::size_t heapBytes() {
  const struct mallinfo2 info = mallinfo2();
  return info.uordblks + info.hblkhd;
}

// The table was indexed by descriptor: each of many loops had room for all descriptors there are.
TEST_CASE(
    "Poller: the table has room for what the loop watches, whatever its descriptor's number") {
  constexpr int kHigh = 60'000;
  EventLoop loop(eachPoller());
  if (!allowDescriptors(kHigh + 1)) {
    MESSAGE("skipped: this process may not have " << kHigh + 1 << " descriptors");
    return;
  }
  const SocketPair pair;
  const UniqueFd high(fcntl(pair.ours.get(), F_DUPFD_CLOEXEC, kHigh));
  REQUIRE(high.get() >= kHigh);
  Channel channel(&loop, high.get());
  const std::size_t before = heapBytes();
  channel.enableReading();
  CHECK(loop.hasChannel(&channel));
  CHECK(heapBytes() - before < 1000);
  channel.remove();
}

// bad_alloc left loop(), and the loop's destructor ended the process with another reason.
TEST_CASE("Poller: without memory for all that are ready, they are told of in parts") {
  EventLoop loop(eachPoller());
  constexpr std::size_t kPairs = 40;  // with 128 descriptors there is room for them
  const std::vector<SocketPair> pairs(kPairs);
  std::vector<std::unique_ptr<Channel>> channels;
  std::size_t served = 0;
  for (const SocketPair& pair : pairs) {
    channels.push_back(std::make_unique<Channel>(&loop, pair.ours.get()));
    Channel& channel = *channels.back();
    channel.setReadCallback([&, fd = channel.fd()](Timestamp) {
      char byte;
      if (read(fd, &byte, 1) != 1) return;
      if (++served == 1 || served == 1 + kPairs) loop.quit();
    });
    channel.enableReading();
    put(pair.theirs, "x");
    if (channels.size() > 1) continue;
    loop.loop();  // a loop that has run has room for one at least
    put(pair.theirs, "x");
  }
  {
    const NoMemory none;
    loop.loop();
  }
  CHECK(served == 1 + kPairs);
  for (const auto& channel : channels)
    channel->remove();
}

// With room for none, epoll_wait(2) would refuse the call.
TEST_CASE("EpollPoller: a wait that has no memory for one event throws, and the next one is good") {
  const std::unique_ptr<Poller> poller = Poller::create(PollerKind::epoll);
  Poller::ChannelList ready;
  bool thrown = false;
  try {
    const NoMemory none;
    (void)poller->poll(0ms, ready);
  } catch (const std::bad_alloc&) {
    thrown = true;
  }
  CHECK(thrown);
  (void)poller->poll(0ms, ready);
  CHECK(ready.empty());
  CHECK(ready.capacity() > 0);
}

// With poll(2) a Channel was in one of two tables, and its removal wrote behind the other; with
// epoll it was the kernel's but not ours, and the next attempt aborted.
TEST_CASE("Poller: a registration for which there is no memory changes nothing") {
  EventLoop loop(eachPoller());
  const std::vector<SocketPair> pairs(40);
  std::vector<std::unique_ptr<Channel>> channels;
  int refusals = 0;
  int served = 0;
  for (const SocketPair& pair : pairs) {
    channels.push_back(std::make_unique<Channel>(&loop, pair.ours.get()));
    Channel& channel = *channels.back();
    channel.setReadCallback([&](Timestamp) {
      char byte;
      if (read(channel.fd(), &byte, 1) == 1 && ++served == 40) loop.quit();
    });
    for (int granted = 0; granted < 2; ++granted) {
      try {
        const NoMemory none(granted);
        channel.enableReading();
      } catch (const std::bad_alloc&) {
        ++refusals;
        CHECK_FALSE(channel.isReading());
        CHECK_FALSE(loop.hasChannel(&channel));
        channel.remove();
      }
    }
    channel.enableReading();
    CHECK(loop.hasChannel(&channel));
    put(pair.theirs, "x");
  }
  CHECK(refusals > 0);
  loop.loop();
  CHECK(served == 40);
  for (const auto& channel : channels)
    channel->remove();
}

TEST_CASE("Poller: a descriptor that is none is refused") {
  const PollerKind kind = eachPoller();
  const auto child = runInChild([kind] {
    EventLoop loop(kind);
    Channel channel(&loop, -1);
    channel.enableReading();
  });
  CHECK(child.aborted());
  CHECK_MESSAGE(child.says(" -1"), child.output);
}

TEST_CASE("Poller: removing a Channel that this loop does not have aborts") {
  const PollerKind kind = eachPoller();
  const auto child = runInChild([kind] {
    EventLoop loop(kind);
    SocketPair pair;
    Channel channel(&loop, pair.ours.get());
    loop.removeChannel(&channel);
  });
  CHECK(child.aborted());
  CHECK(child.says("another loop"));
}

// Each Channel knows its place in the table of its own loop, and the other table has such a place,
// too.
TEST_CASE("Poller: a Channel at the same place in another loop's table is not taken for it") {
  const PollerKind kind = eachPoller();
  /// Two loops with a Channel each; `work` gets the second loop, on its thread, and both Channels.
  const auto withTwo = [kind](auto work) {
    EventLoop loop(kind);
    SocketPair pair;
    Channel foreign(&loop, pair.ours.get());
    foreign.enableReading();
    std::thread([&] {
      EventLoop other(kind);
      Channel own(&other, pair.theirs.get());
      own.enableReading();
      work(other, own, foreign);
      own.remove();
    }).join();
    CHECK(loop.hasChannel(&foreign));
    foreign.remove();
  };
  withTwo([](EventLoop& loop, Channel& own, Channel& foreign) {
    CHECK(own.index() == foreign.index());
    CHECK(loop.hasChannel(&own));
    CHECK_FALSE(loop.hasChannel(&foreign));
  });
  const auto child = runInChild([&] {
    withTwo([](EventLoop& loop, Channel&, Channel& foreign) { loop.removeChannel(&foreign); });
  });
  CHECK(child.aborted());
  CHECK(child.says("another loop"));
}

// A daemon closes all descriptors that it has inherited. If it makes its loop before that, the
// loop's are among them.
TEST_CASE("EpollPoller: when its own descriptor was closed, the wait aborts") {
  const auto child = runInChild([] {
    EventLoop loop;
    constexpr int kMany = 100;
    (void)close(STDIN_FILENO);  // which is the loop's if there was no stdin
    for (int fd = STDERR_FILENO + 1; fd < kMany; ++fd)
      (void)close(fd);
    loop.loop();
  });
  CHECK(child.aborted());
  CHECK(child.says("epoll_wait"));
}

TEST_CASE("PollPoller: a wait that the kernel refuses aborts") {
  const auto child = runInChild([] {
    EventLoop loop(PollerKind::poll);
    SocketPair pair;
    Channel a(&loop, pair.ours.get());
    Channel b(&loop, pair.theirs.get());
    a.enableReading();
    b.enableReading();
    const rlimit fewer{1, 1};  // than are asked for
    setrlimit(RLIMIT_NOFILE, &fewer);
    loop.loop();
  });
  CHECK(child.aborted());
  CHECK(child.says("poll"));
}

TEST_CASE("EpollPoller: a descriptor that was closed before its Channel was removed aborts") {
  const auto child = runInChild([] {
    EventLoop loop;
    SocketPair pair;
    Channel channel(&loop, pair.ours.get());
    channel.enableReading();
    pair.ours.reset();
    channel.remove();
  });
  CHECK(child.aborted());
  CHECK(child.says("epoll_ctl DEL"));
}

// The number is taken again, by a file that epoll has never heard of.
TEST_CASE("EpollPoller: a descriptor that was closed and came back as another aborts") {
  const auto child = runInChild([] {
    EventLoop loop;
    SocketPair pair;
    SocketPair other;
    Channel channel(&loop, pair.ours.get());
    channel.enableReading();
    (void)dup2(other.ours.get(), pair.ours.get());
    channel.enableWriting();
  });
  CHECK(child.aborted());
  CHECK(child.says("epoll_ctl MOD"));
  CHECK(child.says("No such file or directory"));
}

TEST_CASE("EpollPoller: a regular file is refused with the reason, and the interest stays off") {
  EventLoop loop;
  const UniqueFd file(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  Channel channel(&loop, file.get());
  try {
    channel.enableReading();
    FAIL("no exception");
  } catch (const std::system_error& e) {
    CHECK(e.code().value() == EPERM);
    CHECK(std::string(e.what()).find("epoll_ctl ADD") != std::string::npos);
  }
  CHECK_FALSE(channel.isReading());
  CHECK_FALSE(loop.hasChannel(&channel));
}

TEST_CASE("PollPoller: edge-triggered mode is refused") {
  const auto child = runInChild([] {
    EventLoop loop(PollerKind::poll);
    SocketPair pair;
    Channel channel(&loop, pair.ours.get());
    channel.enableReading();
    channel.enableEdgeTriggered();
  });
  CHECK(child.aborted());
  CHECK(child.says("edge-triggered"));
}

// A process that was started without stdin gets 0 for the next descriptor it opens.
TEST_CASE("Poller: a Channel may stand on descriptor 0") {
  const PollerKind kind = eachPoller();
  const auto child = runInChild([kind] {
    SocketPair pair;
    EventLoop loop(kind);
    (void)dup2(pair.ours.get(), STDIN_FILENO);
    Channel channel(&loop, STDIN_FILENO);
    channel.setReadCallback([&](Timestamp) { loop.quit(); });
    channel.enableReading();
    put(pair.theirs, "x");
    loop.loop();
    channel.remove();
  });
  CHECK(child.exitedWith(0));
}

// poll(2) skips negative descriptors only, and 0 has no negative.
TEST_CASE("Poller: a Channel on descriptor 0 that wants nothing hears of no hang-up") {
  const PollerKind kind = eachPoller();
  const auto child = runInChild([kind] {
    const SocketPair first;  // so that the loop does not get descriptor 0 if that is free
    EventLoop loop(kind);
    for (const int fd : {STDIN_FILENO, STDOUT_FILENO})
      (void)dup2(SocketPair().ours.get(), fd);  // whose other end is gone
    Channel channel(&loop, STDIN_FILENO);
    channel.setCloseCallback([] { _exit(1); });
    channel.setErrorCallback([] { _exit(2); });
    channel.setReadCallback([](Timestamp) { _exit(3); });
    channel.enableReading();
    channel.disableAll();
    runRounds(loop, 3);
    channel.remove();
  });
  CHECK(child.exitedWith(0));
}

}  // namespace
