#include "rung/net/Buffer.h"

#include <doctest/doctest.h>
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <random>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "tests/support/ChildProcess.h"
#include "tests/support/RandomBytes.h"
#include "tests/support/Sockets.h"

using rung::Buffer;
using rung::IoResult;
using rung::testing::ChildResult;
using rung::testing::Pipe;
using rung::testing::put;
using rung::testing::randomBytes;
using rung::testing::runInChild;
using rung::testing::SocketPair;

namespace {

using namespace std::string_literals;

/// What a Buffer stands on for a while. scribble() shows who still looks at it afterwards.
struct Block {
  char bytes[4096];
  void scribble() { std::memset(bytes, '#', sizeof bytes); }
  [[nodiscard]] bool holds(const char* place) const {
    return place >= bytes && place < bytes + sizeof bytes;
  }
};

/// A Buffer that stands on its block, with `text` in it.
struct Lent {
  explicit Lent(std::string_view text) {
    SocketPair pair;
    REQUIRE(put(pair.theirs, text));
    REQUIRE(buffer.readFd(pair.ours.get(), block.bytes).bytes == text.size());
    REQUIRE(block.holds(buffer.peek()));
  }
  Block block;
  Buffer buffer;
};

/// As much of `bytes` as the socket takes.
std::size_t putSome(const rung::UniqueFd& fd, std::string_view bytes) {
  const ssize_t n = write(fd.get(), bytes.data(), bytes.size());
  return n > 0 ? static_cast<std::size_t>(n) : 0;
}

TEST_CASE("Buffer: when all is retrieved, all of its room is there again") {
  Buffer buffer;
  buffer.append("some bytes");
  const std::size_t room = buffer.writableBytes() + buffer.readableBytes();
  buffer.retrieve(4);
  buffer.retrieve(6);
  CHECK(buffer.writableBytes() == room);
}

TEST_CASE("Buffer: a new one is empty and owns nothing") {
  const Buffer buffer;
  CHECK(buffer.empty());
  CHECK(buffer.readableBytes() == 0);
  CHECK(buffer.writableBytes() == 0);
  CHECK(buffer.ownedBytes() == 0);
  CHECK(buffer.view().empty());
  static_assert(!std::is_copy_constructible_v<Buffer>);
  static_assert(std::is_nothrow_move_constructible_v<Buffer>);
  static_assert(std::is_nothrow_move_assignable_v<Buffer>);
}

TEST_CASE("Buffer: does nothing when it is asked for nothing") {
  Buffer buffer;
  buffer.append("");
  buffer.append(std::string_view());
  buffer.append(nullptr, 0);
  CHECK(buffer.ownedBytes() == 0);
  buffer.retrieve(0);
  buffer.retrieveAll();
  buffer.hasWritten(0);
  CHECK(buffer.retrieveAsString(0).empty());
  CHECK(buffer.retrieveAllAsString().empty());
  CHECK(buffer.writableBytes() == 0);
  buffer.settle();
  CHECK(buffer.empty());
  CHECK(buffer.ownedBytes() == 0);
}

TEST_CASE("Buffer: gives bytes back in the order in which they came") {
  Buffer buffer;
  buffer.append("one ");
  buffer.append(std::string("two\0three", 9));
  buffer.append("four!", 4);
  CHECK(buffer.view() == "one two\0threefour"s);
  CHECK(buffer.readableBytes() == 17);
  CHECK(buffer.ownedBytes() >= 17);
  CHECK(std::string(buffer.peek(), 3) == "one");
  CHECK(buffer.retrieveAsString(4) == "one ");
  buffer.retrieve(4);
  CHECK(buffer.view() == "threefour");
  CHECK(buffer.retrieveAllAsString() == "threefour");
  CHECK(buffer.empty());
  buffer.append("again");
  CHECK(buffer.view() == "again");
  buffer.retrieveAll();
  CHECK(buffer.empty());
}

TEST_CASE("Buffer: writes numbers in network byte order") {
  Buffer buffer;
  buffer.appendInt<std::uint8_t>(0xFE);
  buffer.appendInt<std::int16_t>(-2);
  buffer.appendInt<std::uint32_t>(0x01020304);
  buffer.appendInt<std::uint64_t>(0x1122334455667788);
  CHECK(buffer.view() == "\xFE\xFF\xFE\x01\x02\x03\x04\x11\x22\x33\x44\x55\x66\x77\x88");
  buffer.retrieveAll();
  buffer.append("\x80\0\0\0\xFF\xFE\x80"s);
  CHECK(buffer.peekInt<std::uint32_t>() == 0x80000000);
  CHECK(buffer.readInt<std::int32_t>() == std::numeric_limits<std::int32_t>::min());
  CHECK(buffer.peekInt<std::int16_t>() == -2);
  CHECK(buffer.readInt<std::uint16_t>() == 0xFFFE);
  CHECK(buffer.peekInt<std::int8_t>() == -128);
  CHECK(buffer.readInt<std::uint8_t>() == 128);
}

TEST_CASE_TEMPLATE("Buffer: numbers come back as they went in", Number, bool, char, std::int8_t,
                   std::uint8_t, std::int16_t, std::uint16_t, std::int32_t, std::uint32_t,
                   std::int64_t, std::uint64_t, long long) {
  using Limits = std::numeric_limits<Number>;
  for (const Number number : {Limits::min(), Limits::max(), static_cast<Number>(-1), Number{0},
                              Number{1}, static_cast<Number>(Limits::max() / 3)}) {
    Buffer buffer;
    buffer.appendInt(number);
    CHECK(buffer.readableBytes() == sizeof(Number));
    CHECK(buffer.peekInt<Number>() == number);
    buffer.prependInt(number);
    CHECK(buffer.readableBytes() == 2 * sizeof(Number));
    CHECK(buffer.readInt<Number>() == number);
    CHECK(buffer.readInt<Number>() == number);
    CHECK(buffer.empty());
  }
}

TEST_CASE("Buffer: a header can be put before what is there") {
  Buffer buffer;
  buffer.append("body");
  REQUIRE(buffer.prependableBytes() >= Buffer::kCheapPrepend);
  buffer.prependInt<std::uint32_t>(4);
  buffer.prepend("HEAD");
  CHECK(buffer.view() == "HEAD\0\0\0\4body"s);
  buffer.retrieve(5);
  CHECK(buffer.prependableBytes() == 5);
  buffer.prepend("");
  buffer.prepend("12345");
  CHECK(buffer.view() == "12345\0\0\4body"s);
}

TEST_CASE("Buffer: a header can be put into an empty one") {
  Buffer buffer;
  buffer.prepend("12345678");
  CHECK(buffer.view() == "12345678");
  buffer.append("9");
  CHECK(buffer.view() == "123456789");
  buffer.retrieveAll();
  CHECK(buffer.prependableBytes() >= Buffer::kCheapPrepend);
  buffer.prependInt<std::uint64_t>(1);  // and again into one that was drained
  CHECK(buffer.readInt<std::uint64_t>() == 1);
}

TEST_CASE("Buffer: there is room for a header again after it has grown") {
  Buffer buffer;
  buffer.append("body");
  buffer.prepend("12345678");
  CHECK(buffer.prependableBytes() == 0);
  buffer.append(std::string(1000, 'x'));
  CHECK(buffer.prependableBytes() >= Buffer::kCheapPrepend);
  buffer.prepend("abcdefgh");
  CHECK(buffer.view() == "abcdefgh12345678body" + std::string(1000, 'x'));
}

// prependableBytes() of a Buffer without memory was 0, though prepend() took eight bytes.
TEST_CASE("Buffer: tells that a header fits into a new one") {
  const Buffer buffer;
  CHECK(buffer.prependableBytes() >= Buffer::kCheapPrepend);
}

// std::string_view() is a null pointer, which memcpy must not get, not even for no bytes.
TEST_CASE("Buffer: nothing can be put in front of anything") {
  const Buffer other;
  Buffer buffer;
  buffer.prepend(other.view());
  CHECK(buffer.empty());
  CHECK(buffer.ownedBytes() == 0);
  buffer.append("body");
  buffer.prepend(std::string_view());
  CHECK(buffer.view() == "body");
}

TEST_CASE("Buffer: more in front than there is room for is a programmer's error") {
  const ChildResult result = runInChild([] {
    Buffer buffer;
    buffer.append("body");
    buffer.prepend("123");
    buffer.prepend("456789");
  });
  CHECK(result.aborted());
  CHECK(result.lines("FATAL") == 1);  // and not the heap, which notices later that it is damaged
  const ChildResult onEmpty = runInChild([] { Buffer().prepend("123456789"); });
  CHECK(onEmpty.aborted());
  CHECK(onEmpty.lines("FATAL") == 1);
}

TEST_CASE("Buffer: asking for more than there is is a programmer's error") {
  const auto after = [](auto ask) {
    return runInChild([&] {
      Buffer buffer;
      buffer.append("123");
      ask(buffer);
    });
  };
  const ChildResult results[] = {
      after([](Buffer& buffer) { buffer.retrieve(4); }),
      after([](Buffer& buffer) { (void)buffer.retrieveAsString(4); }),
      after([](Buffer& buffer) { (void)buffer.peekInt<std::int32_t>(); }),
      after([](Buffer& buffer) { (void)buffer.readInt<std::uint32_t>(); }),
  };
  for (const ChildResult& result : results) {
    CAPTURE(result.output);
    CHECK(result.aborted());
  }
  const ChildResult onEmpty = runInChild([] { Buffer().retrieve(1); });
  CHECK(onEmpty.aborted());
}

TEST_CASE("Buffer: can be written in place") {
  Buffer buffer;
  buffer.append("abc");
  buffer.ensureWritable(5000);
  REQUIRE(buffer.writableBytes() >= 5000);
  std::memset(buffer.beginWrite(), 'x', 5000);
  buffer.hasWritten(2000);
  CHECK(buffer.view() == "abc" + std::string(2000, 'x'));
  const char* const before = buffer.peek();
  buffer.ensureWritable(buffer.writableBytes());  // the room is there already
  CHECK(buffer.peek() == before);
  buffer.hasWritten(3000);
  CHECK(buffer.view() == "abc" + std::string(5000, 'x'));
}

TEST_CASE("Buffer: saying that more was written than fits is a programmer's error") {
  Buffer buffer;
  const ChildResult onEmpty = runInChild([&] { buffer.hasWritten(1); });
  CHECK(onEmpty.aborted());
  buffer.ensureWritable(100);
  const std::size_t room = buffer.writableBytes();
  const ChildResult result = runInChild([&] { buffer.hasWritten(room + 1); });
  CHECK(result.aborted());
  buffer.hasWritten(room);
  CHECK(buffer.writableBytes() == 0);
}

// A size that a peer claims, handed on unchecked: 8 bytes in front of it overflowed, and room was
// made for 256 bytes, without a word.
TEST_CASE("Buffer: room for more than any memory holds is refused, not cut short") {
  for (const std::size_t less : {0U, 1U, 7U, 8U, 100U}) {
    CAPTURE(less);
    // In a child, because AddressSanitizer ends the process where others throw.
    const ChildResult result = runInChild([&] {
      Buffer buffer;
      buffer.append("kept");
      try {
        buffer.ensureWritable(std::numeric_limits<std::size_t>::max() - less);
        std::printf("made room for %zu\n", buffer.writableBytes());
      } catch (const std::bad_alloc&) {
        std::printf("refused; %s\n", buffer.retrieveAllAsString().c_str());
      }
    });
    CAPTURE(result.output);
    CHECK_FALSE(result.says("made room"));
    CHECK((result.says("refused; kept") || result.says("exceeds maximum supported size")));
  }
}

TEST_CASE("Buffer: keeps its contents while it grows") {
  const std::string data = randomBytes(300'000, 1);
  Buffer buffer;
  std::size_t in = 0;
  std::size_t out = 0;
  for (std::size_t step = 1; in < data.size(); ++step) {
    const std::size_t size = std::min(step * 7, data.size() - in);
    buffer.append(std::string_view(data).substr(in, size));
    in += size;
    if (step % 5 == 0) {
      buffer.retrieve(step);
      out += step;
    }
    REQUIRE(buffer.view() == std::string_view(data).substr(out, in - out));
  }
  CHECK(buffer.ownedBytes() < 2 * data.size() + 4096);
}

TEST_CASE("Buffer: grows in few steps, however small the pieces are") {
  Buffer buffer;
  int steps = 0;
  for (int i = 0; i < 100'000; ++i) {
    const std::size_t owned = buffer.ownedBytes();
    buffer.append("0123456789");
    if (buffer.ownedBytes() != owned) ++steps;
  }
  CHECK(buffer.readableBytes() == 1'000'000);
  CHECK(steps <= 40);
}

TEST_CASE("Buffer: does not move much about for each few bytes that come and go") {
  Buffer buffer;
  buffer.append(std::string(100'000, 'x'));
  int moves = 0;
  for (int i = 0; i < 10'000; ++i) {
    buffer.retrieve(10);
    const char* const before = buffer.peek();
    buffer.append("0123456789");
    if (buffer.peek() != before) ++moves;
  }
  CHECK(buffer.readableBytes() == 100'000);
  CHECK(moves <= 10);
}

// Buffers that stand on a std::vector grow it with resize(), which fills the new room with zeros,
// for read(2) to overwrite. Memory that nobody has touched shows: the kernel has no page for it.
TEST_CASE("Buffer: growing does not touch the new memory") {
  const ChildResult result = runInChild([] {
#ifdef M_PERTURB
    mallopt(M_PERTURB, 0);  // test runners like to fill new memory
#endif
    constexpr std::size_t kSize = 64 << 20;
    const auto pageSize = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    Buffer buffer;
    buffer.append("abc");
    buffer.ensureWritable(kSize);
    void* place = buffer.beginWrite() + pageSize;
    std::size_t room = kSize;
    std::align(pageSize, kSize - 2 * pageSize, place, room);
    const std::size_t pages = kSize / pageSize - 2;
    std::vector<unsigned char> present(pages);
    if (mincore(place, pages * pageSize, present.data()) != 0) std::perror("mincore");
    const auto touched =
        std::count_if(present.begin(), present.end(), [](unsigned char page) { return page & 1; });
    std::printf("%s\n", static_cast<std::size_t>(touched) < pages / 8 ? "untouched" : "touched");
  });
  CHECK(result.output == "untouched\n");
}

// Buffers that only ever grow at the end carry the dead prefix along, what was retrieved already:
// they grow with the length of the connection instead of that of the longest message.
TEST_CASE("Buffer: re-uses the room of what was retrieved, though it is never quite empty") {
  Buffer buffer;
  buffer.append("abc");
  std::size_t mostOwned = 0;
  bool right = true;
  std::string expected = "abc";
  for (int round = 0; round < 1'000'000; ++round) {
    const char next[] = {'a', static_cast<char>(round), 'c', static_cast<char>(round >> 8), 'e'};
    buffer.append(next, sizeof next);
    expected.append(next, sizeof next);
    right = right && buffer.view() == expected;
    buffer.retrieve(sizeof next);
    expected.erase(0, sizeof next);
    mostOwned = std::max(mostOwned, buffer.ownedBytes());
  }
  CHECK(right);
  CHECK(buffer.readableBytes() == 3);
  CHECK(mostOwned <= 1024);
}

TEST_CASE("Buffer: does not take the room of what was retrieved along when it grows") {
  Buffer buffer;
  buffer.append(std::string(1'000'000, 'x'));
  buffer.retrieve(999'990);
  buffer.append(std::string(1'100'000, 'y'));
  CHECK(buffer.view() == std::string(10, 'x') + std::string(1'100'000, 'y'));
  CHECK(buffer.ownedBytes() <= 1'200'000);
}

TEST_CASE("Buffer: a queue of constant length costs a constant multiple of it") {
  const std::string piece(1000, 'p');
  Buffer buffer;
  std::size_t mostOwned = 0;
  for (int round = 0; round < 10'000; ++round) {
    buffer.append(piece);
    if (round >= 20) buffer.retrieve(piece.size());
    mostOwned = std::max(mostOwned, buffer.ownedBytes());
  }
  CHECK(buffer.readableBytes() == 20'000);
  CHECK(mostOwned <= 3 * buffer.readableBytes());
}

// One large message, and each idle connection kept its memory for as long as it lived.
TEST_CASE("Buffer: gives memory back when settled") {
  Buffer buffer;
  buffer.append(std::string(1 << 20, 'x'));
  CHECK(buffer.ownedBytes() >= 1 << 20);
  buffer.retrieve((1 << 20) - 100);
  buffer.settle();
  CHECK(buffer.view() == std::string(100, 'x'));
  CHECK(buffer.ownedBytes() <= 1024);
  buffer.retrieve(90);
  buffer.settle();
  CHECK(buffer.view() == std::string(10, 'x'));
  buffer.append("more");
  CHECK(buffer.view() == std::string(10, 'x') + "more");
  buffer.retrieveAll();
  buffer.settle();
  CHECK(buffer.empty());
  CHECK(buffer.ownedBytes() == 0);
  buffer.ensureWritable(1 << 20);  // asked for, but never used
  buffer.settle();
  CHECK(buffer.ownedBytes() == 0);
  buffer.append("works on");
  CHECK(buffer.view() == "works on");
}

TEST_CASE("Buffer: settling leaves alone what is well filled") {
  Buffer buffer;
  buffer.append(std::string(100'000, 'x'));
  buffer.retrieve(50'000);
  const char* const before = buffer.peek();
  buffer.settle();
  CHECK(buffer.peek() == before);
  CHECK(buffer.view() == std::string(50'000, 'x'));
}

TEST_CASE("Buffer: keeps its memory when all is retrieved, until it settles") {
  Buffer buffer;
  buffer.append("abc");
  buffer.retrieveAll();
  CHECK(buffer.ownedBytes() > 0);
  buffer.settle();
  CHECK(buffer.ownedBytes() == 0);
}

TEST_CASE("Buffer: moves, and leaves an empty one behind that works on") {
  Buffer a;
  a.append("from a");
  Buffer b(std::move(a));
  CHECK(b.view() == "from a");
  CHECK(a.empty());  // NOLINT(bugprone-use-after-move): that is the point
  CHECK(a.ownedBytes() == 0);
  a.append("new");
  b = std::move(a);
  CHECK(b.view() == "new");
  CHECK(a.empty());  // NOLINT(bugprone-use-after-move)
  CHECK(a.ownedBytes() == 0);
  b = Buffer();
  CHECK(b.empty());
  CHECK(b.ownedBytes() == 0);
}

TEST_CASE("Buffer: survives being moved to itself and swapped with itself") {
  Lent lent("0itself");
  Buffer own;
  own.append("0itself");
  for (Buffer* buffer : {&own, &lent.buffer}) {
    buffer->retrieve(1);
    Buffer& same = *buffer;
    *buffer = std::move(same);
    CHECK(buffer->view() == "itself");
    buffer->swap(same);
    CHECK(buffer->view() == "itself");
  }
}

TEST_CASE("Buffer: swaps contents and memory") {
  Buffer a;
  Buffer b;
  a.append("short");
  b.append(std::string(5000, 'b'));
  a.swap(b);
  CHECK(a.view() == std::string(5000, 'b'));
  CHECK(b.view() == "short");
  CHECK(a.ownedBytes() > b.ownedBytes());
  Buffer none;
  a.swap(none);
  CHECK(a.empty());
  CHECK(a.ownedBytes() == 0);
  CHECK(none.view() == std::string(5000, 'b'));
}

TEST_CASE("Buffer: what moves or is swapped away leaves its lent block behind") {
  Lent a("from a");
  Lent b("from b");
  SUBCASE("move construction") {
    const Buffer moved(std::move(a.buffer));
    a.block.scribble();
    CHECK(moved.view() == "from a");
    CHECK(moved.ownedBytes() > 0);
    CHECK(a.buffer.empty());  // NOLINT(bugprone-use-after-move): that is the point
    a.buffer.append("again");
    CHECK_FALSE(a.block.holds(a.buffer.peek()));
    CHECK(a.buffer.view() == "again");
  }
  SUBCASE("move assignment") {
    b.buffer = std::move(a.buffer);
    a.block.scribble();
    b.block.scribble();
    CHECK(b.buffer.view() == "from a");
    CHECK(a.buffer.empty());  // NOLINT(bugprone-use-after-move): that is the point
  }
  SUBCASE("swap") {
    a.buffer.swap(b.buffer);
    a.block.scribble();
    b.block.scribble();
    CHECK(a.buffer.view() == "from b");
    CHECK(b.buffer.view() == "from a");
  }
  SUBCASE("swap with one that has memory of its own") {
    Buffer own;
    own.append("own");
    own.swap(a.buffer);
    a.block.scribble();
    CHECK(a.buffer.view() == "own");
    CHECK(own.view() == "from a");
  }
}

TEST_CASE("Buffer: reads what has arrived, and behind what is there") {
  SocketPair pair;
  Buffer buffer;
  REQUIRE(put(pair.theirs, "hello"));
  const IoResult first = buffer.readFd(pair.ours.get());
  CHECK(first.bytes == 5);
  CHECK(first.error == 0);
  CHECK(buffer.view() == "hello");
  CHECK(buffer.ownedBytes() <= 1024);
  buffer.retrieve(1);
  REQUIRE(put(pair.theirs, " world"));
  CHECK(buffer.readFd(pair.ours.get()).bytes == 6);
  CHECK(buffer.view() == "ello world");
}

TEST_CASE("Buffer: reads the end of the stream as no bytes and no error") {
  SocketPair pair;
  Block block;
  Buffer empty;
  Buffer full;
  full.append("kept");
  pair.theirs.reset();
  for (Buffer* buffer : {&empty, &full}) {
    const IoResult alone = buffer->readFd(pair.ours.get());
    CHECK(alone.bytes == 0);
    CHECK(alone.error == 0);
    const IoResult helped = buffer->readFd(pair.ours.get(), block.bytes);
    CHECK(helped.bytes == 0);
    CHECK(helped.error == 0);
    buffer->settle();
  }
  CHECK(empty.empty());
  CHECK(empty.ownedBytes() == 0);
  CHECK(full.view() == "kept");
}

TEST_CASE("Buffer: returns the error of a read, and keeps what it has") {
  SocketPair pair;
  Block block;
  Buffer empty;
  Buffer full;
  full.append("kept");
  for (Buffer* buffer : {&empty, &full}) {
    CHECK(buffer->readFd(pair.ours.get()).error == EAGAIN);
    const IoResult nothing = buffer->readFd(pair.ours.get(), block.bytes);
    CHECK(nothing.error == EAGAIN);
    CHECK(nothing.bytes == 0);
    CHECK(buffer->readFd(-1).error == EBADF);
    CHECK(buffer->readFd(-1, block.bytes).error == EBADF);
  }
  CHECK(empty.empty());
  CHECK(empty.ownedBytes() == 0);
  CHECK(full.view() == "kept");
}

TEST_CASE("Buffer: reads more than it has room for in one call") {
  SocketPair pair;
  const std::string data = randomBytes(20'000, 2);
  Buffer buffer;
  buffer.append("before ");
  REQUIRE(buffer.writableBytes() < data.size());
  REQUIRE(put(pair.theirs, data));
  CHECK(buffer.readFd(pair.ours.get()).bytes == data.size());
  CHECK(buffer.view() == "before " + data);
}

TEST_CASE("Buffer: reads more than 64 KiB from a socket in several calls") {
  SocketPair pair;
  const std::string data = randomBytes(1 << 20, 3);
  const std::size_t sent = putSome(pair.theirs, data);
  REQUIRE(sent > 65536);
  Buffer buffer;
  int calls = 0;
  for (IoResult result; (result = buffer.readFd(pair.ours.get())).error == 0; ++calls) {
    REQUIRE(result.bytes > 0);
  }
  CHECK(buffer.view() == data.substr(0, sent));
  CHECK(calls > 1);
  CHECK(buffer.ownedBytes() < 3 * sent);
}

TEST_CASE("Buffer: reads a full pipe to its end") {
  Pipe pipe;
  const std::string data = randomBytes(1 << 20, 4);
  const std::size_t sent = putSome(pipe.writeEnd, data);
  pipe.writeEnd.reset();
  REQUIRE(sent > 0);
  Buffer buffer;
  for (IoResult result; (result = buffer.readFd(pipe.readEnd.get())).bytes > 0;) {
    REQUIRE(result.error == 0);
  }
  CHECK(buffer.view() == data.substr(0, sent));
}

TEST_CASE("Buffer: an empty one stands on the lent block, and a message read whole costs nothing") {
  SocketPair pair;
  Block block;
  Buffer buffer;
  for (const char* text : {"hello", "once more"}) {
    REQUIRE(put(pair.theirs, text));
    const IoResult result = buffer.readFd(pair.ours.get(), block.bytes);
    CHECK(result.error == 0);
    CHECK(result.bytes == std::strlen(text));
    CHECK(buffer.view() == text);
    CHECK(block.holds(buffer.peek()));
    CHECK(buffer.ownedBytes() == 0);
    buffer.retrieve(4);
    CHECK(buffer.retrieveAllAsString() == text + 4);
    CHECK(buffer.ownedBytes() == 0);
    buffer.settle();
    CHECK(buffer.ownedBytes() == 0);
  }
  block.scribble();
  buffer.append("own");  // behind settle() nothing goes into the block
  CHECK_FALSE(block.holds(buffer.peek()));
  CHECK(buffer.view() == "own");
}

TEST_CASE("Buffer: gives its memory back when an empty one is lent a block") {
  SocketPair pair;
  Block block;
  Buffer buffer;
  buffer.append(std::string(10'000, 'x'));
  buffer.retrieveAll();
  REQUIRE(put(pair.theirs, "hello"));
  CHECK(buffer.readFd(pair.ours.get(), block.bytes).bytes == 5);
  CHECK(buffer.ownedBytes() == 0);
  CHECK(buffer.view() == "hello");
}

TEST_CASE("Buffer: settling keeps no more than what is left on the lent block") {
  Lent lent(std::string(3000, 'x') + "rest");
  lent.buffer.retrieve(3000);
  CHECK(lent.buffer.ownedBytes() == 0);
  lent.buffer.settle();
  lent.block.scribble();
  CHECK(lent.buffer.view() == "rest");
  CHECK_FALSE(lent.block.holds(lent.buffer.peek()));
  CHECK(lent.buffer.ownedBytes() > 0);
  CHECK(lent.buffer.ownedBytes() <= 256);
}

TEST_CASE("Buffer: on a lent block it can be written at both ends") {
  Lent lent("body");
  Buffer& buffer = lent.buffer;
  REQUIRE(buffer.prependableBytes() >= Buffer::kCheapPrepend);
  buffer.prependInt<std::uint64_t>(4);
  buffer.append(", tail");
  CHECK(buffer.view() == "\0\0\0\0\0\0\0\4body, tail"s);
  CHECK(buffer.ownedBytes() == 0);
  CHECK(lent.block.holds(buffer.peek()));
  const ChildResult result = runInChild([&] { buffer.prepend("x"); });
  CHECK(result.aborted());
  const std::string much(sizeof lent.block.bytes, 'm');
  buffer.append(much);  // does not fit: into memory of its own
  lent.block.scribble();
  CHECK_FALSE(lent.block.holds(buffer.peek()));
  CHECK(buffer.view() == "\0\0\0\0\0\0\0\4body, tail"s + much);
}

TEST_CASE("Buffer: what is left on a block is moved out before the block is read into again") {
  Lent lent("used left");
  lent.buffer.retrieve(5);
  SocketPair pair;
  const std::string data = randomBytes(2 * sizeof lent.block.bytes, 6);
  REQUIRE(put(pair.theirs, data));
  const IoResult result = lent.buffer.readFd(pair.ours.get(), lent.block.bytes);
  CHECK(result.bytes >= sizeof lent.block.bytes);
  lent.block.scribble();
  CHECK(lent.buffer.view() == "left" + data.substr(0, result.bytes));
}

TEST_CASE("Buffer: never writes beyond the end of the lent block") {
  SocketPair pair;
  for (std::size_t size = Buffer::kCheapPrepend + 1; size < 40; ++size) {
    CAPTURE(size);
    std::string block(size + 100, '#');
    const std::string data = randomBytes(500, size);
    REQUIRE(put(pair.theirs, data));
    Buffer buffer;
    for (std::size_t got = 0; got < data.size();) {
      const IoResult result = buffer.readFd(pair.ours.get(), {block.data(), size});
      REQUIRE(result.error == 0);
      REQUIRE(result.bytes > 0);
      got += result.bytes;
      buffer.append("+");
      CHECK(buffer.view() == data.substr(got - result.bytes, result.bytes) + "+");
      buffer.retrieveAll();
      buffer.settle();
    }
    CHECK(block.substr(size) == std::string(100, '#'));
  }
}

TEST_CASE("Buffer: with something left it reads into its own room first, then into the block") {
  SocketPair pair;
  Block block;
  const std::string data = randomBytes(10'000, 5);
  Buffer buffer;
  buffer.append("left");
  const std::size_t room = buffer.writableBytes();
  REQUIRE(room > 0);
  REQUIRE(put(pair.theirs, std::string_view(data).substr(0, room)));
  const std::size_t owned = buffer.ownedBytes();
  CHECK(buffer.readFd(pair.ours.get(), block.bytes).bytes == room);
  CHECK(buffer.ownedBytes() == owned);
  CHECK(buffer.writableBytes() == 0);
  CHECK(buffer.view() == "left" + data.substr(0, room));
  REQUIRE(put(pair.theirs, std::string_view(data).substr(room)));  // more than the block holds
  CHECK(buffer.readFd(pair.ours.get(), block.bytes).bytes == sizeof block.bytes);
  block.scribble();
  CHECK_FALSE(block.holds(buffer.peek()));
  CHECK(buffer.view() == "left" + data.substr(0, room + sizeof block.bytes));
  while (buffer.readFd(pair.ours.get(), block.bytes).bytes > 0)
    block.scribble();
  CHECK(buffer.view() == "left" + data);
}

/// `number` in network byte order, by another way than Buffer's.
template <class Number>
std::string networkOrder(Number number) {
  std::string bytes(reinterpret_cast<const char*>(&number), sizeof number);
  if constexpr (std::endian::native == std::endian::little) {
    std::reverse(bytes.begin(), bytes.end());
  }
  return bytes;
}

/// A Buffer, what it should hold, the block that it may stand on, and the sockets that feed it.
struct Modelled {
  Buffer buffer;
  std::string model;
  Block block;
  SocketPair pair;
  std::string arriving;  // sent, and not read yet

  [[nodiscard]] bool right() const {
    return buffer.view() == model && buffer.readableBytes() == model.size() &&
           buffer.empty() == model.empty();
  }
};

/// Each operation does the same to a Buffer and to its model, and tells whether all that it saw was
/// right.
class RandomOperations {
 public:
  explicit RandomOperations(std::uint64_t seed)
      : random_(seed), source_(randomBytes(1 << 16, seed)) {}

  /// One operation, on one of two Buffers. Which kind it was is left in `kind`.
  bool runOne(std::size_t& kind) {
    kind = pick(21);
    Modelled& it = all_[pick(1)];
    const bool right = run(kind, it);
    if (it.model.size() > 100'000) retrieveSome(it, 90'000);
    return right && all_[0].right() && all_[1].right();
  }

 private:
  bool run(std::size_t kind, Modelled& it) {
    switch (kind) {
      case 0:
      case 1:
        return append(it);
      case 2:
        return appendInt(it);
      case 3:
        return prepend(it);
      case 4:
        return prependInt(it);
      case 5:
        return writeInPlace(it);
      case 6:
      case 7:
        return retrieve(it);
      case 8:
        return retrieveString(it);
      case 9:
      case 10:
        return readInts(it);
      case 11:
      case 12:
        return send(it);
      case 13:
      case 14:
        return readFd(it);
      case 15:
      case 16:
      case 17:
        return readFdWithBlock(it);
      case 18:
        return settle(it);
      case 19:
        return swap(it);
      case 20:
        return moveAssign(it);
      default:
        return moveOutAndBackIn(it);
    }
  }
  /// A number in [0, most].
  std::size_t pick(std::size_t most) { return static_cast<std::size_t>(random_() % (most + 1)); }
  /// Mostly few, sometimes many.
  std::string_view someBytes(std::size_t most) {
    const std::size_t size = pick(pick(3) == 0 ? most : most / 50);
    return std::string_view(source_).substr(pick(source_.size() - size), size);
  }

  bool append(Modelled& it) {
    const std::string_view bytes = someBytes(3000);
    it.buffer.append(bytes);
    it.model.append(bytes);
    return true;
  }
  bool appendInt(Modelled& it) {
    const auto number = static_cast<std::int32_t>(random_());
    it.buffer.appendInt(number);
    it.model.append(networkOrder(number));
    return true;
  }
  bool prepend(Modelled& it) {
    const std::size_t room = it.model.empty() ? 8 : it.buffer.prependableBytes();
    const std::string_view bytes = std::string_view(source_).substr(pick(1000), pick(room));
    it.buffer.prepend(bytes);
    it.model.insert(0, bytes);
    return true;
  }
  bool prependInt(Modelled& it) {
    if (!it.model.empty() && it.buffer.prependableBytes() < 2) return true;
    const auto number = static_cast<std::uint16_t>(random_());
    it.buffer.prependInt(number);
    it.model.insert(0, networkOrder(number));
    return true;
  }
  bool writeInPlace(Modelled& it) {
    const std::string_view bytes = someBytes(8000);
    const std::size_t room = bytes.size() + pick(100);
    it.buffer.ensureWritable(room);
    if (it.buffer.writableBytes() < room) return false;
    std::memcpy(it.buffer.beginWrite(), bytes.data(), bytes.size());
    it.buffer.hasWritten(bytes.size());
    it.model.append(bytes);
    return true;
  }

  void retrieveSome(Modelled& it, std::size_t size) {
    it.buffer.retrieve(size);
    it.model.erase(0, size);
  }
  bool retrieve(Modelled& it) {
    retrieveSome(it, pick(it.model.size()));
    return true;
  }
  bool retrieveString(Modelled& it) {
    const std::size_t size = pick(it.model.size());
    const std::string expected = it.model.substr(0, size);
    it.model.erase(0, size);
    return it.buffer.retrieveAsString(size) == expected;
  }
  template <class Number>
  bool readOneInt(Modelled& it) {
    if (it.model.size() < sizeof(Number)) return true;
    const std::string expected = it.model.substr(0, sizeof(Number));
    it.model.erase(0, sizeof(Number));
    const auto peeked = it.buffer.peekInt<Number>();
    return it.buffer.readInt<Number>() == peeked && networkOrder(peeked) == expected;
  }
  bool readInts(Modelled& it) {
    return readOneInt<std::uint64_t>(it) && readOneInt<std::int32_t>(it) &&
           readOneInt<std::int16_t>(it) && readOneInt<std::uint8_t>(it);
  }

  bool send(Modelled& it) {
    if (it.arriving.size() > 40'000) return true;
    const std::string_view bytes = someBytes(12'000);
    it.arriving.append(bytes);
    return bytes.empty() || put(it.pair.theirs, bytes);
  }
  bool hasRead(Modelled& it, IoResult result) {
    if (it.arriving.empty()) return result.error == EAGAIN && result.bytes == 0;
    if (result.error != 0 || result.bytes == 0 || result.bytes > it.arriving.size()) return false;
    it.model.append(it.arriving, 0, result.bytes);
    it.arriving.erase(0, result.bytes);
    return true;
  }
  bool readFd(Modelled& it) { return hasRead(it, it.buffer.readFd(it.pair.ours.get())); }
  bool readFdWithBlock(Modelled& it) {
    return settle(it) && hasRead(it, it.buffer.readFd(it.pair.ours.get(), it.block.bytes));
  }
  bool settle(Modelled& it) {
    it.buffer.settle();
    it.block.scribble();
    const std::size_t most = it.model.empty() ? 0 : 4 * it.model.size() + 4096;
    return it.buffer.ownedBytes() <= most;
  }

  Modelled& otherThan(const Modelled& it) { return &it == &all_[0] ? all_[1] : all_[0]; }
  bool swap(Modelled& it) {
    Modelled& other = otherThan(it);
    it.buffer.swap(other.buffer);
    it.model.swap(other.model);
    it.block.scribble();
    other.block.scribble();
    return true;
  }
  bool moveAssign(Modelled& it) {
    Modelled& other = otherThan(it);
    it.buffer = std::move(other.buffer);
    it.model = std::exchange(other.model, "");
    it.block.scribble();
    other.block.scribble();
    return other.buffer.ownedBytes() == 0;
  }
  bool moveOutAndBackIn(Modelled& it) {
    Buffer moved(std::move(it.buffer));
    it.block.scribble();
    const bool right = it.buffer.empty() && moved.view() == it.model;
    it.buffer = std::move(moved);
    return right;
  }

  std::mt19937_64 random_;
  const std::string source_;
  Modelled all_[2];
};

TEST_CASE("Buffer: a quarter of a million random operations do what a std::string does") {
  const std::uint64_t seed = 20240607;
  CAPTURE(seed);
  RandomOperations operations(seed);
  for (int operation = 0; operation < 250'000; ++operation) {
    std::size_t kind = 0;
    const bool right = operations.runOne(kind);
    CAPTURE(operation);
    CAPTURE(kind);
    REQUIRE(right);
  }
}

TEST_CASE("Buffer: the room in front is used while at least half of the memory is free") {
  constexpr std::size_t kSize = 1000;
  for (const std::size_t left : {504U, 505U}) {
    Buffer buffer;
    buffer.append(std::string(kSize, 'x'));
    const char* const first = buffer.peek();
    buffer.retrieve(kSize - left);
    buffer.append(std::string(kSize - left, 'y'));  // to the last byte
    CHECK(buffer.view() == std::string(left, 'x') + std::string(kSize - left, 'y'));
    CHECK((buffer.peek() == first) == (left == 504));
    CHECK(buffer.ownedBytes() == std::max(Buffer::kCheapPrepend + kSize, 2 * left));
  }
}

// ownedBytes() counts what the Buffer knows of. What it has forgotten, only the heap knows.
TEST_CASE("Buffer: what it gives back comes back to the heap") {
  Buffer buffer;
  buffer.append(std::string(64 << 10, 'x'));
  const std::size_t before = mallinfo2().uordblks;
  buffer.retrieveAll();
  buffer.settle();
  CHECK(mallinfo2().uordblks <= before - (before == 0 ? 0 : 64 << 10));  // 0: a sanitizer's heap
}

TEST_CASE("Buffer: what just fits stays where it is") {
  Buffer buffer;
  buffer.append(std::string(200, 'x'));
  const std::size_t owned = buffer.ownedBytes();
  buffer.append(std::string(buffer.writableBytes(), 'y'));
  CHECK(buffer.ownedBytes() == owned);
  CHECK(buffer.writableBytes() == 0);
}

TEST_CASE("Buffer: settling gives memory back when less than a quarter of it is in use") {
  for (const std::size_t left : {1024U, 1023U}) {
    Buffer buffer;
    buffer.append(std::string(4096 - Buffer::kCheapPrepend, 'x'));
    REQUIRE(buffer.ownedBytes() == 4096);
    buffer.retrieve(buffer.readableBytes() - left);
    buffer.settle();
    CHECK(buffer.view() == std::string(left, 'x'));
    CHECK((buffer.ownedBytes() == 4096) == (left == 1024));
  }
}

}  // namespace
