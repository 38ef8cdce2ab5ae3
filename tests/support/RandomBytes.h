#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <string>

namespace rung::testing {

/// Data in which a byte that is lost, doubled or out of place shows.
inline std::string randomBytes(std::size_t size, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::string bytes(size, '\0');
  for (char& byte : bytes)
    byte = static_cast<char>(random() & 0xFF);
  return bytes;
}

}  // namespace rung::testing
