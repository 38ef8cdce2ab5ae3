#include <doctest/doctest.h>
#include <unistd.h>

#include <charconv>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>

#include "rung/base/LogStream.h"

using rung::FixedBuffer;
using rung::LogStream;

namespace {

template <class Value>
std::string logged(const Value& value) {
  LogStream stream;
  stream << value;
  return std::string(stream.view());
}

/// The limits of T as text, and what reading them gives back.
template <class T>
void checkLimits() {
  const T limits[] = {std::numeric_limits<T>::lowest(), std::numeric_limits<T>::min(), T{0}, T{1},
                      std::numeric_limits<T>::max()};
  for (const T value : limits) {
    const std::string text = logged(value);
    T back{};
    const auto result = std::from_chars(text.data(), text.data() + text.size(), back);
    CHECK(result.ptr == text.data() + text.size());
    CHECK_MESSAGE(back == value, text);
  }
}

constexpr std::size_t kTextBytes = FixedBuffer::kBytes - FixedBuffer::kTailBytes;

TEST_CASE("LogStream: every integer type at its limits") {
  checkLimits<short>();
  checkLimits<unsigned short>();
  checkLimits<int>();
  checkLimits<unsigned>();
  checkLimits<long>();
  checkLimits<unsigned long>();
  checkLimits<long long>();
  checkLimits<unsigned long long>();
  CHECK(logged(std::numeric_limits<long long>::min()) == "-9223372036854775808");
  CHECK(logged(std::numeric_limits<unsigned long long>::max()) == "18446744073709551615");
}

// std::ostream shows the eight-bit integers as characters: a port number's low byte as a smiley.
TEST_CASE("LogStream: the eight-bit integers are numbers") {
  CHECK(logged(std::numeric_limits<std::int8_t>::min()) == "-128");
  CHECK(logged(std::numeric_limits<std::int8_t>::max()) == "127");
  CHECK(logged(std::numeric_limits<std::uint8_t>::max()) == "255");
}

TEST_CASE("LogStream: char is a character, bool a word") {
  CHECK(logged('x') == "x");
  CHECK(logged('\0') == std::string(1, '\0'));
  CHECK(logged(true) == "true");
  CHECK(logged(false) == "false");
}

TEST_CASE("LogStream: every floating-point type at its limits reads back as the same value") {
  checkLimits<float>();
  checkLimits<double>();
  checkLimits<long double>();
  CHECK(logged(std::numeric_limits<double>::max()) == "1.7976931348623157e+308");
  CHECK(logged(std::numeric_limits<double>::denorm_min()) == "5e-324");
  CHECK(logged(std::numeric_limits<float>::denorm_min()) == "1e-45");
}

// muduo prints "%.12g": 0.1 + 0.2 and 0.3 look the same, and the log sends one on a false trail.
TEST_CASE("LogStream: a double is as short as it can be, and no shorter") {
  CHECK(logged(0.1) == "0.1");
  CHECK(logged(0.1F) == "0.1");
  CHECK(logged(0.1 + 0.2) == "0.30000000000000004");
  CHECK(logged(100.0) == "100");
  CHECK(logged(1e23) == "1e+23");
  CHECK(logged(-0.0) == "-0");
}

/// Whether `value`, its neighbours and their negatives are written as std::to_chars writes them.
bool isAsToCharsHasIt(double value) {
  for (const double near : {value, std::nextafter(value, 0.0), std::nextafter(value, 1e300)}) {
    for (const double one : {near, -near}) {
      char text[64];
      const auto end = std::to_chars(text, text + sizeof text, one).ptr;
      if (logged(one) != std::string(text, end)) return false;
    }
  }
  return true;
}

// Numbers with few decimals have a way of their own, which is shorter.
TEST_CASE("LogStream: a double with few decimals is what std::to_chars makes of it") {
  for (const double limit : {0.0,
                             1e-6,
                             0.000999,
                             0.001,
                             0.0010000005,
                             0.01,
                             0.1,
                             1.0,
                             9999.0,
                             1e4,
                             99'999.0,
                             1e5,
                             100'000.5,
                             123'456.0,
                             1e6,
                             999'999'999.0,
                             1e9,
                             1e15,
                             999'999'999.999999,
                             999'999'999.9999999,
                             1e9 + 0.5,
                             1e16,
                             1e22}) {
    CHECK_MESSAGE(isAsToCharsHasIt(limit), limit);
  }
  int wrong = 0;
  for (const double unit : {1.0, 8.0, 10.0, 1000.0, 1e6, 1e7}) {
    for (int i = 1; i < 20'000; ++i)
      wrong += isAsToCharsHasIt(i / unit) ? 0 : 1;
  }
  double value = 0.0001;  // of every size
  for (int i = 0; i < 20'000; ++i, value *= 1.0017)
    wrong += isAsToCharsHasIt(value) && isAsToCharsHasIt(std::round(value * 1e6) / 1e6) ? 0 : 1;
  CHECK(wrong == 0);
}

TEST_CASE("LogStream: a double that has no room any more is cut like text") {
  for (std::size_t room = 0; room < 30; ++room) {
    LogStream stream;
    stream << std::string(kTextBytes - room, 'x') << 123'456'789.012345;
    stream.closeText();
    const std::string shown = std::string("123456789.012345").substr(0, room);
    const std::string cut = "...[cut " + std::to_string(16 - shown.size()) + " bytes]";
    CHECK(stream.view() ==
          std::string(kTextBytes - room, 'x') + shown + (shown.size() < 16 ? cut : ""));
  }
}

TEST_CASE("LogStream: infinities and not-a-number have names") {
  CHECK(logged(std::numeric_limits<double>::infinity()) == "inf");
  CHECK(logged(-std::numeric_limits<double>::infinity()) == "-inf");
  CHECK(logged(std::numeric_limits<float>::quiet_NaN()) == "nan");
}

TEST_CASE("LogStream: enumerations that convert to numbers are numbers") {
  enum Small : std::uint8_t { kLast = 255 };
  enum { kMinus = -1 };
  CHECK(logged(kLast) == "255");
  CHECK(logged(kMinus) == "-1");
}

TEST_CASE("LogStream: text of every kind") {
  const char* const pointer = "pointer";
  char array[] = "array";
  CHECK(logged("literal") == "literal");
  CHECK(logged(pointer) == "pointer");
  CHECK(logged(array) == "array");
  CHECK(logged(std::string("with\0zero", 9)) == std::string("with\0zero", 9));
  CHECK(logged(std::string_view("view").substr(1)) == "iew");
  CHECK(logged("") == "");
}

TEST_CASE("LogStream: a null string and a null pointer are shown, not followed") {
  const char* const noText = nullptr;
  char* const noTextEither = nullptr;
  const int* const noInt = nullptr;
  CHECK(logged(noText) == "(null)");
  CHECK(logged(noTextEither) == "(null)");
  CHECK(logged(noInt) == "(null)");
}

TEST_CASE("LogStream: a pointer is its address") {
  LogStream object;
  int* const highest = reinterpret_cast<int*>(std::numeric_limits<std::uintptr_t>::max());
  CHECK(logged(reinterpret_cast<const void*>(std::uintptr_t{0xbeef})) == "0xbeef");
  CHECK(logged(highest) == "0xffffffffffffffff");
  CHECK(logged(&object).starts_with("0x"));
}

struct Point {
  int x;
  int y;
};

LogStream& operator<<(LogStream& stream, const Point& point) {
  return stream << '(' << point.x << ", " << point.y << ')';
}

TEST_CASE("LogStream: a type of one's own needs one function") {
  CHECK(logged(Point{3, -4}) == "(3, -4)");
}

TEST_CASE("LogStream: text that just fits is not cut") {
  LogStream stream;
  stream << std::string(kTextBytes, 'x');
  stream.closeText();
  CHECK(stream.view() == std::string(kTextBytes, 'x'));
}

// muduo's stream drops a piece that does not fit as a whole, and nobody can tell.
TEST_CASE("FixedBuffer: with the room for the tail open, it ends all the same") {
  rung::FixedBuffer buffer;
  buffer.openTail();
  buffer.append(std::string(rung::FixedBuffer::kBytes - 1, 'x'));
  buffer.append("yz");
  CHECK(buffer.view().size() == rung::FixedBuffer::kBytes);
  CHECK(buffer.view().back() == 'y');
}

TEST_CASE("LogStream: text that is too long is cut, and says by how much") {
  LogStream stream;
  stream << "head " << std::string(5000, 'x') << 12345 << 'y' << 0.5 << "tail";
  stream.closeText();
  const std::size_t cut = 5 + 5000 + 5 + 1 + 3 + 4 - kTextBytes;
  CHECK(stream.view() ==
        "head " + std::string(kTextBytes - 5, 'x') + "...[cut " + std::to_string(cut) + " bytes]");
}

TEST_CASE("LogStream: a number at the very end is cut like text") {
  LogStream stream;
  stream << std::string(kTextBytes - 2, 'x') << 12345;
  stream.closeText();
  CHECK(stream.view().substr(kTextBytes - 3) == "x12...[cut 3 bytes]");
}

TEST_CASE("LogStream: after a cut a short piece does not slip into the gap") {
  LogStream stream;
  // The two-byte character does not fit in the last byte, so one byte of room is left.
  stream << std::string(kTextBytes - 1, 'x') << "\xC3\xA9" << 'y';
  stream.closeText();
  CHECK(stream.view().substr(kTextBytes - 2) == "x...[cut 3 bytes]");
}

TEST_CASE("LogStream: the cut does not go through a character") {
  for (std::size_t before = kTextBytes - 4; before <= kTextBytes; ++before) {
    LogStream stream;
    stream << std::string(before, 'x') << "\xF0\x9F\x94\x94\xF0\x9F\x94\x94";  // two bells
    const std::string_view text = stream.view();
    const std::size_t bytesOfBells = text.size() - before;
    CHECK(bytesOfBells % 4 == 0);
    CHECK(text.size() <= kTextBytes);
  }
}

/// What closing makes of `text`.
std::string closed(const std::string& text) {
  LogStream stream;
  stream << text;
  stream.closeText();
  return std::string(stream.view());
}

std::string hex(int byte) {
  constexpr char kDigits[] = "0123456789abcdef";
  return {'\\', 'x', kDigits[byte / 16], kDigits[byte % 16]};
}

// The text is searched in steps of several bytes. Wherever a character stands in a step, and in
// whichever step, it must be found; and what stands around it stays.
TEST_CASE("LogStream: every control character is escaped, at every place") {
  for (std::size_t before = 0; before < 40; ++before) {
    for (const std::size_t after : {0U, 1U, 15U, 16U, 30U}) {
      const std::string head(before, 'x');
      const std::string tail(after, '~');
      for (int byte = 0; byte < 0x80; ++byte) {
        const char c = static_cast<char>(byte);
        std::string expected = byte < 0x20 || byte == 0x7F ? hex(byte) : std::string(1, c);
        if (c == '\n') expected = "\\n";
        if (c == '\r') expected = "\\r";
        if (c == '\t') expected = "\\t";
        CHECK(closed(head + c + tail) == head + expected + tail);
      }
      for (int second = 0x80; second < 0xC0; ++second) {
        const std::string c{'\xC2', static_cast<char>(second)};  // U+0080 to U+00BF
        CHECK(closed(head + c + tail) == head + (second < 0xA0 ? hex(second) : c) + tail);
        const std::string other{'\xC3', static_cast<char>(second)};
        CHECK(closed(head + other + tail) == head + other + tail);
      }
    }
  }
}

TEST_CASE("LogStream: what changes direction or begins a line is escaped, at every place") {
  for (std::size_t before = 0; before < 40; ++before) {
    const std::string head(before, 'x');
    for (unsigned code = 0x2000; code < 0x20C0; ++code) {
      const std::string c{'\xE2', static_cast<char>(0x80 + (code - 0x2000) / 0x40),
                          static_cast<char>(0x80 + code % 0x40)};
      const bool isEscaped = code == 0x200E || code == 0x200F ||
                             (code >= 0x2028 && code <= 0x202E) ||
                             (code >= 0x2066 && code <= 0x2069);
      const std::string escape = "\\u20" + hex(static_cast<int>(code & 0xFF)).substr(2);
      CHECK(closed(head + c + "~") == head + (isEscaped ? escape : c) + "~");
    }
  }
  for (int second = 0x80; second < 0xC0; ++second) {  // U+0600 to U+063F
    const std::string c{'\xD8', static_cast<char>(second)};
    CHECK(closed("x" + c + "~") == "x" + (second == 0x9C ? "\\u061c" : c) + "~");
  }
  const std::string fits(kTextBytes - 5, 'x');
  CHECK(closed(fits + "\u202e") == fits + "...[cut 3 bytes]");
}

TEST_CASE("LogStream: raw text is written as it is, and what stands around it is escaped") {
  LogStream stream;
  stream << "head\n";
  stream.openText();
  stream << "a\n" << rung::raw("b\n\x1b[1m\u202e") << "c\n" << rung::raw("") << 7;
  stream.closeText();
  stream << "tail\n";
  CHECK(stream.view() == "head\na\\nb\n\x1b[1m\u202ec\\n7tail\n");
}

TEST_CASE("LogStream: raw text that is too long is cut, and counted") {
  LogStream stream;
  stream << '\n' << rung::raw(std::string(5000, '\n')) << '\n';
  stream.closeText();
  CHECK(stream.view() == "\\n" + std::string(kTextBytes - 2, '\n') + "...[cut " +
                             std::to_string(5000 + 2 - kTextBytes + 1) + " bytes]");
}

TEST_CASE("LogStream: the head and the tail are not the text, and closing twice changes nothing") {
  LogStream stream;
  stream << "head\n";
  stream.openText();
  stream << "text\n";
  stream.closeText();
  stream << "tail\n";
  CHECK(stream.view() == "head\ntext\\ntail\n");
  LogStream full;
  full << std::string(100'000, '\n');
  full.closeText();
  const std::string once(full.view());
  full.closeText();
  CHECK(full.view() == once + "...[cut" + once.substr(once.rfind(' ', once.size() - 8)));
}

TEST_CASE(
    "LogStream: text that is too long once it is escaped is cut between escapes, and counted") {
  for (std::size_t before = 0; before < 8; ++before) {
    // Each of these is twelve bytes when it is escaped, and all of them would be too long.
    std::string text(before, 'x');
    while (text.size() < kTextBytes - 8)
      text += "\x1b\x1b\n\n";
    const std::string line = closed(text);
    const std::size_t shownEnd = line.find("...[cut ");
    REQUIRE(shownEnd != line.npos);
    CHECK(shownEnd <= kTextBytes);
    CHECK(shownEnd > kTextBytes - 4);
    std::size_t shown = before;  // of the bytes of `text`
    for (std::size_t at = before; at < shownEnd; ++shown) {
      const std::string escape = text[shown] == '\n' ? "\\n" : "\\x1b";
      REQUIRE(line.substr(at, escape.size()) == escape);
      at += escape.size();
    }
    CHECK(line.substr(shownEnd) == "...[cut " + std::to_string(text.size() - shown) + " bytes]");
  }
}

TEST_CASE("LogStream: a control character of two bytes that does not fit counts as two") {
  const std::string fits(kTextBytes - 3, 'x');
  CHECK(closed(fits + "\xC2\x9B") == fits + "...[cut 2 bytes]");
}

TEST_CASE("LogStream: text that was cut before it is escaped counts what is missing altogether") {
  const std::string line = closed("\n" + std::string(5000, 'x'));
  CHECK(line == "\\n" + std::string(kTextBytes - 2, 'x') + "...[cut " +
                    std::to_string(5000 + 2 - kTextBytes) + " bytes]");
}

TEST_CASE("LogStream: after any text the tail has room for the longest that can follow") {
  LogStream stream;
  stream << std::string(100'000, 'x');
  stream.closeText();
  const std::size_t cut = stream.buffer().cutBytes();
  stream << " - " << std::string(255, 'f') << ':' << std::numeric_limits<int>::max() << '\n';
  CHECK(stream.buffer().cutBytes() == cut);
  CHECK(stream.view().ends_with("f:2147483647\n"));
  CHECK(stream.view().size() <= FixedBuffer::kBytes);
}

}  // namespace
