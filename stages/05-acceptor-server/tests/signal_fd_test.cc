#include <doctest/doctest.h>
#include <signal.h>
#include <unistd.h>

#include <system_error>
#include <vector>

#include "rung/net/EventLoop.h"
#include "rung/net/SignalFd.h"

#include "tests/support/ChildProcess.h"

using rung::EventLoop;
using rung::SignalFd;
using rung::testing::runInChild;

namespace {

// In children, because blocked signals are a property of the thread and would stay.
TEST_CASE("SignalFd: a signal becomes a callback on the loop") {
  const auto child = runInChild([] {
    EventLoop loop;
    std::vector<int> seen;
    const SignalFd signals(&loop, {SIGTERM, SIGINT}, [&](int signal) {
      seen.push_back(signal);
      if (!loop.isInLoopThread()) _exit(3);
      if (seen.size() == 2) loop.quit();
    });
    kill(getpid(), SIGTERM);
    kill(getpid(), SIGINT);
    loop.loop();
    // Pending signals are handed out lowest number first.
    _exit(seen == std::vector<int>{SIGINT, SIGTERM} ? 7 : 4);
  });
  CHECK_MESSAGE(child.exitedWith(7), child.output);
}

TEST_CASE("SignalFd: signals that it does not watch go the old way") {
  const auto child = runInChild([] {
    EventLoop loop;
    const SignalFd signals(&loop, {SIGTERM}, [](int) {});
    kill(getpid(), SIGUSR1);
    loop.loop();
  });
  CHECK(WIFSIGNALED(child.status));
  CHECK(WTERMSIG(child.status) == SIGUSR1);
}

TEST_CASE("SignalFd: a bad signal number is refused with the number") {
  const auto child = runInChild([] {
    EventLoop loop;
    try {
      const SignalFd signals(&loop, {1000}, [](int) {});
    } catch (const std::system_error& e) {
      puts(e.what());
      fflush(stdout);
      _exit(7);
    }
  });
  CHECK(child.exitedWith(7));
  CHECK(child.says("signal number 1000"));
}

}  // namespace
