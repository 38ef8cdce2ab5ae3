#include "kv/Server.h"

#include <any>
#include <chrono>
#include <string_view>

#include "common/Program.h"

namespace kv {

namespace {

/// Room for the longest command, and for one read behind it: the parser refuses it first.
constexpr std::size_t kMaxInput = RequestParser::kMaxCommandBytes + (std::size_t{1} << 20);
/// For the replies before QUIT to be read in.
constexpr std::chrono::minutes kQuitTime{1};
/// A batch whose replies are longer leaves in several pieces.
constexpr std::size_t kPieceBytes = std::size_t{64} << 10;
constexpr std::chrono::milliseconds kErasePeriod{100};
/// Keys that are erased in one go: a fraction of a millisecond, then it is the clients' turn.
constexpr std::size_t kErasedAtOnce = 500;

Client& clientOf(rung::TcpConnection& connection) {
  return *std::any_cast<Client>(&connection.context());
}

}  // namespace

Server::Server(rung::EventLoop* loop, const rung::InetAddress& address, std::size_t maxMemory)
    : loop_(loop), commands_(store_, channels_, maxMemory), server_(loop, address, "kv") {
  server_.setLimits({.highWaterMark = kHighWaterBytes,
                     .lowWaterMark = kHighWaterBytes / 4,
                     .maxInput = kMaxInput});
  server_.setConnectionCallback(
      [this](const rung::TcpConnectionPtr& connection) { onConnection(connection); });
  server_.setMessageCallback([this](const rung::TcpConnectionPtr& connection, rung::Buffer& input,
                                    rung::Timestamp) { onMessage(connection, input); });
  timer_ = loop_->runEvery(kErasePeriod, [this] { eraseDue(); });
}

Server::~Server() {
  loop_->cancel(timer_);
}

void Server::setTime() {
  store_.setTime(
      std::chrono::time_point_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now()));
}

void Server::onConnection(const rung::TcpConnectionPtr& connection) {
  common::logConnection(connection);
  if (!connection->connected()) return channels_.leave(clientOf(*connection));
  connection->setTcpNoDelay(true);
  connection->setContext(Client(connection.get()));
}

void Server::onMessage(const rung::TcpConnectionPtr& connection, rung::Buffer& input) {
  Client& client = clientOf(*connection);
  out_.clear();
  setTime();  // one moment for the batch
  const Commands::After after = runBatch(client, input);
  if (after != Commands::After::goOn) channels_.leave(client);
  switch (after) {
    case Commands::After::goOn:
      sendAndClear(*connection, out_);
      break;
    case Commands::After::quit:  // it is owed all replies before
      connection->send(out_);
      connection->close(kQuitTime);
      break;
    case Commands::After::dismiss:
      common::dismiss(connection, out_);
      break;
    case Commands::After::drop:
      LOG_DEBUG << connection->peerAddress().toIpPort() << " is a browser";
      connection->forceClose();
      break;
  }
  channels_.flush();
}

/// Runs all commands that are there. Their replies leave with one system call, but for what is
/// long. What a peer does not read stops it: the rest is offered again once there is room.
Commands::After Server::runBatch(Client& client, rung::Buffer& input) {
  Commands::After after = Commands::After::goOn;
  std::string_view left = input.view();
  while (after == Commands::After::goOn && client.connection->outputBytes() < kHighWaterBytes) {
    const RequestParser::State state = client.parser.next(left);
    if (state == RequestParser::State::partial) break;
    if (state == RequestParser::State::wrong) {
      appendError(out_, "ERR Protocol error: " + client.parser.problem());
      after = Commands::After::dismiss;
      break;
    }
    left.remove_prefix(client.parser.size());
    const Args args = client.parser.args();
    if (!args.empty()) after = commands_.run(client, args, out_);
    if (out_.size() >= kPieceBytes) sendAndClear(*client.connection, out_);
  }
  input.retrieve(input.readableBytes() - left.size());
  return after;
}

/// Keys that nobody asks for any more would keep their memory for ever. Where many are due at once,
/// tasks go on with it, and I/O has its turn between two of them.
void Server::eraseDue() {
  if (erasing_) return;
  setTime();
  if (store_.eraseDue(kErasedAtOnce) < kErasedAtOnce) return;
  erasing_ = true;
  loop_->queueInLoop([this] {
    erasing_ = false;
    eraseDue();
  });
}

}  // namespace kv
