#include "rung/base/LogStream.h"

#include <charconv>
#include <cstdint>
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

}  // namespace

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
  buffer_.openTail();
  if (buffer_.cutBytes() > 0) *this << "...[cut " << buffer_.cutBytes() << " bytes]";
}

}  // namespace rung
