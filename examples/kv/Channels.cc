#include "kv/Channels.h"

#include <utility>

#include "rung/base/Logging.h"

namespace kv {

namespace {

constexpr std::size_t kKeptBytes = 4096;
constexpr std::size_t kMostTold = 256 << 10;  // a batch does not collect more than that

}  // namespace

void sendAndClear(rung::TcpConnection& connection, std::string& bytes) {
  if (bytes.empty()) return;
  if (bytes.capacity() > kKeptBytes) {
    connection.send(std::exchange(bytes, std::string()));  // moved, so that nothing is copied
  } else {
    connection.send(std::string_view(bytes));
    bytes.clear();
  }
}

void Channels::subscribe(Client& client, std::string_view channel) {
  if (client.channels.emplace(channel).second) {
    listeners_.try_emplace(std::string(channel)).first->second.insert(&client);
  }
}

void Channels::unsubscribe(Client& client, std::string_view channel) {
  const auto place = client.channels.find(channel);
  if (place == client.channels.end()) return;
  const auto listeners = listeners_.find(channel);
  listeners->second.erase(&client);
  if (listeners->second.empty()) listeners_.erase(listeners);
  client.channels.erase(place);  // last, since `channel` may be a view of it
}

void Channels::leave(Client& client) {
  while (!client.channels.empty())
    unsubscribe(client, *client.channels.begin());
  std::erase(told_, &client);
}

std::size_t Channels::publish(std::string_view channel, std::string_view message) {
  const auto place = listeners_.find(channel);
  if (place == listeners_.end()) return 0;
  std::string reply;  // the same for all
  appendArray(reply, 3);
  appendBulk(reply, "message");
  appendBulk(reply, channel);
  appendBulk(reply, message);
  std::size_t count = 0;
  for (Client* client : place->second) {
    if (client->cut) continue;
    ++count;
    if (client->told.empty()) told_.push_back(client);
    client->told += reply;
    toldBytes_ += reply.size();
    if (toldBytes_ > kMostTold) flush();
  }
  return count;
}

void Channels::flush() {
  for (Client* client : told_) {
    rung::TcpConnection& connection = *client->connection;
    const std::size_t waiting = connection.outputBytes();
    if (waiting < kMaxWaitingBytes) {
      sendAndClear(connection, client->told);
      continue;
    }
    LOG_INFO << connection.peerAddress().toIpPort() << " cut: reads too slowly, " << waiting
             << " bytes of messages waiting";
    client->cut = true;
    client->told = std::string();
    connection.reset();  // what the kernel has for it goes, too
  }
  told_.clear();
  toldBytes_ = 0;
}

}  // namespace kv
