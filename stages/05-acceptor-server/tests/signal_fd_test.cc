#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <initializer_list>
#include <set>
#include <stdexcept>
#include <string>
#include <system_error>

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
    std::set<int> seen;
    const SignalFd signals(&loop, {SIGTERM, SIGINT}, [&](int signal) {
      seen.insert(signal);
      if (!loop.isInLoopThread()) _exit(3);
      if (seen.size() == 2) loop.quit();
    });
    kill(getpid(), SIGTERM);
    kill(getpid(), SIGINT);
    loop.loop();
    _exit(seen == std::set<int>{SIGINT, SIGTERM} ? 7 : 4);
  });
  CHECK_MESSAGE(child.exitedWith(7), child.output);
}

TEST_CASE("SignalFd: its descriptor is non-blocking and close-on-exec") {
  const auto child = runInChild([] {
    EventLoop loop;
    const int next = dup(STDIN_FILENO);  // the lowest number that is free
    close(next);
    const SignalFd signals(&loop, {SIGTERM}, [](int) {});
    if ((fcntl(next, F_GETFD) & FD_CLOEXEC) == 0) puts("inherited by programs");
    if ((fcntl(next, F_GETFL) & O_NONBLOCK) == 0) puts("blocking");
  });
  CHECK(child.output == "");
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
  CHECK(child.says("1000"));
}

/// Starts sleep(1) as a child of this process, sends it the signals, and returns its end.
template <class InChild>
int endSleeper(InChild inChild, std::initializer_list<int> signals) {
  const pid_t sleeper = fork();
  if (sleeper == 0) {
    inChild();
    execlp("sleep", "sleep", "10", nullptr);
    _exit(9);
  }
  for (const int signal : signals)
    kill(sleeper, signal);
  int status = 0;
  waitpid(sleeper, &status, 0);
  return WTERMSIG(status);
}

// A child that a server with a SignalFd started could not be ended by SIGTERM: a mask goes through
// fork and exec.
TEST_CASE("SignalFd: a child inherits the blocked signals, unless it unblocks them") {
  const auto child = runInChild([] {
    EventLoop loop;
    const SignalFd signals(&loop, {SIGTERM}, [](int) {});
    // The kernel decides in kill() how a process ends: SIGKILL comes too late for one that SIGTERM
    // could end.
    if (endSleeper([] {}, {SIGTERM, SIGKILL}) != SIGKILL) _exit(2);
    if (endSleeper([] { SignalFd::unblockInChild(); }, {SIGTERM}) != SIGTERM) _exit(3);
    _exit(7);
  });
  CHECK_MESSAGE(child.exitedWith(7), child.status << child.output);
}

TEST_CASE("SignalFd: posix_spawn gives a child a mask of its own") {
  const auto child = runInChild([] {
    EventLoop loop;
    const SignalFd signals(&loop, {SIGTERM}, [](int) {});
    sigset_t none;
    sigemptyset(&none);
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    char name[] = "sleep";
    char seconds[] = "10";
    char* const arguments[] = {name, seconds, nullptr};
    pid_t sleeper = -1;
    if (posix_spawnp(&sleeper, name, nullptr, &attributes, arguments, environ) != 0) _exit(2);
    kill(sleeper, SIGTERM);
    int status = 0;
    waitpid(sleeper, &status, 0);
    _exit(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM ? 7 : 3);
  });
  CHECK_MESSAGE(child.exitedWith(7), child.status << child.output);
}

TEST_CASE("SignalFd: without a loop it aborts, and by name when its callback throws") {
  const auto noLoop = runInChild([] { const SignalFd signals(nullptr, {SIGUSR1}, [](int) {}); });
  CHECK(noLoop.aborted());
  const auto thrown = runInChild([] {
    EventLoop loop;
    const SignalFd signals(&loop, {SIGUSR1}, [](int) { throw std::runtime_error("no more"); });
    kill(getpid(), SIGUSR1);
    loop.loop();
  });
  CHECK(thrown.aborted());
  CHECK(thrown.says("SignalFd"));
  CHECK(thrown.says("no more"));
}

}  // namespace
