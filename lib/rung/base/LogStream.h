#pragma once

#include <climits>
#include <concepts>
#include <cstddef>
#include <string_view>
#include <type_traits>

#include "rung/base/noncopyable.h"

namespace rung {

/// Room for one log line, filled from the front, that never grows. Its last kTailBytes are kept
/// back until openTail(): however long the text is, there is room for what must come after it.
/// Thread: any, one at a time.
/// Errors: what does not fit is left out and counted, never lost silently. Behind a cut nothing
/// comes but the tail.
class FixedBuffer : noncopyable {
 public:
  /// Up to this size, a write(2) to a pipe never mixes with that of another process.
  static constexpr std::size_t kBytes = PIPE_BUF;
  /// For "...[cut N bytes]" and " - File.cc:42\n".
  static constexpr std::size_t kTailBytes = 320;

  FixedBuffer() = default;

  void append(std::string_view text) {
    if (text.size() <= room()) {
      end_ += text.copy(end_, text.size());
    } else {
      appendWhatFits(text);
    }
  }

  /// Where the next character goes. Write at most room() there, then call advanceTo().
  [[nodiscard]] char* end() { return end_; }
  [[nodiscard]] std::size_t room() const { return static_cast<std::size_t>(limit_ - end_); }
  void advanceTo(char* newEnd) { end_ = newEnd; }

  void openTail() { limit_ = data_ + kBytes; }

  /// Escapes the control characters in what was written since `begin`.
  void escape(char* begin) {
    if (mayNeedEscapes(begin)) writeEscaped(begin);
  }

  [[nodiscard]] std::string_view view() const {
    return {data_, static_cast<std::size_t>(end_ - data_)};
  }
  /// How many bytes were left out.
  [[nodiscard]] std::size_t cutBytes() const { return cutBytes_; }

 private:
  void appendWhatFits(std::string_view text);
  bool mayNeedEscapes(const char* begin);
  void writeEscaped(char* begin);
  void appendEscape(unsigned code, std::size_t bytesOfControl);

  char* end_ = data_;
  char* limit_ = data_ + kBytes - kTailBytes;
  std::size_t cutBytes_ = 0;
  // The search for control characters goes in steps, and ends with a whole one.
  static constexpr std::size_t kStepBytes = 16;
  char data_[kBytes + kStepBytes];  // not cleared: that would cost more than the line
};

/// Writes `value`, which has at most six digits, with zeros in front. The pairs do not wait for
/// each other, as the digits of a loop do.
inline void writeSixDigits(char* to, unsigned value) {
  const auto pair = [](char* at, unsigned two) {
    at[0] = static_cast<char>('0' + two / 10);
    at[1] = static_cast<char>('0' + two % 10);
  };
  pair(to, value / 10'000);
  pair(to + 2, value / 100 % 100);
  pair(to + 4, value % 100);
}

/// Text that a log line has as it is, see raw().
struct RawText {
  std::string_view text;
};

/// For a text whose control characters are wanted, such as a table of several lines:
/// `LOG_INFO << rung::raw(table)`. Never for a text that a peer has sent.
/// Lifetime: refers to `text`.
inline RawText raw(std::string_view text) {
  return {text};
}

/// Turns values into text, in a buffer of its own: std::ostream's `<<` for log lines, without
/// locales, virtual calls and memory from the heap.
/// For a type of your own, write `LogStream& operator<<(LogStream&, const YourType&)` beside it.
/// closeText() escapes control characters, as "\n", "\r", "\t", "\x1b" or "\u202e": those of ASCII,
/// U+0080 to U+009F in UTF-8, and those that begin a line or change the direction of writing,
/// U+061C, U+200E, U+200F, U+2028 to U+202E and U+2066 to U+2069. So a text that a peer has sent
/// neither begins a line that nobody logged, nor steers the terminal of its reader, nor shows the
/// rest of the line in another order. raw() writes them as they are. A backslash and bytes that are
/// not UTF-8 stay as they are: an escape looks like the same characters in a text. Thread: any, one
/// at a time. Errors: never fails. A text that is too long is cut, and says so when it is closed.
/// Source: std::to_chars; muduo base/LogStream.h.
class LogStream : noncopyable {
 public:
  LogStream& operator<<(std::string_view text) {
    buffer_.append(text);
    return *this;
  }
  LogStream& operator<<(const char* text) {
    return *this << (text == nullptr ? std::string_view("(null)") : std::string_view(text));
  }
  LogStream& operator<<(char c) { return *this << std::string_view(&c, 1); }

  /// Only bool itself: whatever else converts to bool, such as a pointer to a function, does not.
  template <std::same_as<bool> Truth>
  LogStream& operator<<(Truth value) {
    return *this << (value ? std::string_view("true") : std::string_view("false"));
  }

  /// int8_t and uint8_t are numbers here, not characters as in std::ostream.
  template <std::integral Integer>
  requires(!std::same_as<Integer, bool> && sizeof(Integer) <= sizeof(long long)) LogStream&
  operator<<(Integer value) {
    if constexpr (std::is_signed_v<Integer>) {
      appendSigned(value);
    } else {
      appendUnsigned(value);
    }
    return *this;
  }

  /// __int128, which is an integral type with -std=gnu++20, would lose its upper half.
  template <std::integral Integer>
  requires(sizeof(Integer) > sizeof(long long)) LogStream& operator<<(Integer value) = delete;

  template <class Enum>
  requires(std::is_enum_v<Enum>&& std::convertible_to<Enum, long long>)  // not an enum class
      LogStream&
      operator<<(Enum value) {
    return *this << static_cast<std::underlying_type_t<Enum>>(value);
  }

  /// The shortest text that reads back as the same value: 0.1 is "0.1".
  LogStream& operator<<(float value);
  LogStream& operator<<(double value);
  LogStream& operator<<(long double value);

  /// The address in hexadecimal; of char* the text, above.
  LogStream& operator<<(const void* pointer);

  /// As it is.
  LogStream& operator<<(RawText text);

  /// The text begins here; what was written before is the head of the line.
  void openText() { text_ = buffer_.end(); }
  /// Ends the text: escapes it, says how much of it was cut, if any was, and opens the room for the
  /// tail.
  void closeText();

  /// Lifetime: until the next `<<`.
  [[nodiscard]] std::string_view view() const { return buffer_.view(); }

  /// For text that is built in place.
  [[nodiscard]] FixedBuffer& buffer() { return buffer_; }

 private:
  void appendSigned(long long value);
  void appendUnsigned(unsigned long long value);

  FixedBuffer buffer_;
  char* text_ = buffer_.end();
};

}  // namespace rung
