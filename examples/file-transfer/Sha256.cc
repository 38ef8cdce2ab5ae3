#include "file-transfer/Sha256.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace transfer {

namespace {

__extension__ using Wide = unsigned __int128;

/// The constants are the first 32 bits behind the point of the square and cube roots of the first
/// primes: computed here, as the standard defines them.
template <std::size_t Count>
constexpr std::array<std::uint32_t, Count> fractionsOfRoots(int degree) {
  std::array<std::uint32_t, Count> result{};
  std::size_t found = 0;
  for (unsigned number = 2; found < Count; ++number) {
    bool prime = true;
    for (unsigned d = 2; d * d <= number; ++d)
      prime = prime && number % d != 0;
    if (!prime) continue;
    std::uint64_t root = 0;  // the largest whose power is not above number * 2^(32 * degree)
    for (int bit = 36; bit >= 0; --bit) {
      const std::uint64_t tried = root | std::uint64_t{1} << bit;
      Wide power = tried;
      for (int i = 1; i < degree; ++i)
        power *= tried;
      if (power <= static_cast<Wide>(number) << (32 * degree)) root = tried;
    }
    result[found++] = static_cast<std::uint32_t>(root);
  }
  return result;
}

constexpr auto kRoundConstants = fractionsOfRoots<64>(3);

void appendBigEndian(std::string& out, std::uint64_t number, int bytes) {
  for (int i = bytes; i-- > 0;)
    out.push_back(static_cast<char>(number >> (8 * i) & 0xFF));
}

}  // namespace

constinit const std::array<std::uint32_t, 8> Sha256::kInitialState = fractionsOfRoots<8>(2);

void Sha256::update(std::string_view bytes) {
  const std::size_t waiting = bytes_ % kBlockBytes;
  bytes_ += bytes.size();
  if (waiting > 0) {
    const std::size_t taken = std::min(bytes.size(), kBlockBytes - waiting);
    std::memcpy(rest_.data() + waiting, bytes.data(), taken);
    bytes.remove_prefix(taken);
    if (waiting + taken < kBlockBytes) return;
    addBlock(rest_.data());
  }
  for (; bytes.size() >= kBlockBytes; bytes.remove_prefix(kBlockBytes))
    addBlock(bytes.data());
  std::copy(bytes.begin(), bytes.end(), rest_.begin());
}

std::string Sha256::finish() {
  const std::uint64_t bits = bytes_ * 8;
  std::string end(1, '\x80');
  end.resize(1 + (kBlockBytes * 2 - 1 - 8 - bytes_ % kBlockBytes) % kBlockBytes);
  appendBigEndian(end, bits, 8);
  update(end);
  std::string digest;
  for (const std::uint32_t word : state_)
    appendBigEndian(digest, word, 4);
  return digest;
}

void Sha256::addBlock(const char* block) {
  std::array<std::uint32_t, 64> w;
  for (std::size_t i = 0; i < 16; ++i) {
    w[i] = 0;
    for (std::size_t j = 0; j < 4; ++j)
      w[i] = w[i] << 8 | static_cast<unsigned char>(block[4 * i + j]);
  }
  for (std::size_t i = 16; i < 64; ++i) {
    const std::uint32_t x = w[i - 15];
    const std::uint32_t y = w[i - 2];
    w[i] = w[i - 16] + w[i - 7] + (std::rotr(x, 7) ^ std::rotr(x, 18) ^ x >> 3) +
           (std::rotr(y, 17) ^ std::rotr(y, 19) ^ y >> 10);
  }
  auto [a, b, c, d, e, f, g, h] = state_;
  for (std::size_t i = 0; i < 64; ++i) {
    const std::uint32_t choice = (e & f) ^ (~e & g);
    const std::uint32_t majority = (a & b) ^ (a & c) ^ (b & c);
    const std::uint32_t first = h + (std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25)) +
                                choice + kRoundConstants[i] + w[i];
    const std::uint32_t second = (std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22)) + majority;
    h = g, g = f, f = e, e = d + first;
    d = c, c = b, b = a, a = first + second;
  }
  const std::array<std::uint32_t, 8> mixed{a, b, c, d, e, f, g, h};
  for (std::size_t i = 0; i < state_.size(); ++i)
    state_[i] += mixed[i];
}

}  // namespace transfer
