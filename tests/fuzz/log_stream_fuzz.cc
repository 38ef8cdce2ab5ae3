// LogStream writes what snprintf(3) writes, cut at the limit, and says how much is missing. Control
// characters are escaped.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <string>
#include <string_view>

#include "rung/base/LogStream.h"

#include "tests/fuzz/Input.h"

using rung::FixedBuffer;
using rung::LogStream;
using rung::testing::Input;

namespace {

template <class Number>
std::string print(const char* format, Number value) {
  char text[64];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

/// Floating point has no one right text: it must read back, and so it does.
template <class Float>
std::string checkedFloat(Float value) {
  LogStream stream;
  stream << value;
  const std::string text(stream.view());
  if (std::isnan(value)) {
    EXPECT(text.find("nan") != text.npos);
  } else if constexpr (sizeof(Float) == sizeof(float)) {
    EXPECT(std::strtof(text.c_str(), nullptr) == value);
  } else {
    EXPECT(std::strtod(text.c_str(), nullptr) == value);
  }
  return text;
}

/// Each with its escape.
constexpr std::string_view kDirections[][2] = {
    {"\u061c", "\\u061c"}, {"\u200e", "\\u200e"}, {"\u200f", "\\u200f"}, {"\u2028", "\\u2028"},
    {"\u2029", "\\u2029"}, {"\u202a", "\\u202a"}, {"\u202b", "\\u202b"}, {"\u202c", "\\u202c"},
    {"\u202d", "\\u202d"}, {"\u202e", "\\u202e"}, {"\u2066", "\\u2066"}, {"\u2067", "\\u2067"},
    {"\u2068", "\\u2068"}, {"\u2069", "\\u2069"}};

std::string writeOne(Input& input, LogStream& stream) {
  const auto put = [&](auto value, std::string text) {
    stream << value;
    return text;
  };
  const std::uint8_t what = input.byte();
  const auto number = input.number<std::uint64_t>();
  switch (what % 10) {
    case 0:
      return put(static_cast<std::int64_t>(number), print("%lld", static_cast<long long>(number)));
    case 1:
      return put(number, print("%llu", static_cast<unsigned long long>(number)));
    case 2:
      return put(static_cast<std::int8_t>(number), print("%d", static_cast<std::int8_t>(number)));
    case 3:
      return put(static_cast<std::uint16_t>(number),
                 print("%u", static_cast<unsigned>(number & 0xFFFF)));
    case 4: {
      double value = 0;
      static_assert(sizeof value == sizeof number);
      std::memcpy(&value, &number, sizeof value);
      return put(value, checkedFloat(value));
    }
    case 5: {
      float value = 0;
      std::memcpy(&value, &number, sizeof value);
      return put(value, checkedFloat(value));
    }
    case 6: {
      const auto* pointer = reinterpret_cast<const void*>(number);
      return put(pointer, pointer == nullptr ? "(null)" : print("%p", pointer));
    }
    case 7:
      return put(number % 2 == 0, number % 2 == 0 ? "true" : "false");
    case 8:
      return put(static_cast<char>(number), std::string(1, static_cast<char>(number)));
    default: {
      if (what == 249) {  // the last one that comes here
        const std::string_view direction = kDirections[number % std::size(kDirections)][0];
        return put(direction, std::string(direction));
      }
      const std::string text(number % 1500, static_cast<char>(what));
      return put(std::string_view(text), text);
    }
  }
}

bool continues(char byte) {
  return (static_cast<unsigned char>(byte) & 0xC0) == 0x80;
}

/// What is shown is `text` with control characters escaped, up to where it is cut; then comes how
/// many bytes of `text` are missing.
void checkEscaped(LogStream& stream, std::string_view text) {
  std::string_view shown = stream.view();
  const std::size_t missing = stream.buffer().cutBytes();
  EXPECT(missing <= text.size());
  text.remove_suffix(missing);
  const auto expect = [&shown](const std::string& piece) {
    EXPECT(shown.starts_with(piece));
    shown.remove_prefix(piece.size());
  };
  while (!text.empty()) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const bool isC1 = text.size() > 1 && byte(0) == 0xC2 && byte(1) >= 0x80 && byte(1) < 0xA0;
    if (isC1) text.remove_prefix(1);
    if (const auto found = std::find_if(std::begin(kDirections), std::end(kDirections),
                                        [&](const auto& one) { return text.starts_with(one[0]); });
        found != std::end(kDirections)) {
      expect(std::string((*found)[1]));
      text.remove_prefix((*found)[0].size());
      continue;
    }
    if (byte(0) == '\n' || byte(0) == '\r' || byte(0) == '\t') {
      expect(byte(0) == '\n' ? "\\n" : byte(0) == '\r' ? "\\r" : "\\t");
    } else if (isC1 || byte(0) < 0x20 || byte(0) == 0x7F) {
      expect(print("\\x%02x", static_cast<unsigned>(byte(0))));
    } else {
      expect(std::string(1, text[0]));
    }
    text.remove_prefix(1);
  }
  EXPECT(shown == (missing == 0 ? "" : "...[cut " + std::to_string(missing) + " bytes]"));
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr std::size_t kRoom = FixedBuffer::kBytes - FixedBuffer::kTailBytes;
  Input input(data, size);
  LogStream stream;
  std::string model;
  std::size_t cutPiece = 0;  // where the piece begins that was cut first
  while (!input.atEnd() && model.size() < 3 * kRoom) {
    if (stream.buffer().cutBytes() == 0) cutPiece = model.size();
    model += writeOne(input, stream);
    const std::string_view text = stream.view();
    EXPECT(model.starts_with(text));
    EXPECT(text.size() + stream.buffer().cutBytes() == model.size());
    EXPECT(text.size() <= kRoom);
    if (model.size() <= kRoom) EXPECT(text.size() == model.size());
    // A piece is cut before a character and not in it.
    if (text.size() < model.size() && text.size() > cutPiece) {
      EXPECT(!continues(model[text.size()]));
    }
  }
  stream.closeText();
  checkEscaped(stream, model);
  const std::string before(stream.view());
  stream << " - File.cc:1\n";
  EXPECT(stream.view() == before + " - File.cc:1\n");
  return 0;
}
