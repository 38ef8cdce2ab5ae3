#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>
#include <type_traits>

#include "rung/base/UniqueFd.h"

#include "tests/support/ChildProcess.h"

using rung::checkedFd;
using rung::UniqueFd;
using rung::testing::runInChild;

namespace {

int openSomething() {
  return open("/dev/null", O_RDONLY | O_CLOEXEC);
}
bool isOpen(int fd) {
  return fcntl(fd, F_GETFD) != -1;
}

TEST_CASE("UniqueFd: closes at the end of its life") {
  int number = -1;
  {
    const UniqueFd fd(openSomething());
    number = fd.get();
    CHECK(fd.valid());
    CHECK(isOpen(number));
  }
  CHECK_FALSE(isOpen(number));
}

TEST_CASE("UniqueFd: the default holds nothing and closes nothing") {
  const UniqueFd none;
  CHECK_FALSE(none.valid());
  CHECK(none.get() == -1);
}

TEST_CASE("UniqueFd: moves, and never copies") {
  static_assert(!std::is_copy_constructible_v<UniqueFd>);
  static_assert(!std::is_copy_assignable_v<UniqueFd>);
  static_assert(
      !std::is_convertible_v<int, UniqueFd>);  // an int does not become an owner by itself
  UniqueFd a(openSomething());
  const int number = a.get();
  UniqueFd b(std::move(a));
  CHECK(b.get() == number);
  CHECK_FALSE(a.valid());  // NOLINT(bugprone-use-after-move): that is the point

  UniqueFd c(openSomething());
  const int replaced = c.get();
  c = std::move(b);
  CHECK(c.get() == number);
  CHECK_FALSE(isOpen(replaced));
  CHECK(isOpen(number));
}

TEST_CASE("UniqueFd: assigning to itself keeps the descriptor") {
  UniqueFd a(openSomething());
  UniqueFd& same = a;
  a = std::move(same);
  CHECK(a.valid());
  CHECK(isOpen(a.get()));
}

TEST_CASE("UniqueFd: release gives the descriptor away open") {
  UniqueFd a(openSomething());
  const int number = a.release();
  CHECK_FALSE(a.valid());
  CHECK(a.get() == -1);
  CHECK(isOpen(number));
  close(number);
}

TEST_CASE("UniqueFd: reset to the number it holds does not close it") {
  UniqueFd a(openSomething());
  a.reset(a.get());
  CHECK(isOpen(a.get()));
}

TEST_CASE("UniqueFd: closing leaves errno alone") {
  UniqueFd bad(1'000'000);  // close() will say EBADF
  errno = EAGAIN;
  bad.reset();
  CHECK(errno == EAGAIN);
}

TEST_CASE("checkedFd: a failed call becomes an exception that names it") {
  errno = EMFILE;
  try {
    (void)checkedFd(-1, "eventfd");
    FAIL("no exception");
  } catch (const std::system_error& e) {
    CHECK(e.code().value() == EMFILE);
    CHECK(std::string(e.what()).find("eventfd") == 0);
  }
}

TEST_CASE("checkedFd: descriptor 0 is no failure") {
  UniqueFd zero = checkedFd(STDIN_FILENO, "eventfd");
  CHECK(zero.get() == STDIN_FILENO);
  CHECK(zero.release() == STDIN_FILENO);
}

// A process that was started without stdin gets 0 for the next descriptor it opens.
TEST_CASE("UniqueFd: closes descriptor 0 like any other") {
  const auto child = runInChild([] {
    (void)dup2(UniqueFd(openSomething()).get(), STDIN_FILENO);
    {
      const UniqueFd zero(STDIN_FILENO);
      if (!zero.valid()) _exit(1);
    }
    if (isOpen(STDIN_FILENO)) _exit(2);
  });
  CHECK(child.exitedWith(0));
}

}  // namespace
