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
#include "tests/support/Sockets.h"

using rung::Buffer;
using rung::IoResult;
using rung::testing::ChildResult;
using rung::testing::Pipe;
using rung::testing::put;
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

/// Data in which a byte that is lost, doubled or out of place shows.
std::string randomBytes(std::size_t size, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::string bytes(size, '\0');
  for (char& byte : bytes)
    byte = static_cast<char>(random() & 0xFF);
  return bytes;
}

/// As much of `bytes` as the socket takes.
std::size_t putSome(const rung::UniqueFd& fd, std::string_view bytes) {
  const ssize_t n = write(fd.get(), bytes.data(), bytes.size());
  return n > 0 ? static_cast<std::size_t>(n) : 0;
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
  buffer.retrieve(0);
  buffer.retrieveAll();
  buffer.hasWritten(0);
  buffer.settle();
  CHECK(buffer.retrieveAsString(0).empty());
  CHECK(buffer.retrieveAllAsString().empty());
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
                   std::int64_t, std::uint64_t, long long, unsigned long) {
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
  CHECK(result.says("6 bytes to prepend, room for 5"));
  const ChildResult onEmpty = runInChild([] { Buffer().prepend("123456789"); });
  CHECK(onEmpty.aborted());
  CHECK(onEmpty.says("9 bytes to prepend, room for 8"));
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
    CHECK(result.says("4 bytes asked for, 3 there"));
  }
  const ChildResult onEmpty = runInChild([] { Buffer().retrieve(1); });
  CHECK(onEmpty.aborted());
  CHECK(onEmpty.says("1 bytes asked for, 0 there"));
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
  buffer.ensureWritable(3000);  // the room is there already
  CHECK(buffer.peek() == before);
  buffer.hasWritten(3000);
  CHECK(buffer.view() == "abc" + std::string(5000, 'x'));
}

TEST_CASE("Buffer: saying that more was written than fits is a programmer's error") {
  const ChildResult onEmpty = runInChild([] { Buffer().hasWritten(1); });
  CHECK(onEmpty.aborted());
  CHECK(onEmpty.says("1 bytes written, room for 0"));
  const ChildResult result = runInChild([] {
    Buffer buffer;
    buffer.ensureWritable(100);
    std::printf("expect: %zu bytes written, room for %zu\n", buffer.writableBytes() + 1,
                buffer.writableBytes());
    std::fflush(nullptr);
    buffer.hasWritten(buffer.writableBytes() + 1);
  });
  CHECK(result.aborted());
  const std::size_t start = result.output.find(": ") + 2;
  const std::string expected = result.output.substr(start, result.output.find('\n', start) - start);
  CHECK(result.output.find(expected, start + expected.size()) != std::string::npos);
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

TEST_CASE("Buffer: owns no memory any more when all is retrieved") {
  Buffer buffer;
  buffer.append("abc");
  buffer.retrieveAll();
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
  Buffer buffer;
  buffer.append("0itself");
  buffer.retrieve(1);
  Buffer& same = buffer;
  buffer = std::move(same);
  CHECK(buffer.view() == "itself");
  buffer.swap(same);
  CHECK(buffer.view() == "itself");
  SocketPair pair;
  Block block;
  REQUIRE(put(pair.theirs, "lent"));
  buffer.retrieveAll();
  CHECK(buffer.readFd(pair.ours.get(), block.bytes).bytes == 4);
  buffer = std::move(same);
  CHECK(buffer.view() == "lent");
  buffer.swap(same);
  CHECK(buffer.view() == "lent");
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
  SocketPair pair;
  Block blocks[2];
  const auto standOn = [&](Block& block, std::string_view text) {
    Buffer buffer;
    REQUIRE(put(pair.theirs, text));
    REQUIRE(buffer.readFd(pair.ours.get(), block.bytes).bytes == text.size());
    REQUIRE(block.holds(buffer.peek()));
    return buffer;  // not copied, not moved: NRVO, or a move, which is right as well
  };
  const auto scribble = [&] {
    blocks[0].scribble();
    blocks[1].scribble();
  };
  SUBCASE("move construction") {
    Buffer a;
    REQUIRE(put(pair.theirs, "from a"));
    REQUIRE(a.readFd(pair.ours.get(), blocks[0].bytes).bytes == 6);
    Buffer b(std::move(a));
    scribble();
    CHECK(b.view() == "from a");
    CHECK(b.ownedBytes() > 0);
    CHECK(a.empty());  // NOLINT(bugprone-use-after-move): that is the point
    a.append("again");
    CHECK(a.view() == "again");
  }
  SUBCASE("move assignment") {
    Buffer a = standOn(blocks[0], "from a");
    Buffer b = standOn(blocks[1], "from b");
    b = std::move(a);
    scribble();
    CHECK(b.view() == "from a");
    CHECK(a.empty());  // NOLINT(bugprone-use-after-move): that is the point
  }
  SUBCASE("swap") {
    Buffer a = standOn(blocks[0], "from a");
    Buffer b = standOn(blocks[1], "from b");
    a.swap(b);
    scribble();
    CHECK(a.view() == "from b");
    CHECK(b.view() == "from a");
  }
  SUBCASE("swap with one that has its own memory") {
    Buffer a = standOn(blocks[0], "from a");
    Buffer b;
    b.append("own");
    a.swap(b);
    scribble();
    CHECK(a.view() == "own");
    CHECK(b.view() == "from a");
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
  SocketPair pair;
  Block block;
  Buffer buffer;
  REQUIRE(put(pair.theirs, std::string(3000, 'x') + "rest"));
  CHECK(buffer.readFd(pair.ours.get(), block.bytes).bytes == 3004);
  buffer.retrieve(3000);
  CHECK(buffer.ownedBytes() == 0);
  buffer.settle();
  block.scribble();
  CHECK(buffer.view() == "rest");
  CHECK_FALSE(block.holds(buffer.peek()));
  CHECK(buffer.ownedBytes() <= 256);
}

TEST_CASE("Buffer: on a lent block it can be written at both ends") {
  SocketPair pair;
  Block block;
  Buffer buffer;
  REQUIRE(put(pair.theirs, "body"));
  CHECK(buffer.readFd(pair.ours.get(), block.bytes).bytes == 4);
  REQUIRE(buffer.prependableBytes() >= Buffer::kCheapPrepend);
  buffer.prependInt<std::uint64_t>(4);
  buffer.append(", tail");
  CHECK(buffer.view() == "\0\0\0\0\0\0\0\4body, tail"s);
  CHECK(buffer.ownedBytes() == 0);
  CHECK(block.holds(buffer.peek()));
  const ChildResult result = runInChild([&] { buffer.prepend("x"); });
  CHECK(result.aborted());
  CHECK(result.says("1 bytes to prepend, room for 0"));
  const std::string much(sizeof block.bytes, 'm');
  buffer.append(much);  // does not fit: into memory of its own
  block.scribble();
  CHECK_FALSE(block.holds(buffer.peek()));
  CHECK(buffer.view() == "\0\0\0\0\0\0\0\4body, tail"s + much);
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

/// A Buffer, what it should hold, and the sockets that feed it.
struct Modelled {
  Buffer buffer;
  std::string model;
  SocketPair pair;
  std::string arriving;  // sent, and not read yet
  Block block;

  [[nodiscard]] bool right() const {
    return buffer.view() == model && buffer.readableBytes() == model.size() &&
           buffer.empty() == model.empty();
  }
};

/// Bytes [0, sizeof(Number)) of `model` as a number, by another way than Buffer's.
template <class Number>
Number numberAtFront(const std::string& model) {
  Number number;
  std::string bytes = model.substr(0, sizeof number);
  if constexpr (std::endian::native == std::endian::little) {
    std::reverse(bytes.begin(), bytes.end());
  }
  std::memcpy(&number, bytes.data(), sizeof number);
  return number;
}

template <class Number>
bool readIntIsRight(Modelled& it) {
  if (it.model.size() < sizeof(Number)) return true;
  const auto expected = numberAtFront<Number>(it.model);
  const bool peeked = it.buffer.peekInt<Number>() == expected;
  it.model.erase(0, sizeof(Number));
  return it.buffer.readInt<Number>() == expected && peeked;
}

bool readFdIsRight(Modelled& it, bool withBlock) {
  if (withBlock) {
    it.buffer.settle();
    it.block.scribble();
  }
  const IoResult result = withBlock ? it.buffer.readFd(it.pair.ours.get(), it.block.bytes)
                                    : it.buffer.readFd(it.pair.ours.get());
  if (it.arriving.empty()) return result.error == EAGAIN && result.bytes == 0;
  if (result.error != 0 || result.bytes == 0 || result.bytes > it.arriving.size()) return false;
  it.model.append(it.arriving, 0, result.bytes);
  it.arriving.erase(0, result.bytes);
  return true;
}

TEST_CASE("Buffer: a quarter of a million random operations do what a std::string does") {
  const std::uint64_t seed = 20240607;
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  const auto upTo = [&](std::size_t most) {
    return static_cast<std::size_t>(random() % (most + 1));
  };
  const std::string source = randomBytes(1 << 16, seed);
  const auto someBytes = [&](std::size_t most) {
    const std::size_t size = upTo(most);
    return std::string_view(source).substr(upTo(source.size() - size), size);
  };
  const auto oftenSmall = [&](std::size_t most) { return upTo(3) == 0 ? most : most / 50; };

  Modelled all[2];
  for (int operation = 0; operation < 250'000; ++operation) {
    CAPTURE(operation);
    Modelled& it = all[upTo(1)];
    Modelled& other = &it == &all[0] ? all[1] : all[0];
    const std::size_t kind = upTo(17);
    CAPTURE(kind);
    bool right = true;
    switch (kind) {
      case 0:
      case 1: {
        const std::string_view bytes = someBytes(oftenSmall(3000));
        it.buffer.append(bytes);
        it.model.append(bytes);
        break;
      }
      case 2: {
        const std::size_t room =
            it.model.empty() ? Buffer::kCheapPrepend : it.buffer.prependableBytes();
        const std::string_view bytes = someBytes(std::min<std::size_t>(room, 20));
        it.buffer.prepend(bytes);
        it.model.insert(0, bytes);
        break;
      }
      case 3:
      case 4: {
        const std::size_t size = upTo(it.model.size());
        it.buffer.retrieve(size);
        it.model.erase(0, size);
        break;
      }
      case 5: {
        const std::size_t size = upTo(it.model.size());
        right = it.buffer.retrieveAsString(size) == it.model.substr(0, size);
        it.model.erase(0, size);
        break;
      }
      case 6:
        right = readIntIsRight<std::uint64_t>(it) && readIntIsRight<std::int32_t>(it);
        break;
      case 7:
        right = readIntIsRight<std::int16_t>(it) && readIntIsRight<std::uint8_t>(it);
        break;
      case 8: {
        const auto number = static_cast<std::int32_t>(random());
        it.buffer.appendInt(number);
        std::string bytes(reinterpret_cast<const char*>(&number), sizeof number);
        if constexpr (std::endian::native == std::endian::little) {
          std::reverse(bytes.begin(), bytes.end());
        }
        it.model.append(bytes);
        break;
      }
      case 9: {
        const std::size_t room = oftenSmall(8000);
        it.buffer.ensureWritable(room);
        const std::string_view bytes = someBytes(room);
        right = it.buffer.writableBytes() >= room;
        std::memcpy(it.buffer.beginWrite(), bytes.data(), bytes.size());
        it.buffer.hasWritten(bytes.size());
        it.model.append(bytes);
        break;
      }
      case 10:
      case 11:
        if (it.arriving.size() < 40'000) {
          const std::string_view bytes = someBytes(oftenSmall(12'000));
          right = bytes.empty() || put(it.pair.theirs, bytes);
          it.arriving.append(bytes);
        }
        break;
      case 12:
      case 13:
        right = readFdIsRight(it, true);
        break;
      case 14:
        right = readFdIsRight(it, false);
        break;
      case 15:
        it.buffer.settle();
        it.block.scribble();
        right = it.model.empty() ? it.buffer.ownedBytes() == 0
                                 : it.buffer.ownedBytes() <= 4 * it.model.size() + 4096;
        break;
      case 16:
        it.buffer.swap(other.buffer);
        it.model.swap(other.model);
        it.block.scribble();
        other.block.scribble();
        break;
      default:
        if (upTo(3) == 0) {
          it.buffer = std::move(other.buffer);
          it.model = std::exchange(other.model, "");
          right = other.buffer.ownedBytes() == 0;
        } else {
          Buffer moved(std::move(it.buffer));
          right = it.buffer.empty() && moved.view() == it.model;
          it.buffer = std::move(moved);
        }
        it.block.scribble();
        other.block.scribble();
        break;
    }
    REQUIRE(right);
    REQUIRE(it.right());
    REQUIRE(other.right());
    if (it.model.size() > 100'000) {
      it.buffer.retrieveAll();
      it.model.clear();
    }
  }
}

}  // namespace
