#pragma once

// Text of strangers, for a terminal.

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace common {

/// Whether a terminal obeys it, or shows nothing of it: control characters, those that turn the
/// direction of a line, and those without width. Two names may differ by these alone.
inline bool isHidden(std::uint32_t point) {
  struct Range {
    std::uint32_t first, last;
  };
  static constexpr Range kHidden[] = {
      {0, 0x1f},        {0x7f, 0x9f},     {0xad, 0xad},       {0x61c, 0x61c},
      {0x180e, 0x180e}, {0x200b, 0x200f}, {0x2028, 0x202e},   {0x2060, 0x206f},
      {0xfeff, 0xfeff}, {0xfff9, 0xfffb}, {0xe0000, 0xe007f},
  };
  return std::any_of(std::begin(kHidden), std::end(kHidden), [point](const Range& range) {
    return point >= range.first && point <= range.last;
  });
}

/// `text` with '?' in place of each hidden character, and of each byte that is no UTF-8.
inline std::string shown(std::string_view text) {
  static constexpr std::uint32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};  // of so many bytes
  std::string result;
  while (!text.empty()) {
    const auto first = static_cast<unsigned char>(text.front());
    const auto ones = static_cast<std::size_t>(std::countl_one(first));
    const std::size_t bytes = ones == 0 ? 1 : ones;
    bool whole = ones != 1 && ones <= 4 && bytes <= text.size();
    std::uint32_t point = first & (0x7fU >> ones);
    for (std::size_t i = 1; whole && i < bytes; ++i) {
      const auto next = static_cast<unsigned char>(text[i]);
      whole = (next & 0xc0U) == 0x80U;
      point = point << 6U | (next & 0x3fU);
    }
    whole = whole && point >= kLeast[bytes] && point <= 0x10ffff && (point >> 11U) != 0x1b;
    result += whole && !isHidden(point) ? text.substr(0, bytes) : "?";
    text.remove_prefix(whole ? bytes : 1);
  }
  return result;
}

}  // namespace common
