// A chat client for the terminal: poll(2) on stdin and on one socket. What to look at: a client
// must frame and buffer just as a server does, and must not print what others send as it is.

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <string>
#include <string_view>
#include <system_error>

#include "chat/Frame.h"
#include "common/Program.h"
#include "common/Text.h"

namespace {

/// Control characters could move the cursor, or do worse to a terminal.
void print(std::string_view message) {
  std::printf("%s\n", common::shown(message).c_str());
}

class Client {
 public:
  Client(const rung::InetAddress& server, const std::string& name)
      : socket_(
            rung::checkedFd(::socket(server.family(), SOCK_STREAM | SOCK_CLOEXEC, 0), "socket")) {
    if (::connect(socket_.get(), server.data(), server.length()) < 0) {
      throw std::system_error(errno, std::system_category(), "connect to " + server.toIpPort());
    }
    chat::appendFrame(output_, name);
  }

  /// Until the server closes, or stdin ends.
  void run() {
    for (bool open = true; open && !(inputEnded_ && output_.empty());) {
      const bool sending = !output_.empty();
      // Nothing new to say while the last is not out: what is typed waits in the terminal.
      std::array<pollfd, 2> wanted{
          {{socket_.get(), POLLIN, 0}, {sending || inputEnded_ ? -1 : STDIN_FILENO, POLLIN, 0}}};
      if (sending) wanted[0].events |= POLLOUT;
      if (::poll(wanted.data(), wanted.size(), -1) < 0 && errno != EINTR) {
        throw std::system_error(errno, std::system_category(), "poll");
      }
      if ((wanted[0].revents & POLLOUT) != 0) send();
      if ((wanted[0].revents & (POLLIN | POLLHUP | POLLERR)) != 0) open = receive();
      if (wanted[1].revents != 0) readLines();
    }
  }

 private:
  void send() {
    const ssize_t n =
        ::send(socket_.get(), output_.data(), output_.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n > 0) output_.erase(0, static_cast<std::size_t>(n));  // an error shows in receive()
  }

  bool receive() {
    const rung::IoResult result = received_.readFd(socket_.get());
    if (result.error == EINTR || result.error == EAGAIN) return true;
    if (result.error != 0) throw std::system_error(result.error, std::system_category(), "read");
    if (!chat::takeFrames(received_, chat::kMaxFrameBytes, [](std::string_view message) {
          print(message);
          return true;
        })) {
      throw std::runtime_error("this is not a chat server");
    }
    std::fflush(stdout);
    return result.bytes > 0;
  }

  void readLines() {
    const rung::IoResult result = typed_.readFd(STDIN_FILENO);
    if (result.error != 0 && result.error != EINTR && result.error != EAGAIN) {
      throw std::system_error(result.error, std::system_category(), "stdin");
    }
    inputEnded_ = result.error == 0 && result.bytes == 0;
    for (std::size_t end; (end = typed_.view().find('\n')) != std::string_view::npos;) {
      if (end > 0) chat::appendFrame(output_, typed_.view().substr(0, end));
      typed_.retrieve(end + 1);
    }
  }

  const rung::UniqueFd socket_;
  rung::Buffer received_;
  rung::Buffer typed_;
  std::string output_;
  bool inputEnded_ = false;
};

}  // namespace

int main(int argc, char** argv) {
  common::Options options("chat-client",
                          "Sends each line of stdin to a chat server, and shows what "
                          "the others say.\nEnd it with ctrl-D.");
  std::string address = "127.0.0.1";
  std::uint16_t port = 0;
  std::string name;
  options.add("address", "A", "IPv4 or IPv6 address of the server", address);
  options.add("port", "N", "its port", port, 1, 65535);
  options.add("name", "NAME", "who you are", name);
  options.parse(argc, argv);
  if (port == 0) options.refuse("--port is missing");
  if (name.empty()) options.refuse("--name is missing");
  try {
    Client(rung::InetAddress(address, port), name).run();
    return 0;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "chat-client: %s\n", e.what());
    return 1;
  }
}
