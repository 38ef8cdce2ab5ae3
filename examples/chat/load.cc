// A load client for the chat server: many members in one thread, who all talk and all listen. It
// checks that each gets every message once, and those of each sender in their order.

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "chat/Frame.h"
#include "common/Program.h"

namespace {

constexpr int kPatienceMs = 20'000;
constexpr std::string_view kPrefix = "load-";

struct Settings {
  std::string address = "127.0.0.1";
  std::uint16_t port = 0;
  unsigned members = 50;
  unsigned messages = 200;
  std::size_t sizeBytes = 64;
  unsigned window = 4;
};

struct Member {
  rung::UniqueFd socket;
  rung::Buffer input;
  std::string output;
  unsigned joined = 0;  // members whose arrival it has seen, itself included
  unsigned sent = 0;
  std::vector<unsigned> heard;  // of each member
  std::uint64_t total = 0;
};

[[noreturn]] void fail(const std::string& what) {
  throw std::runtime_error(what);
}

unsigned number(std::string_view text) {
  unsigned value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end == text.data()) fail("cannot read '" + std::string(text) + "'");
  return value;
}

class Load {
 public:
  explicit Load(const Settings& settings) : settings_(settings), members_(settings.members) {
    const rung::InetAddress server(settings.address, settings.port);
    for (unsigned i = 0; i < settings.members; ++i) {
      Member& member = members_[i];
      member.socket =
          rung::checkedFd(::socket(server.family(), SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
      if (::connect(member.socket.get(), server.data(), server.length()) < 0 ||
          ::fcntl(member.socket.get(), F_SETFL, O_NONBLOCK) < 0) {
        throw std::system_error(errno, std::system_category(), "connect to " + server.toIpPort());
      }
      member.heard.resize(settings.members);
      chat::appendFrame(member.output, std::string(kPrefix) + std::to_string(i));
      // One after the other, so that the first sees everyone come.
      while (member.joined == 0)
        round();
    }
    while (members_.front().joined < settings.members)
      round();
  }

  /// Returns the seconds that it took.
  double run() {
    const auto begin = std::chrono::steady_clock::now();
    talking_ = true;
    const std::uint64_t each = std::uint64_t{settings_.members} * settings_.messages;
    for (Member& member : members_)
      talk(member, static_cast<std::size_t>(&member - members_.data()));
    for (bool done = false; !done;) {
      round();
      done = true;
      for (const Member& member : members_)
        done = done && member.total == each;
    }
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  }

 private:
  /// Waits for events, and handles them.
  void round() {
    polled_.clear();
    for (const Member& member : members_) {
      const int fd = member.socket.valid() ? member.socket.get() : -1;
      polled_.push_back(
          {fd, static_cast<short>(member.output.empty() ? POLLIN : POLLIN | POLLOUT), 0});
    }
    const int ready = ::poll(polled_.data(), polled_.size(), kPatienceMs);
    if (ready == 0) fail("nothing came for " + std::to_string(kPatienceMs / 1000) + " s");
    if (ready < 0 && errno != EINTR) throw std::system_error(errno, std::system_category(), "poll");
    for (std::size_t i = 0; i < members_.size(); ++i) {
      if ((polled_[i].revents & (POLLIN | POLLHUP | POLLERR)) != 0) receive(members_[i], i);
      if ((polled_[i].revents & POLLOUT) != 0) send(members_[i]);
    }
  }

  void receive(Member& member, std::size_t self) {
    const rung::IoResult result = member.input.readFd(member.socket.get(), block_);
    if (result.error == EAGAIN || result.error == EINTR) return;
    if (result.error != 0) throw std::system_error(result.error, std::system_category(), "read");
    if (result.bytes == 0) fail("the server closed " + std::string(kPrefix) + std::to_string(self));
    const bool good = chat::takeFrames(member.input, chat::kMaxFrameBytes, [&](auto message) {
      hear(member, message);
      return true;
    });
    if (!good) fail("this is not a chat server");
    member.input.settle();
    if (talking_) talk(member, self);
  }

  void hear(Member& member, std::string_view message) {
    if (message.starts_with('!')) fail("refused: " + std::string(message));
    if (message.starts_with("* ")) {
      if (message.ends_with(" joined")) ++member.joined;
      return;
    }
    const std::size_t colon = message.find(": ");
    if (!message.starts_with(kPrefix) || colon == std::string_view::npos) return;  // someone else
    const unsigned sender = number(message.substr(kPrefix.size()));
    const unsigned place = number(message.substr(colon + 2));
    if (sender >= member.heard.size() || place != member.heard[sender]) {
      fail("message " + std::to_string(place) + " of " + std::to_string(sender) +
           " is not the next one");
    }
    ++member.heard[sender];
    ++member.total;
  }

  /// No further ahead of what it has heard itself say than the window: a member who does not wait
  /// for the others would make them slow readers.
  void talk(Member& member, std::size_t self) {
    while (member.sent < settings_.messages &&
           member.sent - member.heard[self] < settings_.window) {
      std::string text = std::to_string(member.sent++) + " ";
      text.resize(std::max(text.size(), settings_.sizeBytes), '.');
      chat::appendFrame(member.output, text);
    }
    send(member);
  }

  static void send(Member& member) {
    if (member.output.empty()) return;
    const ssize_t n =
        ::send(member.socket.get(), member.output.data(), member.output.size(), MSG_NOSIGNAL);
    if (n > 0) member.output.erase(0, static_cast<std::size_t>(n));  // errors show when it reads
  }

  const Settings settings_;
  std::vector<Member> members_;
  std::vector<pollfd> polled_;
  std::vector<char> block_ = std::vector<char>(1 << 18);
  bool talking_ = false;
};

}  // namespace

int main(int argc, char** argv) {
  common::Options options("chat-load", "Many members of a chat server, who all talk and listen.");
  Settings settings;
  options.add("address", "A", "IPv4 or IPv6 address of the server", settings.address);
  options.add("port", "N", "its port", settings.port, 1, 65535);
  options.add("members", "N", "how many", settings.members, 1, 1000);
  options.add("messages", "N", "that each sends", settings.messages, 1, 1'000'000);
  options.add("size", "BYTES", "of a message", settings.sizeBytes, 1, 4096);
  options.add("window", "N", "messages that a member has under way", settings.window, 1, 1000);
  options.parse(argc, argv);
  if (settings.port == 0) options.refuse("--port is missing");
  try {
    const double seconds = Load(settings).run();
    const double deliveries =
        static_cast<double>(settings.members) * settings.members * settings.messages;
    std::printf(
        "%u members, %u messages of %zu bytes each: %.0f deliveries in %.2f s, %.0f a "
        "second, all in order\n",
        settings.members, settings.messages, settings.sizeBytes, deliveries, seconds,
        deliveries / seconds);
    return 0;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "chat-load: %s\n", e.what());
    return 1;
  }
}
