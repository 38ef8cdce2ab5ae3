#include "rung/net/ListenFds.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <optional>
#include <stdexcept>
#include <string_view>
#include <system_error>
#include <utility>

namespace rung {

namespace {

constexpr int kFirstListenFd = 3;  // SD_LISTEN_FDS_START
constexpr int kMostListenFds = 1 << 20;

/// Reads a variable, and removes it.
std::optional<std::string> takeVariable(const char* name) {
  const char* const value = std::getenv(name);
  if (value == nullptr) return std::nullopt;
  std::string text = value;
  (void)::unsetenv(name);  // fails for a bad name only
  return text;
}

int numberIn(const char* name, const std::string& text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0) {
    throw std::invalid_argument(std::string(name) + " is '" + text + "', which is no number");
  }
  return value;
}

std::vector<std::string> splitNames(std::string_view names) {
  std::vector<std::string> all;
  for (;;) {
    const std::size_t colon = names.find(':');
    all.emplace_back(names.substr(0, colon));
    if (colon == std::string_view::npos) return all;
    names.remove_prefix(colon + 1);
  }
}

}  // namespace

std::vector<ListenFd> listenFds() {
  // All of them at first: none stays, whatever is wrong with another.
  const auto pid = takeVariable("LISTEN_PID");
  const auto count = takeVariable("LISTEN_FDS");
  const auto names = takeVariable("LISTEN_FDNAMES");
  (void)takeVariable("LISTEN_PIDFDID");  // newer versions say with it which process is meant, too
  if (!pid || !count || numberIn("LISTEN_PID", *pid) != ::getpid()) return {};
  const int fds = numberIn("LISTEN_FDS", *count);
  if (fds > kMostListenFds)
    throw std::invalid_argument("LISTEN_FDS is " + *count + ", which is too many");
  const auto size = static_cast<std::size_t>(fds);
  const auto named = names ? splitNames(*names) : std::vector<std::string>(size, "unknown");
  if (named.size() != size && size > 0) {
    throw std::invalid_argument("LISTEN_FDNAMES is '" + *names + "', and LISTEN_FDS is " + *count);
  }
  for (int fd = kFirstListenFd; fd < kFirstListenFd + fds; ++fd) {
    if (::fcntl(fd, F_SETFD, FD_CLOEXEC) == 0) continue;
    throw std::system_error(errno, std::generic_category(),
                            "LISTEN_FDS is " + *count + ", but descriptor " + std::to_string(fd));
  }
  std::vector<ListenFd> all;
  all.reserve(size);
  for (int i = 0; i < fds; ++i)
    all.push_back({named[static_cast<std::size_t>(i)], UniqueFd(kFirstListenFd + i)});
  return all;
}

}  // namespace rung
