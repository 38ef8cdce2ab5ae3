#include <doctest/doctest.h>

#include "rung/net/ReceivingHalf.h"

#include "tests/support/Sockets.h"

using rung::ReceivingHalf;
using rung::testing::put;
using rung::testing::SocketPair;

namespace {

TEST_CASE("ReceivingHalf: gives back what it has borrowed, once, and otherwise nothing") {
  const SocketPair pair;
  ReceivingHalf half;
  half.giveBack();
  for (const int round : {1, 2}) {
    CAPTURE(round);
    CHECK(put(pair.theirs, "hello"));
    CHECK(half.readFrom(pair.ours.get()).bytes == 5);
    CHECK(half.bytes() == 5);
    CHECK(half.buffer().retrieveAllAsString() == "hello");
    half.giveBack();
    half.giveBack();
    CHECK(half.bytes() == 0);
  }
}

TEST_CASE("ReceivingHalf: what it keeps is not given back, and not read over by another") {
  const SocketPair one;
  const SocketPair two;
  ReceivingHalf keeper;
  ReceivingHalf other;
  CHECK(put(one.theirs, "kept"));
  CHECK(put(two.theirs, "of another"));
  CHECK(keeper.readFrom(one.ours.get()).bytes == 4);
  keeper.keep(true);
  CHECK(keeper.stuck);
  keeper.giveBack();
  CHECK(other.readFrom(two.ours.get()).bytes == 10);
  CHECK(other.buffer().view() == "of another");
  CHECK(keeper.buffer().view() == "kept");
}

}  // namespace
