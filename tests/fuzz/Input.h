#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

namespace rung::testing {

/// The bytes that a fuzzer chose, read as numbers and texts. At the end there are only zeros.
class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size)
      : bytes_(reinterpret_cast<const char*>(data), size) {}

  [[nodiscard]] bool atEnd() const { return bytes_.empty(); }
  std::uint8_t byte() {
    if (bytes_.empty()) return 0;
    const auto value = static_cast<std::uint8_t>(bytes_.front());
    bytes_.remove_prefix(1);
    return value;
  }
  template <class Number>
  Number number() {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < sizeof(Number); ++i)
      value = value << 8 | byte();
    return static_cast<Number>(value);
  }
  /// At most `most` bytes.
  std::string_view text(std::size_t most) {
    const std::string_view text = bytes_.substr(0, std::min(most, bytes_.size()));
    bytes_.remove_prefix(text.size());
    return text;
  }
  std::string_view rest() { return text(bytes_.size()); }

 private:
  std::string_view bytes_;
};

/// Ends the process where a fuzzer's model and the library disagree.
inline void expect(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "fuzz: does not hold: %s\n", what);
  std::abort();
}

}  // namespace rung::testing

#define EXPECT(condition) rung::testing::expect((condition), #condition)

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
