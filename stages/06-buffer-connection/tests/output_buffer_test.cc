#include <doctest/doctest.h>
#include <malloc.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <iterator>
#include <random>
#include <string>
#include <string_view>
#include <utility>

#include "rung/net/OutputBuffer.h"

#include "tests/support/ChildProcess.h"
#include "tests/support/RandomBytes.h"
#include "tests/support/Sockets.h"

using rung::IoResult;
using rung::OutputBuffer;
using rung::testing::ChildResult;
using rung::testing::Pipe;
using rung::testing::randomBytes;
using rung::testing::runInChild;
using rung::testing::SocketPair;
using rung::testing::take;

namespace {

constexpr std::size_t kMiB = 1 << 20;

/// All that has arrived at `fd` by now.
std::string takeAll(const rung::UniqueFd& fd) {
  std::string all;
  for (std::string piece; !(piece = take(fd.get(), 1 << 16)).empty();)
    all += piece;
  return all;
}

/// Writes, and reads at the other end, in turn until all has gone.
std::string drain(OutputBuffer& output, const SocketPair& pair) {
  std::string all;
  while (!output.empty()) {
    const std::size_t before = output.bytes();
    const IoResult result = output.writeTo(pair.ours.get());
    REQUIRE(result.error == 0);
    REQUIRE(result.bytes > 0);
    REQUIRE(output.bytes() == before - result.bytes);
    all += takeAll(pair.theirs);
  }
  return all;
}

/// Writes until the socket takes no more, and returns how much it took.
std::size_t fill(OutputBuffer& output, const SocketPair& pair) {
  std::size_t taken = 0;
  IoResult result;
  while (!output.empty() && (result = output.writeTo(pair.ours.get())).error == 0)
    taken += result.bytes;
  REQUIRE(result.error == EAGAIN);
  return taken;
}

/// What the program has on its heap. Always the same where the C library does not tell, and under
/// the sanitizers, which have a heap of their own: a test of it then tests nothing.
std::size_t heapBytes() {
#if defined(__GLIBC__) && (__GLIBC__ > 2 || __GLIBC_MINOR__ >= 33)
  const auto info = mallinfo2();
  return info.uordblks + info.hblkhd;
#else
  return 0;
#endif
}

TEST_CASE("OutputBuffer: a new one is empty, and writes nothing without an error") {
  SocketPair pair;
  OutputBuffer output;
  CHECK(output.empty());
  CHECK(output.bytes() == 0);
  output.append("");
  output.append(std::string_view());
  output.append(std::string(), 0);
  output.append(std::string("sent already"), 12);
  CHECK(output.empty());
  const IoResult result = output.writeTo(pair.ours.get());
  CHECK(result.bytes == 0);
  CHECK(result.error == 0);
  CHECK(output.empty());
  CHECK(take(pair.theirs.get()).empty());
}

TEST_CASE("OutputBuffer: hands over all that fits in one call, and in order") {
  SocketPair pair;
  OutputBuffer output;
  output.append("one ");
  output.append(std::string("sent, two "), 6);
  output.append(std::string_view("three\0four", 10));
  CHECK_FALSE(output.empty());
  CHECK(output.bytes() == 18);
  const IoResult result = output.writeTo(pair.ours.get());
  CHECK(result.bytes == 18);
  CHECK(result.error == 0);
  CHECK(output.empty());
  CHECK(output.bytes() == 0);
  CHECK(take(pair.theirs.get()) == std::string("one two three\0four", 18));
  output.append("again");
  CHECK(output.writeTo(pair.ours.get()).bytes == 5);
  CHECK(take(pair.theirs.get()) == "again");
}

// One iovec for each append would hand over 1024 of them at most (IOV_MAX), and cost memory for
// each.
TEST_CASE("OutputBuffer: gathers small pieces, so that thousands go out in one call") {
  SocketPair pair;
  OutputBuffer output;
  const std::string data = randomBytes(60'000, 1);
  for (std::size_t at = 0; at < data.size(); at += 10) {
    if (at % 20 == 0) {
      output.append(std::string_view(data).substr(at, 10));
    } else {
      output.append(data.substr(at - 5, 15), 5);
    }
  }
  CHECK(output.bytes() == data.size());
  CHECK(output.writeTo(pair.ours.get()).bytes == data.size());
  CHECK(output.empty());
  CHECK(takeAll(pair.theirs) == data);
}

TEST_CASE("OutputBuffer: hands over copies and moved strings together") {
  SocketPair pair;
  OutputBuffer output;
  const std::string large = randomBytes(30'000, 2);
  output.append("head");
  output.append(std::string(large), 0);
  output.append("middle");
  output.append(std::string(large), 100);
  output.append("tail");
  CHECK(output.bytes() == 59'914);
  CHECK(output.writeTo(pair.ours.get()).bytes == 59'914);
  CHECK(takeAll(pair.theirs) == "head" + large + "middle" + large.substr(100) + "tail");
}

TEST_CASE("OutputBuffer: a moved string counts from where its rest begins, however much that is") {
  const std::string data = randomBytes(100'000, 3);
  const std::size_t starts[] = {0,      1,      10,     40'000, 50'000, 50'001,
                                60'000, 83'615, 83'616, 83'617, 99'999, 100'000};
  for (const std::size_t from : starts) {
    for (const bool empty : {true, false}) {
      CAPTURE(from);
      CAPTURE(empty);
      SocketPair pair;
      OutputBuffer output;
      const std::string before = empty ? "" : "before";
      output.append(before);
      output.append(std::string(data), from);
      output.append("after");
      CHECK(output.bytes() == before.size() + data.size() - from + 5);
      CHECK(drain(output, pair) == before + data.substr(from) + "after");
    }
  }
}

TEST_CASE("OutputBuffer: copies go into the spare room of a moved string without harm") {
  SocketPair pair;
  OutputBuffer output;
  std::string roomy = randomBytes(20'000, 4);
  roomy.reserve(50'000);
  const std::string more = randomBytes(100'000, 5);
  std::string expected = roomy.substr(3000) + more;
  output.append(std::move(roomy), 3000);
  output.append(more);
  CHECK(output.bytes() == expected.size());
  CHECK(drain(output, pair) == expected);
}

TEST_CASE("OutputBuffer: goes on in the middle of a piece after a partial write") {
  SocketPair pair;
  OutputBuffer output;
  const std::string first = randomBytes(kMiB, 6);
  const std::string second = randomBytes(kMiB, 7);
  output.append(std::string(first), 17);
  const std::size_t taken = fill(output, pair);
  CHECK(taken > 0);
  CHECK(output.bytes() == kMiB - 17 - taken);
  output.append("copied");
  output.append(std::string(second), 5);
  output.append("end");
  std::string all = takeAll(pair.theirs);
  CHECK(all.size() == taken);
  all += drain(output, pair);
  CHECK(all == first.substr(17) + "copied" + second.substr(5) + "end");
}

// A rewrite took EAGAIN for the end of the connection, or dropped what it had just tried to write.
TEST_CASE("OutputBuffer: a full socket is an error value, and nothing is lost") {
  SocketPair pair;
  OutputBuffer output;
  const std::string data = randomBytes(2 * kMiB, 8);
  output.append(data);
  const std::size_t taken = fill(output, pair);
  for (int i = 0; i < 3; ++i) {
    const IoResult result = output.writeTo(pair.ours.get());
    CHECK(result.error == EAGAIN);
    CHECK(result.bytes == 0);
    CHECK(output.bytes() == data.size() - taken);
  }
  const std::string all = takeAll(pair.theirs);
  CHECK(all + drain(output, pair) == data);
}

TEST_CASE("OutputBuffer: ten megabytes in pieces of all sizes arrive whole") {
  SocketPair pair;
  OutputBuffer output;
  std::mt19937_64 random(9);
  const std::string source = randomBytes(kMiB, 10);
  std::string expected;
  std::string arrived;
  while (expected.size() < 10 * kMiB) {
    const std::size_t size = random() % (random() % 4 == 0 ? 200'000 : 3000);
    const std::size_t from = random() % (source.size() - size);
    if (random() % 2 == 0) {
      output.append(std::string_view(source).substr(from, size));
    } else {
      const std::size_t sent = random() % 30;
      output.append(std::string(sent, '#') + source.substr(from, size), sent);
    }
    expected.append(source, from, size);
    // A reader that takes less than comes.
    if (random() % 8 == 0) {
      (void)output.writeTo(pair.ours.get());
      arrived += take(pair.theirs.get(), 50'000);
    }
    REQUIRE(output.bytes() <= expected.size() - arrived.size());
  }
  CHECK(output.bytes() > 5 * kMiB);
  arrived += takeAll(pair.theirs);
  arrived += drain(output, pair);
  CHECK(arrived.size() == expected.size());
  CHECK((arrived == expected));  // in parentheses: not to be printed
}

// sendmsg refuses more than 1024 pieces (IOV_MAX).
TEST_CASE("OutputBuffer: more pieces wait than one call takes") {
  SocketPair pair;
  OutputBuffer output;
  const std::string source = randomBytes(kMiB, 12);
  std::string expected;
  for (std::size_t i = 0; i < 1100; ++i) {
    output.append(source.substr(i * 700, 17'000), 0);
    expected.append(source, i * 700, 17'000);
  }
  CHECK(output.bytes() == expected.size());
  CHECK((drain(output, pair) == expected));
}

TEST_CASE("OutputBuffer: a peer that is gone is an error value, and no SIGPIPE") {
  const ChildResult result = runInChild([] {
    std::signal(SIGPIPE, SIG_DFL);
    SocketPair pair;
    OutputBuffer output;
    output.append("too late");
    pair.theirs.reset();
    const IoResult written = output.writeTo(pair.ours.get());
    std::printf("%s, %zu bytes, %zu left\n", written.error == EPIPE ? "EPIPE" : "other",
                written.bytes, output.bytes());
  });
  CHECK(result.exitedWith(0));
  CHECK(result.output == "EPIPE, 0 bytes, 8 left\n");
}

TEST_CASE("OutputBuffer: any other error is a value too, and keeps everything") {
  Pipe pipe;
  SocketPair pair;
  OutputBuffer output;
  output.append("patience");
  CHECK(output.writeTo(-1).error == EBADF);
  CHECK(output.writeTo(pipe.writeEnd.get()).error == ENOTSOCK);
  CHECK(output.bytes() == 8);
  CHECK(drain(output, pair) == "patience");
}

TEST_CASE("OutputBuffer: forgets everything when cleared, and works on") {
  SocketPair pair;
  OutputBuffer output;
  output.append(randomBytes(2 * kMiB, 11), 100);
  output.append("more");
  CHECK(fill(output, pair) > 0);  // in the middle of a piece
  output.clear();
  CHECK(output.empty());
  CHECK(output.bytes() == 0);
  (void)takeAll(pair.theirs);
  CHECK(output.writeTo(pair.ours.get()).bytes == 0);
  for (const char* text : {"fresh", "and again"}) {
    output.append(std::string_view(text));
    CHECK(drain(output, pair) == text);
    output.clear();
  }
}

TEST_CASE("OutputBuffer: 32 MiB wait in 32 MiB") {
  constexpr std::size_t kSize = 32 * kMiB;
  const std::size_t before = heapBytes();
  OutputBuffer output;
  const auto held = [&] { return heapBytes() - before; };
  SUBCASE("when they were moved in") {
    std::string large(kSize, 'x');
    CHECK(held() <= kSize + kMiB);
    output.append(std::move(large), 1000);
    CHECK(large.empty());  // NOLINT(bugprone-use-after-move): a copy would leave it as it is
    CHECK(held() <= kSize + kMiB);
    output.append("more");
    output.append(std::string(kMiB, 'y'), 0);
    CHECK(held() <= kSize + 2 * kMiB);
  }
  SUBCASE("but not when most of a moved string was sent before") {
    output.append(std::string(kSize, 'x'), kSize - kMiB);
    CHECK(output.bytes() == kMiB);
    CHECK(held() <= 2 * kMiB);
  }
  SUBCASE("when they were copied") {
    const std::string piece(1000, 'x');
    while (output.bytes() < kSize)
      output.append(piece);
    CHECK(held() <= kSize + kMiB);
  }
  SUBCASE("and less and less as they are sent") {
    const std::string piece(kMiB / 8, 'x');
    while (output.bytes() < kSize)
      output.append(piece);
    SocketPair pair;
    char text[65536];
    while (output.bytes() > kSize / 4) {
      REQUIRE(output.writeTo(pair.ours.get()).error == 0);
      while (recv(pair.theirs.get(), text, sizeof text, 0) > 0) {
      }
    }
    CHECK(held() <= kSize / 4 + kMiB);
  }
  output.clear();
  CHECK(output.empty());
  CHECK(held() <= 4096);
}

TEST_CASE("OutputBuffer: does not grow with all that ever passed, though it is never empty") {
  SocketPair pair;
  OutputBuffer output;
  const std::string piece(17'000, 'x');
  output.append(std::string(kMiB, 'x'), 0);
  (void)fill(output, pair);
  const std::size_t waiting = output.bytes();
  std::size_t before = 0;
  for (int i = 0; i < 8000; ++i) {
    if (i == 200) before = heapBytes();  // when what waited at first has gone
    output.append(std::string(piece), 0);
    while (output.bytes() > waiting) {
      (void)take(pair.theirs.get(), piece.size());
      (void)output.writeTo(pair.ours.get());
    }
    REQUIRE_FALSE(output.empty());
  }
  CHECK(heapBytes() <= before + kMiB / 8);
}

/// Each operation does the same to an OutputBuffer and to a std::string, and tells whether all that
/// it saw was right.
class RandomOutput {
 public:
  explicit RandomOutput(std::uint64_t seed) : random_(seed), source_(randomBytes(1 << 18, seed)) {}

  /// One operation. Which kind it was is left in `kind`.
  bool runOne(std::size_t& kind) {
    kind = pick(11);
    bool right = run(kind);
    while (right && stream_.size() - sent_ > (kMiB / 2)) {  // the reader is slow, but not too slow
      right = read() && write();
    }
    return right && output_.bytes() == stream_.size() - sent_ &&
           output_.empty() == (stream_.size() == sent_);
  }

  /// What still waits, and what is on its way.
  bool finish() {
    while (got_ < stream_.size()) {
      if (!write() || !read()) return false;
    }
    return output_.empty();
  }

 private:
  bool run(std::size_t kind) {
    switch (kind) {
      case 0:
      case 1:
      case 2:
        return appendCopy();
      case 3:
      case 4:
        return appendMoved();
      case 5:
      case 6:
      case 7:
        return write();
      case 8:
      case 9:
      case 10:
        return read();
      default:
        return clearSometimes();
    }
  }
  /// A number in [0, most].
  std::size_t pick(std::size_t most) { return static_cast<std::size_t>(random_() % (most + 1)); }
  /// Mostly few, sometimes many.
  std::string_view someBytes() {
    const std::size_t kinds[] = {10, 10, 100, 1000, 3000, 17'000, 60'000};
    const std::size_t size = pick(kinds[pick(std::size(kinds) - 1)]);
    return std::string_view(source_).substr(pick(source_.size() - size), size);
  }

  bool appendCopy() {
    const std::string_view bytes = someBytes();
    output_.append(bytes);
    stream_.append(bytes);
    return true;
  }
  bool appendMoved() {
    std::string bytes(someBytes());
    const std::size_t from = pick(pick(1) == 0 ? 0 : bytes.size());
    stream_.append(bytes, from);
    if (pick(3) == 0) bytes.reserve(bytes.size() + pick(10'000));
    output_.append(std::move(bytes), from);
    return true;
  }
  bool write() {
    const IoResult result = output_.writeTo(pair_.ours.get());
    sent_ += result.bytes;
    if (result.error != 0) return result.error == EAGAIN && result.bytes == 0;
    return sent_ <= stream_.size() && (result.bytes > 0 || output_.empty());
  }
  bool read() {
    const std::string bytes = take(pair_.theirs.get(), 1 + pick(pick(2) == 0 ? 100'000 : 5000));
    const bool right = stream_.compare(got_, bytes.size(), bytes) == 0;
    got_ += bytes.size();
    if (got_ > 4 * kMiB) {
      stream_.erase(0, got_);
      sent_ -= got_;
      got_ = 0;
    }
    return right && got_ <= sent_;
  }
  bool clearSometimes() {
    if (pick(20) != 0) return true;
    output_.clear();
    stream_.resize(sent_);
    return true;
  }

  std::mt19937_64 random_;
  const std::string source_;
  SocketPair pair_;
  OutputBuffer output_;
  std::string stream_;    // all that was appended and not cleared,
  std::size_t sent_ = 0;  // of it handed to the socket,
  std::size_t got_ = 0;   // and of that read at the other end
};

TEST_CASE("OutputBuffer: random operations do what a std::string does") {
  const std::uint64_t seed = 20240608;
  CAPTURE(seed);
  RandomOutput operations(seed);
  for (int operation = 0; operation < 50'000; ++operation) {
    std::size_t kind = 0;
    const bool right = operations.runOne(kind);
    CAPTURE(operation);
    CAPTURE(kind);
    REQUIRE(right);
  }
  CHECK(operations.finish());
}

}  // namespace
