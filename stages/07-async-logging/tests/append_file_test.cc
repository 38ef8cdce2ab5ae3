#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <thread>

#include "rung/base/AppendFile.h"
#include "rung/base/QuietWrite.h"

#include "tests/support/ChildProcess.h"
#include "tests/support/TempDirectory.h"

using rung::AppendFile;
using rung::quietWrite;
using rung::UniqueFd;
using rung::testing::contentsOf;
using rung::testing::runInChild;
using rung::testing::TempDirectory;

namespace {

constexpr auto kAppend = AppendFile::Existing::append;
constexpr auto kRefuse = AppendFile::Existing::refuse;

TEST_CASE("AppendFile: what was appended is in the file, and counted") {
  const TempDirectory directory;
  AppendFile file;
  CHECK_FALSE(file.isOpen());
  REQUIRE(file.open(directory / "log", kRefuse) == 0);
  CHECK(file.isOpen());
  CHECK(file.append("one\n").bytes == 4);
  CHECK(file.append("").bytes == 0);
  const auto done = file.append("three\n");
  CHECK(done.bytes == 6);
  CHECK(done.error == 0);
  CHECK(file.writtenBytes() == 10);
  CHECK(contentsOf(directory / "log") == "one\nthree\n");  // without a flush or a close
}

TEST_CASE("AppendFile: adds to a file that exists, or refuses it and leaves it alone") {
  const TempDirectory directory;
  AppendFile first;
  REQUIRE(first.open(directory / "log", kAppend) == 0);
  (void)first.append("first\n");
  AppendFile second;
  CHECK(second.open(directory / "log", kRefuse) == EEXIST);
  CHECK_FALSE(second.isOpen());
  REQUIRE(second.open(directory / "log", kAppend) == 0);
  CHECK(second.writtenBytes() == 0);
  (void)second.append("second\n");
  (void)first.append("third\n");
  CHECK(contentsOf(directory / "log") == "first\nsecond\nthird\n");
}

TEST_CASE("AppendFile: to open another file closes the first, also if that fails") {
  const TempDirectory directory;
  AppendFile file;
  REQUIRE(file.open(directory / "first", kAppend) == 0);
  (void)file.append("first\n");
  REQUIRE(file.open(directory / "second", kAppend) == 0);
  CHECK(file.writtenBytes() == 0);
  (void)file.append("two\n");
  CHECK(file.writtenBytes() == 4);
  CHECK(contentsOf(directory / "first") == "first\n");
  CHECK(file.open(directory / "missing/log", kAppend) == ENOENT);
  CHECK_FALSE(file.isOpen());
}

// In a directory where others may write, a link with the name of the next log file would make the
// server write to a file of their choice.
TEST_CASE("AppendFile: a new file does not follow a symbolic link") {
  const TempDirectory directory;
  REQUIRE(symlink("/tmp/elsewhere", (directory / "log").c_str()) == 0);
  AppendFile file;
  CHECK(file.open(directory / "log", kRefuse) == EEXIST);
}

TEST_CASE("AppendFile: a path that cannot be opened is an error value") {
  const TempDirectory directory;
  AppendFile file;
  CHECK(file.open(directory / "missing/log", kAppend) == ENOENT);
  CHECK(file.open(directory.path(), kAppend) == EISDIR);
  CHECK_FALSE(file.isOpen());
}

// A server that was started without stdin logs to descriptor 0. What errno says of an earlier call
// is of no account: only a failed one sets it.
TEST_CASE("AppendFile: descriptor 0 is one like any other") {
  const TempDirectory directory;
  const auto child = runInChild([&] {
    (void)close(STDIN_FILENO);
    AppendFile file;
    errno = EINTR;
    if (file.open(directory / "log", kRefuse) != 0) _exit(2);
    if (file.descriptor() != STDIN_FILENO || !file.isOpen()) _exit(3);
    if (file.append("line\n").bytes != 5) _exit(4);
  });
  CHECK(child.exitedWith(0));
  CHECK(contentsOf(directory / "log") == "line\n");
}

TEST_CASE("AppendFile: a full disk is an error value") {
  AppendFile file;
  REQUIRE(file.open("/dev/full", kAppend) == 0);
  const auto done = file.append("lost\n");
  CHECK(done.bytes == 0);
  CHECK(done.error == ENOSPC);
  CHECK(file.writtenBytes() == 0);
}

// A limit of the file's size stands for the disk that fills up in the middle of a write. The kernel
// sends SIGXFSZ besides, which ended the server.
TEST_CASE("AppendFile: a disk that fills up takes a part, and the caller learns how much") {
  const TempDirectory directory;
  const auto child = runInChild([&] {
    const rlimit tenBytes{10, 10};
    setrlimit(RLIMIT_FSIZE, &tenBytes);
    AppendFile file;
    if (file.open(directory / "log", kAppend) != 0) _exit(1);
    const auto done = file.append("0123456789ABCDEF");
    _exit(done.bytes == 10 && done.error == EFBIG && file.writtenBytes() == 10 ? 0 : 2);
  });
  CHECK(child.exitedWith(0));
  CHECK(contentsOf(directory / "log") == "0123456789");
}

bool isPending(int signal) {
  sigset_t pending;
  sigpending(&pending);
  return sigismember(&pending, signal) == 1;
}

bool isBlocked(int signal) {
  sigset_t blocked;
  pthread_sigmask(SIG_BLOCK, nullptr, &blocked);
  return sigismember(&blocked, signal) == 1;
}

void block(int signal) {
  sigset_t one;
  sigemptyset(&one);
  sigaddset(&one, signal);
  pthread_sigmask(SIG_BLOCK, &one, nullptr);
}

/// The end to write to of a pipe that nobody reads.
UniqueFd brokenPipe() {
  int ends[2];
  REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
  close(ends[0]);
  return UniqueFd(ends[1]);
}

TEST_CASE("quietWrite: a pipe that nobody reads is an error value, and no signal") {
  const UniqueFd pipe = brokenPipe();
  const auto child = runInChild([&] {
    if (quietWrite(pipe.get(), "lost") != -1 || errno != EPIPE) _exit(1);
    _exit(isPending(SIGPIPE) || isBlocked(SIGPIPE) || isBlocked(SIGXFSZ) ? 2 : 0);
  });
  CHECK(child.exitedWith(0));
}

TEST_CASE("quietWrite: a signal that the thread has blocked is not left behind either") {
  const UniqueFd pipe = brokenPipe();
  const auto child = runInChild([&] {
    block(SIGPIPE);
    if (quietWrite(pipe.get(), "lost") != -1 || errno != EPIPE) _exit(1);
    _exit(isPending(SIGPIPE) || !isBlocked(SIGPIPE) ? 2 : 0);
  });
  CHECK(child.exitedWith(0));
}

TEST_CASE("quietWrite: nor is that of a file at its limit") {
  const TempDirectory directory;
  const auto child = runInChild([&] {
    const UniqueFd file(open((directory / "file").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    const rlimit none{0, 0};
    setrlimit(RLIMIT_FSIZE, &none);
    block(SIGXFSZ);
    if (quietWrite(file.get(), "lost") != -1 || errno != EFBIG) _exit(1);
    _exit(isPending(SIGXFSZ) || !isBlocked(SIGXFSZ) ? 2 : 0);
  });
  CHECK(child.exitedWith(0));
}

TEST_CASE("quietWrite: a signal that waited already is somebody else's, and still waits") {
  const UniqueFd pipe = brokenPipe();
  const auto child = runInChild([&] {
    block(SIGPIPE);
    (void)raise(SIGPIPE);
    if (quietWrite(pipe.get(), "lost") != -1 || errno != EPIPE) _exit(1);
    _exit(isPending(SIGPIPE) ? 0 : 2);
  });
  CHECK(child.exitedWith(0));
}

TEST_CASE("quietWrite: what can be written is written, and errno and the mask are as before") {
  const TempDirectory directory;
  const UniqueFd file(open((directory / "file").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  CHECK(quietWrite(file.get(), "text") == 4);
  CHECK(contentsOf(directory / "file") == "text");
  CHECK_FALSE(isBlocked(SIGPIPE));
  CHECK_FALSE(isBlocked(SIGXFSZ));
}

// A pipe is small, so each write is cut short or sleeps, and a signal interrupts it there.
TEST_CASE("AppendFile: goes on after short writes and interrupted ones") {
  const TempDirectory directory;
  REQUIRE(mkfifo((directory / "pipe").c_str(), 0600) == 0);
  struct sigaction interrupt {};
  interrupt.sa_handler = [](int) {};  // without SA_RESTART
  struct sigaction before {};
  sigaction(SIGUSR1, &interrupt, &before);

  const std::string text(1 << 20, 'x');
  AppendFile::Appended done{};
  std::thread writer([&] {
    AppendFile file;
    if (file.open(directory / "pipe", kAppend) == 0) done = file.append(text);
  });
  const UniqueFd reader(open((directory / "pipe").c_str(), O_RDONLY | O_CLOEXEC));
  std::string got;
  char piece[8192];
  while (got.size() < text.size()) {
    pthread_kill(writer.native_handle(), SIGUSR1);
    const ssize_t n = read(reader.get(), piece, sizeof piece);
    if (n <= 0) break;
    got.append(piece, static_cast<std::size_t>(n));
  }
  writer.join();
  sigaction(SIGUSR1, &before, nullptr);
  CHECK(done.bytes == text.size());
  CHECK(done.error == 0);
  CHECK(got == text);
}

TEST_CASE("AppendFile: knows when its file was deleted") {
  const TempDirectory directory;
  AppendFile file;
  CHECK_FALSE(file.deleted());  // there is none
  REQUIRE(file.open(directory / "log", kRefuse) == 0);
  CHECK_FALSE(file.deleted());
  REQUIRE(unlink((directory / "log").c_str()) == 0);
  CHECK(file.deleted());
  CHECK(file.append("in vain\n").error == 0);  // the kernel does not mind, so one has to ask
}

TEST_CASE("AppendFile: is not handed on to programs that the process starts") {
  const TempDirectory directory;
  AppendFile file;
  REQUIRE(file.open(directory / "log", kRefuse) == 0);
  CHECK((fcntl(file.descriptor(), F_GETFD) & FD_CLOEXEC) != 0);
}

}  // namespace
