#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <cstddef>
#include <string>
#include <string_view>

#include "rung/base/noncopyable.h"  // for its check of the standard

namespace rung {

/// The address of a Unix-domain socket: the path of a file, or a name in the abstract namespace of
/// Linux, which needs no file and is free again when its socket is closed. A value.
/// Everybody on the machine may connect to an abstract name; a file has a mode and an owner.
/// Thread: any.
/// Source: unix(7).
class UnixAddress {
 public:
  /// The longest path or abstract name.
  static constexpr std::size_t kMaxBytes = sizeof(sockaddr_un::sun_path) - 1;

  /// "/run/x.sock", or "@name" for the abstract name; "./@name" is a file again.
  /// Errors: throws std::invalid_argument with the text if it is empty, has a zero byte or is
  /// longer than kMaxBytes.
  explicit UnixAddress(std::string_view path) : UnixAddress(path, path) {}

  /// "unix:/run/x.sock" or "unix:@name": the text that toText() returns.
  /// Errors: throws std::invalid_argument with the whole text.
  [[nodiscard]] static UnixAddress parse(std::string_view text);

  /// From an address that getsockname(2) has written.
  UnixAddress(const sockaddr_storage& address, socklen_t length);

  [[nodiscard]] bool isAbstract() const { return address_.sun_path[0] == '\0'; }
  /// Zero-terminated; "" for an abstract name.
  /// Lifetime: of this object.
  [[nodiscard]] const char* path() const { return address_.sun_path; }
  /// "unix:/run/x.sock" or "unix:@name".
  [[nodiscard]] std::string toText() const;

  /// For system calls.
  [[nodiscard]] sa_family_t family() const { return AF_UNIX; }
  [[nodiscard]] const sockaddr* data() const;
  [[nodiscard]] socklen_t length() const { return length_; }

  friend bool operator==(const UnixAddress& a, const UnixAddress& b);

 private:
  /// `whole` is the text that `path` is a part of, for messages.
  UnixAddress(std::string_view path, std::string_view whole);

  sockaddr_un address_{};
  socklen_t length_ = 0;
};

/// How texts of Unix-domain addresses begin.
inline constexpr std::string_view kUnixPrefix = "unix:";

}  // namespace rung
