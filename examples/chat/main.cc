// A chat server. What to look at: messages that are framed by their length (Frame.h), a hub across
// threads without a lock on the way of a message (Hub.h), and what is done about members who read
// too slowly: they are dropped, and not buffered for ever.

#include <algorithm>
#include <any>
#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "chat/Frame.h"
#include "chat/Hub.h"
#include "common/Program.h"
#include "common/Text.h"

namespace {

constexpr std::size_t kMaxNameBytes = 32;

struct Settings {
  std::size_t maxFrameBytes = 4096;
  std::size_t highWaterBytes = 1 << 20;
  unsigned nameSeconds = 10;
};

struct Member {
  std::string name;      // empty until the first frame has told it
  bool dropped = false;  // for reading too slowly
};

Member& memberOf(const rung::TcpConnectionPtr& connection) {
  return *std::any_cast<Member>(&connection->context());
}

/// Names are shown in front of messages: they must not look like anything but a name.
bool isName(std::string_view text) {
  const auto letter = [](unsigned char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c >= 0x80;
  };
  return !text.empty() && text.size() <= kMaxNameBytes && common::shown(text) == text &&
         std::all_of(text.begin(), text.end(),
                     [&](char c) { return letter(static_cast<unsigned char>(c)); });
}

class ChatServer {
 public:
  ChatServer(rung::EventLoop& loop, const common::ServerOptions& options, const Settings& settings)
      : settings_(settings),
        server_(&loop, rung::InetAddress(options.address, options.port), "chat") {
    server_.setThreadNum(options.threads);
    server_.setThreadInitCallback([this](rung::EventLoop* own) { hub_.addLoop(own); });
    server_.setLimits(
        {.highWaterMark = settings_.highWaterBytes, .lowWaterMark = settings_.highWaterBytes / 4});
    server_.setConnectionCallback([this](const auto& connection) { onConnection(connection); });
    server_.setMessageCallback([this](const auto& connection, rung::Buffer& input,
                                      rung::Timestamp) { onMessage(connection, input); });
    server_.setHighWaterMarkCallback(
        [](const auto& connection, std::size_t bytes) { onSlowReader(connection, bytes); });
  }

  rung::TcpServer& server() { return server_; }

 private:
  void onConnection(const rung::TcpConnectionPtr& connection) {
    common::logConnection(connection);
    if (!connection->connected()) {
      if (const Member& member = memberOf(connection); !member.name.empty()) {
        hub_.leave(connection, member.name);
      }
      return;
    }
    connection->setContext(Member{});
    connection->loop()->runAfter(std::chrono::seconds(settings_.nameSeconds),
                                 [weak = std::weak_ptr(connection)] {
                                   const auto late = weak.lock();
                                   if (late != nullptr && memberOf(late).name.empty()) {
                                     late->forceClose();
                                   }
                                 });
  }

  void onMessage(const rung::TcpConnectionPtr& connection, rung::Buffer& input) {
    Member& member = memberOf(connection);
    std::string said;
    std::string refusal;
    const bool good = chat::takeFrames(input, settings_.maxFrameBytes, [&](std::string_view body) {
      if (member.name.empty()) {
        refusal = enter(connection, body);
        return refusal.empty();
      }
      chat::appendFrame(said, member.name + ": " + std::string(body));
      return true;
    });
    if (!said.empty()) hub_.say(connection, std::move(said));
    if (!good)
      refusal = "! a message has 1 to " + std::to_string(settings_.maxFrameBytes) + " bytes";
    if (refusal.empty()) return;
    LOG_INFO << connection->peerAddress().toIpPort() << " dismissed: " << refusal;
    common::dismiss(connection, chat::frame(refusal));
  }

  /// Returns why not, or nothing.
  std::string enter(const rung::TcpConnectionPtr& connection, std::string_view body) {
    if (!isName(body)) {
      return "! a name has 1 to " + std::to_string(kMaxNameBytes) + " letters, digits, '-' or '_'";
    }
    std::string name(body);
    if (!hub_.join(connection, name)) return "! the name '" + name + "' is taken";
    memberOf(connection).name = std::move(name);
    return {};
  }

  static void onSlowReader(const rung::TcpConnectionPtr& connection, std::size_t bytes) {
    Member& member = memberOf(connection);
    if (std::exchange(member.dropped, true)) return;
    LOG_INFO << connection->peerAddress().toIpPort() << " (" << member.name
             << ") dropped: reads too slowly, " << bytes << " bytes waiting";
    connection->forceClose();
  }

  const Settings settings_;
  chat::Hub hub_;  // outlives the loops, which are the server's
  rung::TcpServer server_;
};

}  // namespace

int main(int argc, char** argv) {
  common::ServerOptions options("chat", "A chat server, for chat-client.");
  Settings settings;
  options.add("max-frame", "BYTES", "longest message that a client may send",
              settings.maxFrameBytes, 1, chat::kMaxFrameBytes / 2);
  options.add("high-water", "BYTES", "output waiting for a member at which it is dropped",
              settings.highWaterBytes, 1, std::size_t{1} << 40);
  options.add("name-seconds", "N", "time in which a client must tell its name",
              settings.nameSeconds, 1, 3600);
  options.parse(argc, argv);
  return common::run(options, [&] {
    rung::EventLoop loop;
    ChatServer chat(loop, options, settings);
    common::serve(loop, {&chat.server()});
  });
}
