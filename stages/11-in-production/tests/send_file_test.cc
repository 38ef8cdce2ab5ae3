// Files that the kernel sends from its page cache, in order with other sends.

#include <doctest/doctest.h>
#include <fcntl.h>
#include <netinet/in.h>
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

using rung::checkedFd;
using rung::CloseReason;
using rung::FileRange;
using rung::OutputBuffer;
using rung::SendingHalf;
using rung::UniqueFd;
using rung::testing::eventually;
using rung::testing::NoMemory;
using rung::testing::OneConnection;
using rung::testing::pattern;
using rung::testing::take;

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

/// Whether sending this throws an `Exception` that names the descriptor.
template <class Exception = std::invalid_argument>
bool refuses(rung::TcpConnection& connection, UniqueFd file, std::uint64_t offset = 0,
             std::uint64_t length = FileRange::kToItsEnd) {
  const std::string number = std::to_string(file.get());
  try {
    (void)connection.sendFile(std::move(file), offset, length);
  } catch (const Exception& e) {
    return std::string_view(e.what()).find(number) != std::string_view::npos;
  }
  return false;
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
    CHECK(rung::testing::allocations() - before <= 8);  // the queue, and places in it
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

TEST_CASE("OutputBuffer: strings and files leave in order, also where all of them would fit") {
  OutputBuffer output;
  output.append("<");
  output.append(FileRange(fileWith("0123456789"), 2, 3));
  output.append("|");
  output.append(FileRange(fileWith("abcdef"), 0, 6));
  output.append(FileRange(fileWith("ghi"), 0, 3));
  output.append(">");
  const rung::testing::SocketPair pair;
  std::string got;
  for (int calls = 0; !output.empty() && calls < 10; ++calls) {
    const std::size_t before = output.bytes();
    const std::size_t bytes = output.writeTo(pair.ours.get()).bytes;
    CHECK(output.bytes() == before - bytes);
    got += take(pair.theirs.get());
  }
  CHECK(got == "<234|abcdefghi>");
  CHECK(output.weight() == 0);
}

TEST_CASE("OutputBuffer: strings that wait are handed over together, and nothing if none waits") {
  OutputBuffer output;
  const rung::testing::SocketPair pair;
  CHECK(output.writeTo(pair.ours.get()).bytes == 0);
  CHECK(output.writeTo(-1).error == 0);
  for (const char letter : {'a', 'b', 'c'})
    output.append(std::string(20'000, letter));  // too long to be copied behind another
  CHECK(output.writeTo(pair.ours.get()).bytes == 60'000);
  CHECK(take(pair.theirs.get(), 100'000).size() == 60'000);
}

TEST_CASE("OutputBuffer: what the kernel takes in parts arrives whole, strings and files") {
  OutputBuffer output;
  std::string all;
  for (int i = 0; i < 3; ++i) {
    const std::string text = pattern(700'000 + static_cast<std::size_t>(i));
    output.append(std::string(text));
    output.append(std::string("small"));
    output.append(FileRange(fileWith(text), 1, text.size() - 1));
    all += text + "small" + text.substr(1);
  }
  const rung::testing::SocketPair pair;
  std::string got;
  for (int calls = 0; got.size() < all.size() && calls < 10'000; ++calls) {
    (void)output.writeTo(pair.ours.get());
    got += take(pair.theirs.get(), 100'000);  // not all: so it waits, again and again
  }
  CHECK((got == all));  // and no megabytes on the screen
}

// A peer that is never quite served may stay for weeks.
TEST_CASE("OutputBuffer: what is sent takes nothing any more, though something always waits") {
  OutputBuffer output;
  const rung::testing::SocketPair pair;
  const UniqueFd file = fileWith("0123456789");
  const auto sendOne = [&] {
    char bytes[10];
    REQUIRE(output.writeTo(pair.ours.get()).bytes == sizeof bytes);
    REQUIRE(recv(pair.theirs.get(), bytes, sizeof bytes, 0) == sizeof bytes);
  };
  const std::size_t before = openDescriptors();
  for (int i = 0; i < 10; ++i)
    output.append(FileRange(another(file), 0, 10));
  for (std::size_t waiting = 10; waiting > 5; --waiting) {
    CHECK(openDescriptors() == before + waiting);
    sendOne();
  }
  const int allocated = rung::testing::allocations();
  for (int i = 0; i < 1000; ++i) {
    output.append(FileRange(another(file), 0, 10));
    sendOne();
  }
  CHECK(rung::testing::allocations() == allocated);
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
  const rung::testing::SocketPair pair;
  while (output.bytes() > 8)
    REQUIRE(output.writeTo(pair.ours.get()).bytes > 0);
  CHECK(output.weight() == 8 + 2 * 65536);  // what is sent weighs nothing
  output.clear();
  CHECK(output.weight() == 0);
}

TEST_CASE("SendingHalf: a file counts with its weight until its last byte is out") {
  SendingHalf half;
  const rung::testing::SocketPair pair;
  half.keep(FileRange(fileWith("0123456789"), 0, 10), 4, 0);
  CHECK(half.unsentBytes() == 6 + 65536);
  CHECK(half.roseTo(6 + 65536));
  half.keep(std::string_view("tail"), 0, 0);
  CHECK(half.unsentBytes() == 10 + 65536);
  CHECK(half.offer(pair.ours.get()).bytes == 6);
  CHECK(half.unsentBytes() == 4);
  CHECK(half.fellTo(4));
  CHECK(half.offer(pair.ours.get()).bytes == 4);
  CHECK(half.unsentBytes() == 0);
  CHECK(take(pair.theirs.get()) == "456789tail");
  half.promise(10 + 65536);  // on another thread; the kernel has taken 4 of the bytes since
  half.keep(FileRange(fileWith("0123456789"), 0, 10), 4, 10 + 65536);
  CHECK(half.unsentBytes() == 6 + 65536);
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
  constexpr std::size_t kRequests = 100'000;
  std::thread asking([&] { CHECK(f.client.send(std::string(kRequests, '?'))); });
  CHECK(eventually([&] {
    bool reading = true;
    f.inLoop([&] { reading = f.connection->isReading(); });
    return !reading;
  }));
  f.inLoop([] {});  // the task that tells is behind the one that looked
  CHECK(openDescriptors() <= before + 12);
  CHECK(eventually([&] { return told >= limits.highWaterMark; }));   // it is told a little later
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
  rung::TcpConnection& c = *f.connection;
  const std::size_t before = openDescriptors();
  constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();
  for (const auto& range : std::vector<std::pair<std::uint64_t, std::uint64_t>>{
           {0, 6}, {6, 0}, {6, kMost}, {5, 1}, {kMost, kMost}, {1, kMost - 1}, {kMost, 2}}) {
    CAPTURE(range.first);
    CAPTURE(range.second);
    CHECK(refuses(c, fileWith("12345"), range.first, range.second));
  }
  CHECK(refuses(c, fileWith("12345"), 2, 9));
  UniqueFd holes(memfd_create("holes", MFD_CLOEXEC));
  REQUIRE(ftruncate(holes.get(), off_t{1} << 49) == 0);
  CHECK(refuses(c, std::move(holes), 0, kMost));  // more than any sum may be
  int ends[2];
  REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
  const UniqueFd writeEnd(ends[1]);
  CHECK(refuses(c, UniqueFd(ends[0]), 0, 1));
  CHECK(refuses(c, UniqueFd(open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC)), 0, 1));
  const UniqueFd file = fileWith("12345");
  UniqueFd writeOnly(
      open(("/proc/self/fd/" + std::to_string(file.get())).c_str(), O_WRONLY | O_CLOEXEC));
  CHECK(refuses(c, std::move(writeOnly), 0, 1));
  UniqueFd path(open(("/proc/self/fd/" + std::to_string(file.get())).c_str(), O_PATH | O_CLOEXEC));
  CHECK(refuses(c, std::move(path), 0, 1));
  CHECK(refuses<std::system_error>(c, UniqueFd()));
  CHECK(openDescriptors() == before + 2);
  CHECK(f.connection->connected());
}

// sendfile(2) has no MSG_NOSIGNAL, and a process that does not expect SIGPIPE ends with it.
TEST_CASE("sendFile: a peer that is gone raises no SIGPIPE, whether it is blocked or not") {
  static std::atomic<int> signals;
  signals = 0;
  const auto was = std::signal(SIGPIPE, [](int) { ++signals; });
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
  CHECK(signals.load() == 0);
}

/// Two TCP sockets of this machine that are connected. They block, and little fits between them.
struct TcpPair {
  TcpPair() {
    const UniqueFd listener = checkedFd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
    const int little = 4096;
    (void)setsockopt(listener.get(), SOL_SOCKET, SO_RCVBUF, &little, sizeof little);
    (void)setsockopt(ours.get(), SOL_SOCKET, SO_SNDBUF, &little, sizeof little);
    REQUIRE(listen(listener.get(), 1) == 0);  // on a port that the kernel chooses
    sockaddr_in address{};
    socklen_t length = sizeof address;
    auto* const any = reinterpret_cast<sockaddr*>(&address);
    REQUIRE(getsockname(listener.get(), any, &length) == 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(connect(ours.get(), any, length) == 0);
    theirs = checkedFd(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC), "accept4");
  }
  UniqueFd ours = checkedFd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
  UniqueFd theirs;
};

// One call is many small ones in the kernel. If a later one met EPIPE, the process got the signal,
// while the call told of the bytes of the earlier ones. The peer ends its own stream first: only
// then is a reset EPIPE. It reads nothing, so a call of which it has a byte goes on until it
// resets.
TEST_CASE("sendFile: a peer that goes in the middle of a call raises no SIGPIPE") {
  static std::atomic<int> signals;
  signals = 0;
  const auto was = std::signal(SIGPIPE, [](int) { ++signals; });
  const FileRange range(fileWith(pattern(2 << 20)), 0, 2 << 20);
  TcpPair pair;
  REQUIRE(shutdown(pair.theirs.get(), SHUT_WR) == 0);
  std::thread peer([&] {
    char byte;
    CHECK(recv(pair.theirs.get(), &byte, 1, MSG_PEEK) == 1);
    const linger reset{1, 0};
    CHECK(setsockopt(pair.theirs.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset) == 0);
    pair.theirs.reset();
  });
  const ssize_t sent = range.sendTo(pair.ours.get());
  peer.join();
  std::signal(SIGPIPE, was);
  CHECK(sent > 0);
  CHECK(sent < 2 << 20);
  CHECK(signals.load() == 0);
}

// No signal waited to be taken back. That is an error of its own, EAGAIN, and so the write would
// have been tried again and again.
TEST_CASE("sendFile: an error is told as it is, though no signal came") {
  errno = 0;
  CHECK(FileRange(fileWith("12345"), 0, 5).sendTo(-1) == -1);
  CHECK(errno == EBADF);
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
