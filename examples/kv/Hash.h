#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <random>
#include <string_view>

namespace kv {

/// SipHash-1-3 with a secret of this process. Clients choose the keys: of a hash that they can
/// compute, they would send a million keys with one value, and each access would search them all.
/// Source: Aumasson and Bernstein, "SipHash: a fast short-input PRF", with fewer rounds, as Python.
class SecretHash {
 public:
  using is_transparent = void;  // a view is looked up without a copy

  SecretHash() : SecretHash(random64(), random64()) {}
  SecretHash(std::uint64_t k0, std::uint64_t k1) : k0_(k0), k1_(k1) {}

  std::size_t operator()(std::string_view key) const {
    State s{k0_ ^ 0x736f6d6570736575, k1_ ^ 0x646f72616e646f6d, k0_ ^ 0x6c7967656e657261,
            k1_ ^ 0x7465646279746573};
    const std::uint64_t length = key.size();
    for (; key.size() >= 8; key.remove_prefix(8))
      s.take(wordOf(key.data(), 8));
    s.take(length << 56U | wordOf(key.data(), key.size()));
    s.v2 ^= 0xff;
    for (int i = 0; i < 3; ++i)
      s.round();
    return static_cast<std::size_t>(s.v0 ^ s.v1 ^ s.v2 ^ s.v3);
  }

 private:
  struct State {
    std::uint64_t v0, v1, v2, v3;

    void take(std::uint64_t word) {
      v3 ^= word;
      round();
      v0 ^= word;
    }
    void round() {
      v0 += v1;
      v1 = std::rotl(v1, 13) ^ v0;
      v0 = std::rotl(v0, 32);
      v2 += v3;
      v3 = std::rotl(v3, 16) ^ v2;
      v0 += v3;
      v3 = std::rotl(v3, 21) ^ v0;
      v2 += v1;
      v1 = std::rotl(v1, 17) ^ v2;
      v2 = std::rotl(v2, 32);
    }
  };

  static std::uint64_t wordOf(const char* bytes, std::size_t size) {
    std::uint64_t word = 0;  // the value depends on the byte order of the machine, and may
    if (size > 0) std::memcpy(&word, bytes, size);
    return word;
  }
  static std::uint64_t random64() {
    std::random_device device;
    return std::uint64_t{device()} << 32U | device();
  }

  std::uint64_t k0_, k1_;
};

}  // namespace kv
