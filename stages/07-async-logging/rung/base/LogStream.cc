#include "rung/base/LogStream.h"

#include <charconv>
#include <cstdint>
#include <cstring>
#include <system_error>

namespace rung {

namespace {

/// Formats into the buffer itself. Only at its very end there may be no room, and then the digits
/// take the way of any other text, to be cut and counted.
template <class Number, class... Format>
void appendNumber(FixedBuffer& buffer, Number value, Format... format) {
  char* end = buffer.end();
  if (const auto in = std::to_chars(end, end + buffer.room(), value, format...);
      in.ec == std::errc()) {
    buffer.advanceTo(in.ptr);
    return;
  }
  char digits[64];
  const auto aside = std::to_chars(digits, digits + sizeof digits, value, format...);
  buffer.append({digits, static_cast<std::size_t>(aside.ptr - digits)});
}

/// How many bytes the control character at the head of `text` has; 0 if there is none.
std::size_t controlBytes(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  if (byte(0) < 0x20 || byte(0) == 0x7F) return 1;
  return text.size() > 1 && byte(0) == 0xC2 && byte(1) >= 0x80 && byte(1) < 0xA0 ? 2 : 0;
}

}  // namespace

/// Nearly every line is looked at here and nowhere else. 0xC2 leads C1 controls, and some letters.
bool FixedBuffer::mayNeedEscapes(const char* begin) {
  using Bytes [[gnu::vector_size(kStepBytes)]] = unsigned char;  // an operator works on all of them
  std::memset(end_, ' ', kStepBytes);
  Bytes found{};
  for (const char* at = begin; at < end_; at += kStepBytes) {
    Bytes bytes;
    std::memcpy(&bytes, at, kStepBytes);
    found |= (bytes < 0x20) | (bytes == 0x7F) | (bytes == 0xC2);
  }
  std::uint64_t halves[2];
  static_assert(sizeof halves == kStepBytes);
  std::memcpy(halves, &found, kStepBytes);
  return (halves[0] | halves[1]) != 0;
}

void FixedBuffer::writeEscaped(char* begin) {
  char copy[kBytes];
  const auto size = static_cast<std::size_t>(end_ - begin);
  std::memcpy(copy, begin, size);
  std::string_view text(copy, size);
  end_ = begin;
  while (!text.empty()) {
    if (const std::size_t bytes = controlBytes(text); bytes > 0) {
      appendEscape(text[bytes - 1], bytes);
      text.remove_prefix(bytes);
    }
    std::size_t plain = 0;
    while (plain < text.size() && controlBytes(text.substr(plain)) == 0)
      ++plain;
    append(text.substr(0, plain));
    text.remove_prefix(plain);
  }
}

/// An escape is whole or not there: half of one would be another one.
void FixedBuffer::appendEscape(char control, std::size_t bytesOfControl) {
  constexpr char kDigits[] = "0123456789abcdef";
  const auto code = static_cast<unsigned char>(control);
  char text[] = {'\\', 'x', kDigits[code / 16], kDigits[code % 16]};
  std::size_t size = sizeof text;
  if (control == '\n' || control == '\r' || control == '\t') {
    text[1] = control == '\n' ? 'n' : control == '\r' ? 'r' : 't';
    size = 2;
  }
  if (size <= room()) {
    append({text, size});
  } else {
    cutBytes_ += bytesOfControl;
    limit_ = end_;
  }
}

void FixedBuffer::appendWhatFits(std::string_view text) {
  std::size_t fits = room();
  // Half a character at the cut would make the whole file invalid UTF-8.
  while (fits > 0 && (static_cast<unsigned char>(text[fits]) & 0xC0) == 0x80)
    --fits;
  end_ += text.copy(end_, fits);
  cutBytes_ += text.size() - fits;
  limit_ = end_;  // a shorter piece that comes later must not close the gap
}

void LogStream::appendSigned(long long value) {
  appendNumber(buffer_, value);
}

void LogStream::appendUnsigned(unsigned long long value) {
  appendNumber(buffer_, value);
}

LogStream& LogStream::operator<<(float value) {
  appendNumber(buffer_, value);
  return *this;
}

LogStream& LogStream::operator<<(double value) {
  appendNumber(buffer_, value);
  return *this;
}

LogStream& LogStream::operator<<(long double value) {
  appendNumber(buffer_, value);
  return *this;
}

LogStream& LogStream::operator<<(const void* pointer) {
  if (pointer == nullptr) return *this << "(null)";
  *this << "0x";
  constexpr int kHexadecimal = 16;
  appendNumber(buffer_, reinterpret_cast<std::uintptr_t>(pointer), kHexadecimal);
  return *this;
}

void LogStream::closeText() {
  buffer_.escape(text_);
  buffer_.openTail();
  if (buffer_.cutBytes() > 0) *this << "...[cut " << buffer_.cutBytes() << " bytes]";
}

}  // namespace rung
