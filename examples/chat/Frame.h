#pragma once

// A message on the wire: its length in 4 bytes, most significant first, and then that many bytes.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "rung/net/Buffer.h"

namespace chat {

constexpr std::size_t kHeaderBytes = 4;
/// What a client may take for granted. The server has a smaller limit for what it is sent.
constexpr std::size_t kMaxFrameBytes = 1 << 20;

inline void appendFrame(std::string& out, std::string_view body) {
  const auto size = static_cast<std::uint32_t>(body.size());
  for (int shift = 24; shift >= 0; shift -= 8)
    out.push_back(static_cast<char>(size >> shift & 0xFF));
  out.append(body);
}

inline std::string frame(std::string_view body) {
  std::string result;
  result.reserve(kHeaderBytes + body.size());
  appendFrame(result, body);
  return result;
}

/// Calls `each(body)` for every whole frame and takes it out of the buffer; what is left is the
/// beginning of one. Ends early if `each` returns false.
/// Errors: false for a length of 0 or above `maxBytes`, as soon as its header is there: the memory
/// that it asks for is never set aside, and nothing behind it can be understood.
template <class Each>
[[nodiscard]] bool takeFrames(rung::Buffer& input, std::size_t maxBytes, Each each) {
  while (input.readableBytes() >= kHeaderBytes) {
    const std::size_t size = input.peekInt<std::uint32_t>();
    if (size == 0 || size > maxBytes) return false;
    if (input.readableBytes() < kHeaderBytes + size) return true;
    const bool goOn = each(input.view().substr(kHeaderBytes, size));
    input.retrieve(kHeaderBytes + size);
    if (!goOn) return true;
  }
  return true;
}

}  // namespace chat
