// Files that the kernel sends from its page cache, in order with other sends.

#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <functional>
#include <limits>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

#include "rung/net/TcpConnection.h"

#include "tests/support/Allocations.h"
#include "tests/support/Client.h"
#include "tests/support/OneConnection.h"
#include "tests/support/ServerThread.h"
#include "tests/support/Sockets.h"

using rung::CloseReason;
using rung::FileRange;
using rung::OutputBuffer;
using rung::UniqueFd;
using rung::testing::eventually;
using rung::testing::NoMemory;
using rung::testing::OneConnection;
using rung::testing::pattern;

namespace {

/// A file with this text, which has no name.
UniqueFd fileWith(std::string_view text) {
  UniqueFd file(memfd_create("send_file_test", MFD_CLOEXEC));
  REQUIRE(file.valid());
  REQUIRE(::write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()));
  return file;
}

UniqueFd another(const UniqueFd& file) {
  return UniqueFd(fcntl(file.get(), F_DUPFD_CLOEXEC, 0));
}

std::size_t openDescriptors() {
  const std::filesystem::directory_iterator all("/proc/self/fd");
  return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

/// The message of the exception that `function` throws as an `Exception`.
template <class Exception, class Function>
std::string messageOf(Function function) {
  try {
    function();
  } catch (const Exception& e) {
    return e.what();
  }
  return "no exception";
}

TEST_CASE("sendFile: a file, a part of one, and bytes around them arrive in order") {
  OneConnection f;
  const std::string text = pattern(100'000);
  f.inLoop([&] {
    CHECK(f.connection->send("<"));
    CHECK(f.connection->sendFile(fileWith(text)));
    CHECK(f.connection->send("|"));
    CHECK(f.connection->sendFile(fileWith(text), 10, 20));
    CHECK(f.connection->sendFile(fileWith(text), text.size() - 5));
    CHECK(f.connection->sendFile(fileWith(text), text.size()));  // none
    CHECK(f.connection->send(">"));
    f.connection->shutdown();
    CHECK_FALSE(f.connection->sendFile(fileWith(text)));
  });
  CHECK(f.client.receiveAll() ==
        "<" + text + "|" + text.substr(10, 20) + text.substr(text.size() - 5) + ">");
  CHECK(f.connection->outputBytes() == 0);
}

// More than the kernel takes at once, many times over; so each kind of piece has to wait behind
// each other kind.
TEST_CASE("sendFile: large files and large strings wait for a slow reader, in order") {
  OneConnection f;
  const std::string text = pattern(9 << 20);
  std::string all;
  f.inLoop([&] {
    for (int i = 0; i < 3; ++i) {
      const std::string small = "small" + std::to_string(i);
      CHECK(f.connection->sendFile(fileWith(text)));
      CHECK(f.connection->send(small));
      CHECK(f.connection->send(small));
      CHECK(f.connection->send(std::string(text)));
      CHECK(f.connection->sendFile(fileWith(small), 1));
      all += text + small + small + text + small.substr(1);
    }
    CHECK(f.connection->outputBytes() > all.size() / 2);
    f.connection->shutdown();
  });
  CHECK(f.client.receiveAll() == all);
  CHECK(f.connection->outputBytes() == 0);
}

TEST_CASE("sendFile: on another thread it keeps its place among the sends of that thread") {
  OneConnection f;
  const std::string text = pattern(70'000);
  std::string all;
  std::thread([&] {
    for (int i = 0; i < 50; ++i) {
      CHECK(f.connection->send("-" + std::to_string(i)));
      CHECK(f.connection->sendFile(fileWith(text), 0, 1000 * static_cast<std::size_t>(i)));
      all += "-" + std::to_string(i) + text.substr(0, 1000 * static_cast<std::size_t>(i));
    }
    f.connection->shutdown();
    CHECK_FALSE(f.connection->sendFile(fileWith(text)));
  }).join();
  CHECK(f.client.receiveAll() == all);
}

TEST_CASE("sendFile: no byte of the file takes memory while a reader makes it wait") {
  OneConnection f;
  UniqueFd file(memfd_create("sparse", MFD_CLOEXEC));
  constexpr off_t kSize = off_t{1} << 32;  // more than any memory that the test should take
  REQUIRE(ftruncate(file.get(), kSize) == 0);
  f.inLoop([&] {
    const int before = rung::testing::allocations();
    CHECK(f.connection->sendFile(std::move(file)));
    CHECK(rung::testing::allocations() - before <= 2);  // the queue, and its first place
    CHECK(f.connection->outputBytes() > std::size_t{kSize} / 2);
  });
  CHECK(f.client.receive(1 << 20) == std::string(1 << 20, '\0'));
}

TEST_CASE(
    "sendFile: the descriptor is closed when its last byte is sent, or none can be any more") {
  const std::string text = pattern(9 << 20);
  const std::size_t before = openDescriptors();
  {
    OneConnection f;
    const std::size_t connected = openDescriptors();
    f.inLoop([&] { CHECK(f.connection->sendFile(fileWith("short"))); });
    CHECK(f.client.receive(5) == "short");
    CHECK(openDescriptors() == connected);
    f.inLoop([&] { CHECK(f.connection->sendFile(fileWith(text))); });
    CHECK(openDescriptors() == connected + 1);
    SUBCASE("sent") {
      CHECK(f.client.receive(text.size()) == text);
    }
    SUBCASE("cut") {
      f.connection->forceClose();
    }
    SUBCASE("the peer breaks it off") {
      f.client.reset();
    }
    CHECK(eventually([&] { return openDescriptors() <= connected; }));
  }
  CHECK(openDescriptors() == before);
}

// Whoever asks for small files and never reads would hold all descriptors of the process.
TEST_CASE("sendFile: for the water marks a file weighs 64 KiB more than its bytes") {
  OutputBuffer output;
  CHECK(output.weight() == 0);
  output.append("text");
  CHECK(output.weight() == 4);
  for (int i = 0; i < 3; ++i)
    output.append(FileRange(fileWith("file"), 0, 4));
  CHECK(output.bytes() == 16);
  CHECK(output.weight() == 16 + 3 * 65536);
  output.append(FileRange(fileWith("file"), 4, 0));  // nothing: it does not wait
  CHECK(output.weight() == 16 + 3 * 65536);
  output.clear();
  CHECK(output.weight() == 0);
}

TEST_CASE("sendFile: a peer that asks for small files and reads none is held back at the mark") {
  rung::ConnectionLimits limits;
  limits.highWaterMark = 10 * 65536;
  limits.lowWaterMark = 65536;
  std::atomic<int> asked{0};
  std::atomic<std::size_t> told{0};
  rung::testing::OneConnection f([&](rung::TcpServer& server) {
    server.setLimits(limits);
    server.setHighWaterMarkCallback(
        [&](const rung::TcpConnectionPtr&, std::size_t bytes) { told = bytes; });
    server.setMessageCallback(
        [&](const rung::TcpConnectionPtr& c, rung::Buffer& buffer, rung::Timestamp) {
          // As one request a byte, until the connection has enough to do. The guide says so.
          while (!buffer.empty() && c->outputBytes() < limits.highWaterMark) {
            buffer.retrieve(1);
            ++asked;
            CHECK(c->sendFile(fileWith("0123456789")));
          }
        });
  });
  const std::size_t before = openDescriptors();
  const int bytes = 4096;
  f.inLoop([&] {
    CHECK(setsockopt(f.connection->fd(), SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes) == 0);
  });
  constexpr std::size_t kRequests = 500'000;
  std::thread asking([&] { CHECK(f.client.send(std::string(kRequests, '?'))); });
  CHECK(eventually([&] {
    bool reading = true;
    f.inLoop([&] { reading = f.connection->isReading(); });
    return !reading;
  }));
  CHECK(openDescriptors() <= before + 12);
  CHECK(told >= limits.highWaterMark);
  CHECK(f.client.receive(kRequests * 10).size() == kRequests * 10);  // it goes on
  asking.join();
  CHECK(asked == kRequests);
}

// A FIN would let a part pass for the whole.
TEST_CASE("sendFile: a file that is made shorter meanwhile resets the connection") {
  OneConnection f;
  const std::string text = pattern(9 << 20);
  const UniqueFd file = fileWith(text);
  f.inLoop([&] {
    CHECK(f.connection->sendFile(another(file)));
    REQUIRE(ftruncate(file.get(), 5 << 20) == 0);
  });
  CHECK(text.starts_with(f.client.receiveAll()));
  CHECK(f.client.lastError() == ECONNRESET);
  CHECK(eventually([&] { return !f.connection->connected(); }));
  CHECK(f.connection->closeReason() == CloseReason::writeFailed);
  CHECK(f.connection->error() == ENODATA);
  CHECK(f.connection->outputBytes() > 0);
}

TEST_CASE("sendFile: what cannot be sent is refused by name, and closed") {
  OneConnection f;
  const std::size_t before = openDescriptors();
  const auto refusal = [&](UniqueFd file, std::uint64_t offset, std::uint64_t length) {
    return messageOf<std::invalid_argument>(
        [&] { (void)f.connection->sendFile(std::move(file), offset, length); });
  };
  constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();
  for (const auto& range : std::vector<std::pair<std::uint64_t, std::uint64_t>>{
           {0, 6}, {6, 0}, {6, kMost}, {5, 1}, {kMost, kMost}, {1, kMost - 1}}) {
    CAPTURE(range.first);
    CAPTURE(range.second);
    CHECK(refusal(fileWith("12345"), range.first, range.second).find("its 5 bytes do not hold") !=
          std::string::npos);
  }
  CHECK(refusal(fileWith("12345"), 2, 9).find("do not hold 9 from 2 on") != std::string::npos);
  UniqueFd holes(memfd_create("holes", MFD_CLOEXEC));
  REQUIRE(ftruncate(holes.get(), off_t{1} << 49) == 0);
  CHECK(refusal(std::move(holes), 0, kMost).find("too many") != std::string::npos);
  int ends[2];
  REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
  const UniqueFd writeEnd(ends[1]);
  CHECK(refusal(UniqueFd(ends[0]), 0, 1).find("not a regular file") != std::string::npos);
  CHECK(refusal(UniqueFd(open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC)), 0, 1)
            .find("not a regular file") != std::string::npos);
  const UniqueFd file = fileWith("12345");
  UniqueFd writeOnly(
      open(("/proc/self/fd/" + std::to_string(file.get())).c_str(), O_WRONLY | O_CLOEXEC));
  CHECK(refusal(std::move(writeOnly), 0, 1).find("not open for reading") != std::string::npos);
  UniqueFd path(open(("/proc/self/fd/" + std::to_string(file.get())).c_str(), O_PATH | O_CLOEXEC));
  CHECK(refusal(std::move(path), 0, 1).find("not open for reading") != std::string::npos);
  CHECK(messageOf<std::system_error>([&] {
          (void)f.connection->sendFile(UniqueFd());
        }).find("file descriptor -1") != std::string::npos);
  CHECK(openDescriptors() == before + 2);
  CHECK(f.connection->connected());
}

// sendfile(2) has no MSG_NOSIGNAL, and a process that does not expect SIGPIPE ends with it.
TEST_CASE("sendFile: a peer that is gone raises no SIGPIPE, whether it is blocked or not") {
  const auto was = std::signal(SIGPIPE, [](int) { std::abort(); });
  for (const bool blocked : {false, true}) {
    CAPTURE(blocked);
    OneConnection f;
    const UniqueFd file = fileWith("12345");
    f.inLoop([&] {
      sigset_t pipe;
      sigset_t before;
      sigemptyset(&pipe);
      sigaddset(&pipe, SIGPIPE);
      pthread_sigmask(blocked ? SIG_BLOCK : SIG_UNBLOCK, &pipe, &before);
      (void)::shutdown(f.connection->fd(), SHUT_WR);
      CHECK_FALSE(f.connection->sendFile(another(file)));
      sigset_t after;
      pthread_sigmask(SIG_SETMASK, nullptr, &after);
      CHECK(sigismember(&after, SIGPIPE) == (blocked ? 1 : 0));
      sigset_t pending;
      sigpending(&pending);
      CHECK(sigismember(&pending, SIGPIPE) == (blocked ? 1 : 0));
      if (blocked) CHECK(sigtimedwait(&pipe, nullptr, nullptr) == SIGPIPE);
      pthread_sigmask(SIG_SETMASK, &before, nullptr);
    });
    CHECK(f.connection->closeReason() == CloseReason::reset);
    CHECK(f.connection->error() == EPIPE);
  }
  std::signal(SIGPIPE, was);
}

// One call is many small ones in the kernel. If a later one met EPIPE, the process got the signal,
// while the call told of the bytes of the earlier ones.
TEST_CASE("sendFile: a peer that goes in the middle of a call raises no SIGPIPE") {
  static std::atomic<int> signals;
  signals = 0;
  const auto was = std::signal(SIGPIPE, [](int) { ++signals; });
  const UniqueFd file = fileWith(pattern(2 << 20));
  for (int round = 0; round < 200; ++round) {
    rung::testing::SocketPair pair;
    std::thread peer([&] {
      for (std::string bytes(1 << 16, '\0'); bytes.size() > 1;) {
        pollfd readable{pair.theirs.get(), POLLIN, 0};
        (void)poll(&readable, 1, 1000);
        (void)recv(pair.theirs.get(), bytes.data(), bytes.size(), 0);
        bytes.resize(bytes.size() / 2);
      }
      pair.theirs.reset();
    });
    FileRange range(another(file), 0, 2 << 20);
    for (ssize_t n = 0; range.size() > 0 && (n > 0 || errno == EAGAIN || n == 0);) {
      n = range.sendTo(pair.ours.get());
      if (n > 0) range.removePrefix(static_cast<std::size_t>(n));
    }
    peer.join();
  }
  std::signal(SIGPIPE, was);
  CHECK(signals == 0);
}

// A file was cut, and a FIN told its peer that this was all of it.
TEST_CASE("sendFile: a connection that ends while a file waits is reset, whatever ends it") {
  const std::vector<std::function<void(OneConnection&)>> ends = {
      [](OneConnection& f) { f.connection->forceClose(); },
      [](OneConnection& f) { f.connection->close(std::chrono::milliseconds(1)); },
      [](OneConnection& f) { f.server.server().stop(std::chrono::milliseconds(1)); },
      [](OneConnection& f) { f.server.destroyServer(); }};
  const std::string text = pattern(20 << 20);
  for (const auto& end : ends) {
    OneConnection f;
    f.inLoop([&] { CHECK(f.connection->sendFile(fileWith(text))); });
    end(f);
    CHECK(eventually([&] { return !f.connection->connected(); }));
    CHECK(text.starts_with(f.client.receiveAll()));
    CHECK(f.client.lastError() == ECONNRESET);
  }
}

// Nothing waited, so nothing was cut: the peer got the head of an answer, and an orderly end.
TEST_CASE("sendFile: a file of which not a byte can be sent resets the connection as well") {
  OneConnection f;
  const UniqueFd file = fileWith("12345");
  f.inLoop([&] {
    std::thread([&] {
      CHECK(f.connection->send("head"));
      CHECK(f.connection->sendFile(another(file)));
    }).join();
    REQUIRE(ftruncate(file.get(), 0) == 0);
  });
  CHECK(std::string_view("head").starts_with(f.client.receiveAll()));
  CHECK(f.client.lastError() == ECONNRESET);
  CHECK(eventually([&] { return !f.connection->connected(); }));
  CHECK(f.connection->error() == ENODATA);
}

TEST_CASE("sendFile: two mebibytes leave at once, and then it is the turn of others") {
  rung::testing::SocketPair pair;
  const int flags = fcntl(pair.ours.get(), F_GETFL);
  REQUIRE(fcntl(pair.ours.get(), F_SETFL, flags & ~O_NONBLOCK) == 0);
  std::thread peer([&] {
    std::string bytes(1 << 16, '\0');
    pollfd readable{pair.theirs.get(), POLLIN, 0};
    while (poll(&readable, 1, 10'000) == 1 &&
           recv(pair.theirs.get(), bytes.data(), bytes.size(), 0) > 0) {
    }
  });
  CHECK(FileRange(fileWith(pattern(5 << 20)), 0, 5 << 20).sendTo(pair.ours.get()) == 2 << 20);
  pair.ours.reset();
  peer.join();
}

TEST_CASE("sendFile: outputBytes() counts what a file weighs, on any thread, until it is gone") {
  OneConnection f;
  const std::string text = pattern(9 << 20);
  f.inLoop([&] { CHECK(f.connection->sendFile(fileWith(text))); });
  f.inLoop([&] {  // meanwhile the kernel gets nothing
    const std::size_t one = f.connection->outputBytes();
    CHECK(one > 65536);
    std::thread([&] {
      for (int i = 0; i < 10; ++i)
        CHECK(f.connection->sendFile(fileWith("four")));
      CHECK(f.connection->outputBytes() == one + 10 * (4 + 65536));
    }).join();
  });
  CHECK(f.client.receive(text.size() + 40).size() == text.size() + 40);
  CHECK(eventually([&] { return f.connection->outputBytes() == 0; }));
}

TEST_CASE("sendFile: without memory the connection ends, says so, and the file is closed") {
  OneConnection f;
  const std::size_t before = openDescriptors();
  const std::string text = pattern(20 << 20);
  UniqueFd file = fileWith(text);
  f.inLoop([&] {
    bool sent = true;
    {
      const NoMemory none;
      sent = f.connection->sendFile(std::move(file));
    }
    CHECK_FALSE(sent);
  });
  CHECK(eventually([&] { return !f.connection->connected(); }));
  CHECK(f.connection->closeReason() == CloseReason::outOfMemory);
  CHECK(text.starts_with(f.client.receiveAll()));
  CHECK(f.client.lastError() == ECONNRESET);
  CHECK(openDescriptors() < before);
}

}  // namespace
