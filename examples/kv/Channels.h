#pragma once

#include <cstddef>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "rung/base/noncopyable.h"
#include "rung/net/TcpConnection.h"

#include "kv/Resp.h"

namespace kv {

/// The server's data of one connection.
/// Lifetime: it is the context of `connection`, so that one is there.
struct Client {
  explicit Client(rung::TcpConnection* ofConnection) : connection(ofConnection) {}

  rung::TcpConnection* connection;
  RequestParser parser;
  std::set<std::string, std::less<>> channels;  // to which it has subscribed
  std::string told;                             // messages that leave at the end of the batch
  bool cut = false;                             // it has read too slowly, and is about to go
};

/// Sends `bytes` and empties it. It keeps little memory: there may be many such strings.
void sendAndClear(rung::TcpConnection& connection, std::string& bytes);

/// Who listens to which channel, and the messages on their way.
/// Thread: one.
class Channels : rung::noncopyable {
 public:
  /// Nobody can hold a publisher back for one slow listener, so that one is cut. As Redis:
  /// client-output-buffer-limit pubsub 32mb.
  static constexpr std::size_t kMaxWaitingBytes = std::size_t{32} << 20;

  void subscribe(Client& client, std::string_view channel);
  void unsubscribe(Client& client, std::string_view channel);
  /// For a client that goes.
  void leave(Client& client);

  /// Tells all who listen, and returns how many they are. The messages of a batch of commands leave
  /// together, with flush(): one system call a listener, not one a message.
  std::size_t publish(std::string_view channel, std::string_view message);
  void flush();

 private:
  std::map<std::string, std::set<Client*>, std::less<>> listeners_;
  std::vector<Client*> told_;
  std::size_t toldBytes_ = 0;
};

}  // namespace kv
