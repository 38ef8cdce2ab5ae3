#include "rung/net/Channel.h"

#include <doctest/doctest.h>
#include <sys/epoll.h>

#include <memory>
#include <string>

#include "rung/net/EventLoop.h"

#include "tests/support/ChildProcess.h"
#include "tests/support/LoopRounds.h"
#include "tests/support/Sockets.h"

using rung::Channel;
using rung::EventLoop;
using rung::Timestamp;
using rung::testing::Pipe;
using rung::testing::put;
using rung::testing::runInChild;
using rung::testing::runRounds;
using rung::testing::SocketPair;
using rung::testing::take;

namespace {

/// Writes down which callbacks ran, as letters.
struct Recorder {
  explicit Recorder(Channel& channel) {
    channel.setReadCallback([this](Timestamp) { calls += 'r'; });
    channel.setWriteCallback([this] { calls += 'w'; });
    channel.setCloseCallback([this] { calls += 'c'; });
    channel.setErrorCallback([this] { calls += 'e'; });
  }
  std::string calls;
};

/// A channel with both interests on, to which the test says what happened.
struct Fixture {
  Fixture() {
    channel.enableReading();
    channel.enableWriting();
  }
  ~Fixture() { channel.remove(); }
  std::string callsFor(std::uint32_t revents) {
    recorder.calls.clear();
    channel.setRevents(revents);
    channel.handleEvent(Timestamp());
    return recorder.calls;
  }
  EventLoop loop;
  SocketPair pair;
  Channel channel{&loop, pair.ours.get()};
  Recorder recorder{channel};
};

TEST_CASE("Channel: each event goes to its callback") {
  Fixture f;
  CHECK(f.callsFor(EPOLLIN) == "r");
  CHECK(f.callsFor(EPOLLRDHUP) == "r");
  CHECK(f.callsFor(EPOLLOUT) == "w");
  CHECK(f.callsFor(EPOLLIN | EPOLLOUT) == "rw");
  CHECK(f.callsFor(EPOLLHUP) == "c");
  CHECK(f.callsFor(EPOLLERR) == "e");
  CHECK(f.callsFor(0) == "");
}

// A reset shows as IN, ERR and HUP together. Asking for SO_ERROR first, as muduo does, clears it:
// the read after it sees a clean end of file.
TEST_CASE("Channel: with something to read, the read callback learns of errors and hang-ups") {
  Fixture f;
  CHECK(f.callsFor(EPOLLIN | EPOLLHUP) == "r");
  CHECK(f.callsFor(EPOLLIN | EPOLLERR | EPOLLHUP) == "r");
  CHECK(f.callsFor(EPOLLIN | EPOLLRDHUP | EPOLLERR | EPOLLHUP) == "r");
}

TEST_CASE("Channel: events that are no longer wanted are dropped") {
  Fixture f;
  f.channel.disableWriting();
  CHECK(f.callsFor(EPOLLIN | EPOLLOUT) == "r");
  f.channel.disableAll();
  CHECK(f.callsFor(EPOLLIN | EPOLLOUT | EPOLLHUP | EPOLLERR) == "");
  CHECK(f.callsFor(EPOLLHUP | EPOLLERR) == "");
}

TEST_CASE(
    "Channel: an error without a callback of its own goes to who reads, or else to who writes") {
  Fixture f;
  f.channel.setErrorCallback(nullptr);
  CHECK(f.callsFor(EPOLLERR) == "r");
  f.channel.disableReading();
  CHECK(f.callsFor(EPOLLERR) == "w");
  f.channel.enableReading();
  f.channel.setReadCallback(nullptr);
  CHECK(f.callsFor(EPOLLERR) == "w");
}

TEST_CASE("Channel: an event for which there is no callback is no harm") {
  Fixture f;
  f.channel.setReadCallback(nullptr);
  f.channel.setWriteCallback(nullptr);
  f.channel.setCloseCallback(nullptr);
  f.channel.setErrorCallback(nullptr);
  for (const std::uint32_t event : {EPOLLIN, EPOLLOUT, EPOLLHUP, EPOLLERR})
    CHECK(f.callsFor(event) == "");
}

TEST_CASE("Channel: a close callback that ends the watch is the last one called") {
  Fixture f;
  f.channel.setCloseCallback([&] {
    f.recorder.calls += 'c';
    f.channel.remove();
  });
  CHECK(f.callsFor(EPOLLHUP | EPOLLERR | EPOLLOUT) == "c");
}

// The reading end of a pipe gets HUP without IN when the writer has gone. With a read callback
// only, no callback would be called, and a level-triggered loop would spin.
TEST_CASE("Channel: without a close or error callback the others hear of it") {
  EventLoop loop;
  Pipe pipe;
  Channel reader(&loop, pipe.readEnd.get());
  Channel writer(&loop, pipe.writeEnd.get());
  int ends = 0;
  reader.setReadCallback([&](Timestamp) {
    if (take(reader.fd()).empty()) ++ends, reader.remove();
  });
  reader.enableReading();
  pipe.writeEnd.reset();
  runRounds(loop, 3);
  CHECK(ends == 1);

  Pipe broken;
  Channel deaf(&loop, broken.writeEnd.get());
  int errors = 0;
  deaf.setWriteCallback([&] { ++errors, deaf.remove(); });
  broken.readEnd.reset();
  deaf.enableWriting();
  runRounds(loop, 3);
  CHECK(errors == 1);
}

TEST_CASE("Channel: a socket's hang-up is seen as long as anything is watched, and not after") {
  EventLoop loop;
  SocketPair pair;
  Channel channel(&loop, pair.ours.get());
  int closes = 0;
  channel.setCloseCallback([&] { ++closes; });
  channel.setReadCallback([&](Timestamp) {});
  channel.enableReading();
  channel.disableAll();
  pair.theirs.reset();
  runRounds(loop, 3);
  CHECK(closes == 0);
  channel.enableWriting();
  runRounds(loop, 3);
  CHECK(closes == 3);
  channel.remove();
}

// Level-triggered reports what is so, edge-triggered what has changed.
TEST_CASE("Channel: LT reports unread data at every wait, ET once for each arrival") {
  EventLoop loop;
  SocketPair pair;
  Channel channel(&loop, pair.ours.get());
  int calls = 0;
  channel.setReadCallback([&](Timestamp) { ++calls; });
  channel.enableReading();
  put(pair.theirs, "a");
  runRounds(loop, 5);
  CHECK(calls == 5);

  calls = 0;
  channel.enableEdgeTriggered();  // changing the watch reports what is there once more
  runRounds(loop, 5);
  CHECK(calls == 1);
  put(pair.theirs, "b");  // new bytes report again, though the old ones are still unread
  runRounds(loop, 5);
  CHECK(calls == 2);
  CHECK(take(channel.fd(), 1) == "a");  // what is left alone does not
  runRounds(loop, 5);
  CHECK(calls == 2);
  channel.remove();
}

// An epoll_ctl(2) that changes nothing reports unread data once more, as any other does.
TEST_CASE("Channel: to ask for what is watched already is no change") {
  EventLoop loop;
  SocketPair pair;
  Channel channel(&loop, pair.ours.get());
  int calls = 0;
  channel.setReadCallback([&](Timestamp) { ++calls; });
  channel.enableReading();
  channel.enableEdgeTriggered();
  put(pair.theirs, "a");
  runRounds(loop, 2);
  CHECK(calls == 1);
  channel.enableReading();
  channel.enableEdgeTriggered();
  channel.disableWriting();
  runRounds(loop, 2);
  CHECK(calls == 1);
  channel.remove();
}

TEST_CASE("Channel: tie keeps the owner alive while a callback drops the last reference") {
  struct Owner {
    Owner(EventLoop* loop, int fd, bool& gone) : channel(loop, fd), gone_(gone) {}
    ~Owner() {
      channel.remove();
      gone_ = true;
    }
    Channel channel;
    bool& gone_;
  };
  EventLoop loop;
  SocketPair pair;
  bool gone = false;
  bool goneInCallback = true;
  auto owner = std::make_shared<Owner>(&loop, pair.ours.get(), gone);
  owner->channel.tie(owner);
  owner->channel.setReadCallback([&](Timestamp) {
    owner.reset();
    goneInCallback = gone;
  });
  owner->channel.enableReading();
  put(pair.theirs, "x");
  runRounds(loop, 2);
  CHECK_FALSE(goneInCallback);
  CHECK(gone);
}

TEST_CASE("Channel: when the tied owner is gone, nothing is called") {
  EventLoop loop;
  SocketPair pair;
  Channel channel(&loop, pair.ours.get());
  Recorder recorder(channel);
  {
    const auto owner = std::make_shared<int>(1);
    channel.tie(owner);
  }
  channel.enableReading();
  put(pair.theirs, "x");
  runRounds(loop, 2);
  CHECK(recorder.calls.empty());
  channel.remove();
}

TEST_CASE("Channel: destroying one that is still registered aborts with the descriptor's number") {
  const auto child = runInChild([] {
    EventLoop loop;
    SocketPair pair;
    Channel channel(&loop, pair.ours.get());
    channel.enableReading();
  });
  CHECK(child.aborted());
  CHECK(child.says("registered"));
}

TEST_CASE("Channel: destroying one in its own callback aborts") {
  const auto child = runInChild([] {
    EventLoop loop;
    SocketPair pair;
    auto channel = std::make_unique<Channel>(&loop, pair.ours.get());
    channel->setReadCallback([&](Timestamp) {
      channel->remove();
      channel.reset();
    });
    channel->enableReading();
    put(pair.theirs, "x");
    runRounds(loop, 2);
  });
  CHECK(child.aborted());
  CHECK(child.says("callback"));
}

TEST_CASE("Channel: an exception from a callback ends the process") {
  const auto child = runInChild([] {
    EventLoop loop;
    SocketPair pair;
    Channel channel(&loop, pair.ours.get());
    channel.setReadCallback([](Timestamp) { throw std::runtime_error("lost message"); });
    channel.enableReading();
    put(pair.theirs, "x");
    loop.loop();
  });
  CHECK(child.aborted());
  CHECK(child.says("read callback of fd "));
  CHECK(child.says("lost message"));
}

TEST_CASE("Channel: without a loop it is refused by name") {
  const auto child = runInChild([] { const Channel channel(nullptr, 7); });
  CHECK(child.aborted());
  CHECK(child.says("fd 7"));
}

// The callback that ran was destroyed by its own assignment, and went on with captures that were
// gone: on the heap if they were large; if they were small, with those of the new one.
TEST_CASE("Channel: a callback may replace itself, and goes on with what it has captured") {
  Fixture f;
  std::string seen;
  const auto replace = [&](const std::string& text) {
    f.channel.setReadCallback([&seen, text](Timestamp) { seen += text; });
  };
  SUBCASE("captures on the heap") {
    auto witness = std::make_shared<int>(0);
    f.channel.setReadCallback([&, witness, text = std::string(100, 'x')](Timestamp) {
      replace("second ");
      CHECK(witness.use_count() == 2);
      seen += text == std::string(100, 'x') ? "first " : "lost ";
    });
    f.callsFor(EPOLLIN);
    CHECK(witness.use_count() == 1);  // and when it has returned, it goes
  }
  SUBCASE("captures in the Channel") {
    struct First {
      Channel& channel;
      std::string& seen;
    } first{f.channel, seen};
    f.channel.setReadCallback([&first](Timestamp) {
      first.channel.setReadCallback([&seen = first.seen](Timestamp) { seen += "second "; });
      first.seen += "first ";
    });
    f.callsFor(EPOLLIN);
  }
  CHECK(seen == "first ");
  f.callsFor(EPOLLIN);
  CHECK(seen == "first second ");
}

TEST_CASE("Channel: what a replaced callback owned may set another one when it goes") {
  Fixture f;
  std::string seen;
  struct SetsAtEnd {
    Channel& channel;
    std::string& seen;
    ~SetsAtEnd() {
      channel.setWriteCallback([&text = seen] { text += 'w'; });
    }
  };
  f.channel.setReadCallback(
      [&f, owned = std::shared_ptr<SetsAtEnd>(new SetsAtEnd{f.channel, seen})](Timestamp) {
        f.channel.setReadCallback(nullptr);
      });
  f.callsFor(EPOLLIN | EPOLLOUT);
  CHECK(seen == "w");
}

TEST_CASE("Channel: of the callbacks that one sets, the last one counts, for the next event on") {
  Fixture f;
  std::string seen;
  f.channel.setReadCallback([&](Timestamp) {
    for (const char letter : {'a', 'b'})
      f.channel.setWriteCallback([&seen, letter] { seen += letter; });
    f.channel.setReadCallback(nullptr);
  });
  f.callsFor(EPOLLIN | EPOLLOUT);
  CHECK(seen == "b");
  CHECK(f.callsFor(EPOLLIN).empty());
}

TEST_CASE("Channel: a callback that lets another one run changes its own when it returns itself") {
  Fixture f;
  const SocketPair pair;
  Channel inner(&f.loop, pair.ours.get());
  inner.enableReading();
  inner.setRevents(EPOLLIN);
  std::string seen;
  const auto witness = std::make_shared<int>(0);
  f.channel.setReadCallback([&, witness](Timestamp) {
    f.channel.setReadCallback([&](Timestamp) { seen += "outer "; });
    inner.handleEvent(Timestamp());
    CHECK(witness.use_count() == 2);  // this one is still there
    seen += "changes ";
  });
  inner.setReadCallback(
      [&](Timestamp) { inner.setReadCallback([&](Timestamp) { seen += "inner "; }); });
  f.callsFor(EPOLLIN);
  CHECK(witness.use_count() == 1);
  f.callsFor(EPOLLIN);
  inner.handleEvent(Timestamp());
  CHECK(seen == "changes outer inner ");
  inner.remove();
}

// Two Channels are handling an event then, and the one whose callback is set is the outer one.
TEST_CASE("Channel: a callback that is run within another's may replace that one") {
  Fixture f;
  Channel inner(&f.loop, f.pair.theirs.get());
  inner.enableReading();
  std::string seen;
  inner.setReadCallback(
      [&](Timestamp) { f.channel.setReadCallback([&](Timestamp) { seen += "second "; }); });
  const auto witness = std::make_shared<int>(0);
  f.channel.setReadCallback([&, witness](Timestamp) {
    inner.setRevents(EPOLLIN);
    inner.handleEvent(Timestamp());
    CHECK(witness.use_count() == 2);
    seen += "first ";
  });
  f.callsFor(EPOLLIN);
  CHECK(witness.use_count() == 1);
  CHECK(seen == "first ");
  f.callsFor(EPOLLIN);
  CHECK(seen == "first second ");
  inner.remove();
}

// Outside of a callback as well. The one that was set by the destructor was lost, and leaked.
TEST_CASE("Channel: what a replaced callback owned may set that callback when it goes") {
  Fixture f;
  std::string seen;
  const auto witness = std::make_shared<int>(0);
  struct SetsAtEnd {
    Channel& channel;
    std::string& seen;
    std::shared_ptr<int> witness;
    ~SetsAtEnd() {
      channel.setReadCallback([this_ = &seen, witness = witness](Timestamp) { *this_ += "last"; });
    }
  };
  f.channel.setReadCallback(
      [owned = std::shared_ptr<SetsAtEnd>(new SetsAtEnd{f.channel, seen, witness})](Timestamp) {});
  f.channel.setReadCallback([&seen, witness](Timestamp) { seen += "replaced"; });
  f.callsFor(EPOLLIN);
  CHECK(seen == "last");
  CHECK(witness.use_count() == 2);
  f.channel.setReadCallback(nullptr);
  CHECK(witness.use_count() == 1);
}

// The callback was called as if it were no callback: it destroyed itself, and an exception from it
// ended the process without a word.
TEST_CASE("Channel: told that its loop is gone, a close callback may replace itself, or throw") {
  SocketPair pair;
  std::string seen;
  auto loop = std::make_unique<EventLoop>();
  const auto channel = std::make_shared<Channel>(loop.get(), pair.ours.get());
  channel->tie(channel);
  channel->setCloseCallback([&, text = std::string("a text that is longer than fifteen")] {
    channel->setCloseCallback(nullptr);
    seen += text;
  });
  channel->enableReading();
  SUBCASE("replaces itself") {
    loop.reset();
    CHECK(seen == "a text that is longer than fifteen");
  }
  SUBCASE("throws") {
    channel->setCloseCallback([] { throw std::runtime_error("no"); });
    const int fd = channel->fd();
    const auto child = runInChild([&] { loop.reset(); });
    CHECK(child.says("close callback of fd " + std::to_string(fd)));
    CHECK(child.says("no"));
    channel->setCloseCallback(nullptr);
    loop.reset();
  }
}

TEST_CASE("Channel: outlives its loop without touching it") {
  SocketPair pair;
  auto loop = std::make_unique<EventLoop>();
  Channel channel(loop.get(), pair.ours.get());
  channel.enableReading();
  loop.reset();
  CHECK(channel.ownerLoop() == nullptr);
  CHECK(channel.isNoneEvent());
  channel.enableReading();
  channel.disableAll();
  channel.remove();
}

TEST_CASE("Channel: when its loop goes, a tied one calls its close callback, or nothing at all") {
  for (const bool withCallback : {true, false}) {
    CAPTURE(withCallback);
    SocketPair pair;
    auto loop = std::make_unique<EventLoop>();
    Channel channel(loop.get(), pair.ours.get());
    Recorder recorder(channel);
    if (!withCallback) channel.setCloseCallback(nullptr);
    const auto owner = std::make_shared<int>(1);
    channel.tie(owner);
    channel.enableReading();
    loop.reset();
    CHECK(recorder.calls == (withCallback ? "c" : ""));
    CHECK(channel.ownerLoop() == nullptr);
  }
}

TEST_CASE("Channel: describes its interest and what happened") {
  Fixture f;
  const std::string fd = std::to_string(f.channel.fd());
  CHECK(f.channel.eventsToString() == fd + ": IN OUT");
  f.channel.setRevents(EPOLLIN | EPOLLHUP);
  CHECK(f.channel.reventsToString() == fd + ": IN HUP");
}

// With an empty interest, epoll still reports ERR and HUP: a Channel that is only silenced, and not
// taken from the kernel, would keep the loop spinning.
TEST_CASE("Channel: a hang-up while nothing is wanted does not even wake the loop") {
  EventLoop loop;
  SocketPair pair;
  Channel channel(&loop, pair.ours.get());
  channel.enableReading();
  channel.disableAll();
  pair.theirs.reset();
  runRounds(loop, 3);
  CHECK(channel.reventsToString() == std::to_string(channel.fd()) + ":");
  channel.remove();
}

}  // namespace
