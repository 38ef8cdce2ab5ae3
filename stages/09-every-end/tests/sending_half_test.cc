#include <doctest/doctest.h>

#include <cerrno>
#include <string>
#include <string_view>
#include <thread>

#include "rung/net/SendingHalf.h"

#include "tests/support/Sockets.h"

using rung::SendingHalf;
using rung::testing::SocketPair;
using rung::testing::take;

namespace {

TEST_CASE("SendingHalf: keeps what the kernel did not take, and counts it") {
  SendingHalf half;
  CHECK(half.idle());
  half.keep(std::string_view("hello"), 2, 0);
  CHECK_FALSE(half.idle());
  CHECK(half.waitingBytes() == 3);
  CHECK(half.unsentBytes() == 3);
  half.keep(std::string(100'000, 'x'), 1, 0);
  CHECK(half.waitingBytes() == 100'002);
  CHECK(half.unsentBytes() == 100'002);
}

TEST_CASE("SendingHalf: what was promised before is not counted twice") {
  SendingHalf half;
  std::thread([&] { half.promise(5); }).join();
  CHECK(half.unsentBytes() == 5);
  CHECK(half.idle());
  half.keep(std::string("hello"), 2, 5);
  CHECK(half.unsentBytes() == 3);
  half.promise(7);
  half.withdraw(7);
  CHECK(half.unsentBytes() == 3);
}

TEST_CASE("SendingHalf: offers to a socket all that waits, in order") {
  SendingHalf half;
  const SocketPair pair;
  half.keep(std::string_view("hello, "), 0, 0);
  half.keep(std::string(200'000, 'x'), 200'000 - 5, 0);
  const rung::IoResult result = half.offer(pair.ours.get());
  CHECK(result.error == 0);
  CHECK(result.bytes == 12);
  CHECK(half.idle());
  CHECK(half.unsentBytes() == 0);
  CHECK(take(pair.theirs.get()) == "hello, xxxxx");
}

TEST_CASE("SendingHalf: a failed offer changes no account") {
  SendingHalf half;
  half.keep(std::string_view("lost"), 0, 0);
  CHECK(half.offer(-1).error == EBADF);
  CHECK(half.waitingBytes() == 4);
  CHECK(half.unsentBytes() == 4);
}

TEST_CASE("SendingHalf: each mark is told once, in turn") {
  SendingHalf half;
  CHECK_FALSE(half.fellTo(10));  // it never rose
  half.keep(std::string_view("12345"), 0, 0);
  CHECK_FALSE(half.roseTo(6));
  CHECK_FALSE(half.aboveHighWater());
  CHECK(half.roseTo(5));  // reached is enough
  CHECK_FALSE(half.roseTo(5));
  CHECK(half.aboveHighWater());
  CHECK_FALSE(half.fellTo(4));
  CHECK(half.fellTo(5));
  CHECK_FALSE(half.fellTo(5));
  CHECK_FALSE(half.aboveHighWater());
  CHECK(half.roseTo(5));
}

TEST_CASE("SendingHalf: the last one to let go is told") {
  SendingHalf half;
  CHECK_FALSE(half.held());
  half.hold();
  half.hold();
  CHECK_FALSE(half.release());
  CHECK(half.held());
  CHECK(half.release());
  CHECK_FALSE(half.held());
}

TEST_CASE("SendingHalf: dropped, it is closed, and its bytes stay counted as lost") {
  SendingHalf half;
  half.keep(std::string_view("lost"), 0, 0);
  CHECK(half.roseTo(1));
  CHECK_FALSE(half.closed());
  half.drop();
  CHECK(half.closed());
  CHECK(half.idle());
  CHECK(half.unsentBytes() == 4);
  CHECK(half.fellTo(0));  // who waits for the low mark is to be told
}

}  // namespace
