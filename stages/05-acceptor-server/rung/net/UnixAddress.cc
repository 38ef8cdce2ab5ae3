#include "rung/net/UnixAddress.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

namespace rung {

namespace {

constexpr std::size_t kPathOffset = offsetof(sockaddr_un, sun_path);

[[noreturn]] void refuseUnix(const std::string& what, std::string_view text) {
  throw std::invalid_argument(what + ": '" + std::string(text) + "'");
}

}  // namespace

UnixAddress::UnixAddress(std::string_view path, std::string_view whole) {
  const bool isAbstract = !path.empty() && path.front() == '@';
  if (isAbstract) path.remove_prefix(1);
  if (path.empty()) refuseUnix("no path and no name in the address of a Unix socket", whole);
  if (path.find('\0') != std::string_view::npos) {
    refuseUnix("a zero byte in the address of a Unix socket", whole);
  }
  if (path.size() > kMaxBytes) {
    refuseUnix(
        "the address of a Unix socket is longer than " + std::to_string(kMaxBytes) + " bytes",
        whole);
  }
  address_.sun_family = AF_UNIX;
  // An abstract name stands behind a zero byte; a path has one at its end.
  path.copy(address_.sun_path + (isAbstract ? 1 : 0), path.size());
  length_ = static_cast<socklen_t>(kPathOffset + path.size() + 1);
}

UnixAddress UnixAddress::parse(std::string_view text) {
  if (!text.starts_with(kUnixPrefix)) refuseUnix("no 'unix:' before the path", text);
  return UnixAddress(text.substr(kUnixPrefix.size()), text);
}

UnixAddress::UnixAddress(const sockaddr_storage& address, socklen_t length)
    : length_(std::min<socklen_t>(length, sizeof address_)) {
  std::memcpy(&address_, &address, length_);
  // Linux lets a path fill all of the field, without a zero byte.
  if (!isAbstract()) address_.sun_path[kMaxBytes] = '\0';
}

const sockaddr* UnixAddress::data() const {
  return reinterpret_cast<const sockaddr*>(&address_);  // as bind(2) and connect(2) want it
}

std::string UnixAddress::toText() const {
  std::string name(address_.sun_path,
                   isAbstract() ? length_ - kPathOffset : std::strlen(address_.sun_path));
  // Other programs use names with zero bytes, which ss(8) shows in this way.
  std::replace(name.begin(), name.end(), '\0', '@');
  return std::string(kUnixPrefix) + name;
}

bool operator==(const UnixAddress& a, const UnixAddress& b) {
  return a.length_ == b.length_ && std::memcmp(&a.address_, &b.address_, a.length_) == 0;
}

}  // namespace rung
