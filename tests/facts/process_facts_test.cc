// What a process leaves behind, and what it hands on.

#include <doctest/doctest.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>

#include "tests/facts/Kernel.h"

using namespace facts;

namespace {

template <class Body>
int statusOfChild(Body body) {
  std::fflush(nullptr);
  const pid_t child = must(fork(), "fork");
  if (child == 0) {
    std::signal(SIGABRT, SIG_DFL);
    body();
    _exit(0);
  }
  int status = -1;
  waitpid(child, &status, 0);
  return status;
}

/// A file without a name, shared with children.
Fd memoryFile() {
  return Fd(must(memfd_create("facts", MFD_CLOEXEC), "memfd_create"));
}

off_t sizeOf(int fd) {
  return lseek(fd, 0, SEEK_END);
}

}  // namespace

TEST_CASE("process: what write took survives SIGKILL and what stdio holds does not") {
  const Fd held = memoryFile();
  const Fd written = memoryFile();
  const int status = statusOfChild([&] {
    FILE* file = fdopen(held, "w");
    std::fputs("a line that waits in the process\n", file);
    (void)!write(written, "a line that the kernel has\n", 27);
    std::raise(SIGKILL);
  });
  CHECK(WIFSIGNALED(status));
  CHECK(sizeOf(held) == 0);
  CHECK(sizeOf(written) == 27);
}

TEST_CASE("process: exit flushes stdio and abort does not") {
  const Fd afterExit = memoryFile();
  statusOfChild([&] {
    std::fputs("line\n", fdopen(afterExit, "w"));
    std::exit(0);
  });
  CHECK(sizeOf(afterExit) == 5);
  const Fd afterAbort = memoryFile();
  const int status = statusOfChild([&] {
    std::fputs("line\n", fdopen(afterAbort, "w"));
    std::abort();
  });
  CHECK(WTERMSIG(status) == SIGABRT);
  CHECK(sizeOf(afterAbort) == 0);
}

TEST_CASE("process: a forked child flushes its parent's lines a second time") {
  const Fd fd = memoryFile();
  FILE* file = fdopen(dup(fd), "w");
  std::fputs("once\n", file);
  const pid_t child = must(fork(), "fork");
  if (child == 0) {
    std::fflush(file);
    _exit(0);
  }
  int status = -1;
  waitpid(child, &status, 0);
  std::fclose(file);
  CHECK(sizeOf(fd) == 10);
}

TEST_CASE("process: fork copies the table of descriptors and shares what is open") {
  const Fd fd = memoryFile();
  const Fd other = memoryFile();
  (void)!write(fd, "0123456789", 10);
  const int status = statusOfChild([&] {
    ::close(other);                      // the child's own entry
    (void)lseek(fd, 3, SEEK_SET);        // the position that both have
    (void)fcntl(fd, F_SETFL, O_APPEND);  // and so are the flags
  });
  CHECK(status == 0);
  CHECK(fcntl(other, F_GETFD) != -1);
  CHECK(lseek(fd, 0, SEEK_CUR) == 3);
  CHECK((fcntl(fd, F_GETFL) & O_APPEND) != 0);
}

TEST_CASE("process: SIGPIPE ends a process that did nothing about it") {
  const int status = statusOfChild([] {
    std::signal(SIGPIPE, SIG_DFL);
    int ends[2];
    must(pipe(ends), "pipe");
    ::close(ends[0]);
    (void)!write(ends[1], "x", 1);
  });
  CHECK(WIFSIGNALED(status));
  CHECK(WTERMSIG(status) == SIGPIPE);
}

TEST_CASE("process: a descriptor without close-on-exec lives on in a program it starts") {
  // The started program looks for the descriptor's number among its own.
  const auto inherited = [](int flags) {
    int ends[2];
    must(pipe2(ends, flags), "pipe2");
    Fd readEnd(ends[0]), writeEnd(ends[1]);
    const std::string path = "/proc/self/fd/" + std::to_string(ends[1]);
    const int status = statusOfChild([&] {
      execlp("test", "test", "-e", path.c_str(), static_cast<char*>(nullptr));
      _exit(2);
    });
    return WEXITSTATUS(status);
  };
  CHECK(inherited(0) == 0);
  CHECK(inherited(O_CLOEXEC) == 1);
}

TEST_CASE("process: localtime answers in one place and localtime_r in one's own") {
  const time_t first = 0, second = 86400;
  const tm* const a = std::localtime(&first);
  const tm* const b = std::localtime(&second);
  CHECK(a == b);  // so the first answer is gone
  tm one{}, other{};
  CHECK(localtime_r(&first, &one) == &one);
  CHECK(localtime_r(&second, &other) == &other);
  CHECK(one.tm_yday != other.tm_yday);
}

TEST_CASE("process: a writer to O_APPEND never overwrites another") {
  char name[] = "/tmp/rung-facts-XXXXXX";
  Fd first(must(mkostemp(name, O_APPEND | O_CLOEXEC), "mkostemp"));
  Fd second(must(open(name, O_WRONLY | O_APPEND | O_CLOEXEC), "open"));
  Fd careless(must(open(name, O_WRONLY | O_CLOEXEC), "open"));
  unlink(name);
  (void)!write(first, "one ", 4);
  (void)!write(second, "two ", 4);
  (void)!write(first, "three", 5);
  CHECK(sizeOf(first) == 13);
  (void)!write(careless, "zero", 4);  // from its own offset, which is 0
  CHECK(sizeOf(first) == 13);
}
