#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace transfer {

/// SHA-256 of bytes that come piece by piece.
/// Source: FIPS 180-4.
class Sha256 {
 public:
  static constexpr std::size_t kDigestBytes = 32;

  void update(std::string_view bytes);
  /// Of all that was given; after that, no more can be.
  [[nodiscard]] std::string finish();

 private:
  static constexpr std::size_t kBlockBytes = 64;

  void addBlock(const char* block);

  static const std::array<std::uint32_t, 8> kInitialState;

  std::array<std::uint32_t, 8> state_ = kInitialState;
  std::array<char, kBlockBytes> rest_{};  // the beginning of a block, until it is whole
  std::uint64_t bytes_ = 0;
};

}  // namespace transfer
