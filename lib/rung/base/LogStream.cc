#include "rung/base/LogStream.h"

#include <charconv>
#include <cmath>
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

/// Most numbers in a log are times, sizes and rates, with few decimals. Those are written here, in
/// a sixth of the instructions that the search for the shortest digits takes. If a quotient of two
/// integers that a double holds exactly is `value`, then so is that decimal number when it is read
/// back. With 15 digits or fewer no other one is, so it is the shortest. Returns the end of the
/// text, at most 18 bytes; nullptr if this is not such a number, or if its exponential form is
/// shorter.
char* writeDecimal(char* to, double value) {
  constexpr std::uint64_t kMillion = 1'000'000;
  constexpr int kMostBytes = 18;
  const double magnitude = std::fabs(value);
  if (!(magnitude >= 0.001 && magnitude < 1e9)) return nullptr;
  const double rounded = magnitude * 1e6 + 0.5;
  const auto millionths = static_cast<std::uint64_t>(rounded);
  if (static_cast<double>(millionths) / 1e6 != magnitude) return nullptr;
  const auto whole = static_cast<std::uint32_t>(millionths / kMillion);
  const auto fraction = static_cast<std::uint32_t>(millionths % kMillion);
  if (fraction == 0 && whole >= 100'000) return nullptr;
  if (value < 0) *to++ = '-';
  to = std::to_chars(to, to + kMostBytes, whole).ptr;
  if (fraction == 0) return to;
  *to = '.';
  writeSixDigits(to + 1, fraction);
  to += 7;
  while (to[-1] == '0')
    --to;
  return to;
}

struct Control {
  std::size_t bytes;  // 0: there is none
  unsigned code;
};

/// The control character at the head of `text`.
Control controlAt(std::string_view text) {
  const auto byte = [&](std::size_t i) -> unsigned {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0;
  };
  const auto isIn = [](unsigned code, unsigned first, unsigned last) {
    return code >= first && code <= last;
  };
  if (byte(0) < 0x20 || byte(0) == 0x7F) return {1, byte(0)};
  if (byte(0) == 0xC2 && isIn(byte(1), 0x80, 0x9F)) return {2, byte(1)};
  if (byte(0) == 0xD8 && byte(1) == 0x9C) return {2, 0x61C};
  if (byte(0) != 0xE2 || !isIn(byte(1), 0x80, 0x81) || !isIn(byte(2), 0x80, 0xBF)) return {0, 0};
  const unsigned code = 0x2000 + (byte(1) - 0x80) * 0x40 + (byte(2) - 0x80);
  const bool isControl =
      isIn(code, 0x200E, 0x200F) || isIn(code, 0x2028, 0x202E) || isIn(code, 0x2066, 0x2069);
  return {isControl ? 3U : 0U, code};
}

}  // namespace

/// Nearly every line is looked at here and nowhere else. 0xC2, 0xD8 and 0xE2 lead controls of two
/// and of three bytes, and letters and signs as well.
bool FixedBuffer::mayNeedEscapes(const char* begin) {
  using Bytes [[gnu::vector_size(kStepBytes)]] = unsigned char;  // an operator works on all of them
  std::memset(end_, ' ', kStepBytes);
  Bytes found{};
  for (const char* at = begin; at < end_; at += kStepBytes) {
    Bytes bytes;
    std::memcpy(&bytes, at, kStepBytes);
    found |= (bytes < 0x20) | (bytes == 0x7F) | (bytes == 0xD8) | ((bytes | 0x20) == 0xE2);
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
    if (const Control control = controlAt(text); control.bytes > 0) {
      appendEscape(control.code, control.bytes);
      text.remove_prefix(control.bytes);
    }
    std::size_t plain = 0;
    while (plain < text.size() && controlAt(text.substr(plain)).bytes == 0)
      ++plain;
    append(text.substr(0, plain));
    text.remove_prefix(plain);
  }
}

/// An escape is whole or not there: half of one would be another one.
void FixedBuffer::appendEscape(unsigned code, std::size_t bytesOfControl) {
  constexpr char kDigits[] = "0123456789abcdef";
  char text[6] = {'\\', code > 0xFF ? 'u' : 'x'};
  std::size_t size = 2;
  if (code == '\n' || code == '\r' || code == '\t') {
    text[1] = code == '\n' ? 'n' : code == '\r' ? 'r' : 't';
  } else {
    for (int shift = code > 0xFF ? 12 : 4; shift >= 0; shift -= 4)
      text[size++] = kDigits[(code >> shift) & 0xF];
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
  constexpr std::size_t kDecimalBytes = 18;
  char* const end = buffer_.room() < kDecimalBytes ? nullptr : writeDecimal(buffer_.end(), value);
  if (end != nullptr) {
    buffer_.advanceTo(end);
    return *this;
  }
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

LogStream& LogStream::operator<<(RawText raw) {
  buffer_.escape(text_);
  buffer_.append(raw.text);
  openText();
  return *this;
}

void LogStream::closeText() {
  buffer_.escape(text_);
  buffer_.openTail();
  if (buffer_.cutBytes() > 0) *this << "...[cut " << buffer_.cutBytes() << " bytes]";
}

}  // namespace rung
