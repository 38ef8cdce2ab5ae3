#pragma once

#include "rung/net/Channel.h"
#include "rung/net/EventLoop.h"

#include "tests/support/Sockets.h"

namespace rung::testing {

/// Lets `loop` wait and dispatch `rounds` times without ever blocking: a channel that is always
/// ready to write counts the rounds and quits.
inline void runRounds(EventLoop& loop, int rounds) {
  SocketPair pair;
  Channel ticker(&loop, pair.ours.get());
  ticker.setWriteCallback([&] {
    if (--rounds == 0) loop.quit();
  });
  ticker.enableWriting();
  loop.loop();
  ticker.remove();
}

}  // namespace rung::testing
