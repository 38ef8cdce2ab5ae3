// Five small services of the early Internet in one process, each on a port of its own. What to look
// at: a service is a TcpServer with the callbacks that it needs; all of them share one loop, and
// chargen, which never stops talking, is paced by its reader alone.

#include <array>
#include <chrono>
#include <cstdint>
#include <ctime>
#include <string>

#include "common/Program.h"

namespace {

/// RFC 867: the date and time as a line of text.
std::string daytime() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  std::array<char, 64> line{};
  return {line.data(),
          std::strftime(line.data(), line.size(), "%A, %B %d, %Y %H:%M:%S-UTC\r\n", &utc)};
}

/// RFC 868: seconds since 1900, 32 bits in network byte order. It wraps around in 2036.
std::string secondsSince1900() {
  constexpr std::int64_t kFrom1900To1970 = 2'208'988'800;
  rung::Buffer number;
  number.appendInt(static_cast<std::uint32_t>(std::time(nullptr) + kFrom1900To1970));
  return number.retrieveAllAsString();
}

/// RFC 864: lines of 72 of the 95 printable characters, each line begins one character later. After
/// 95 lines it is the same again.
std::string chargenCycle() {
  constexpr std::size_t kPrintable = 95;
  constexpr std::size_t kWidth = 72;
  std::string cycle;
  for (std::size_t line = 0; line < kPrintable; ++line) {
    for (std::size_t column = 0; column < kWidth; ++column)
      cycle += static_cast<char>(' ' + (line + column) % kPrintable);
    cycle += "\r\n";
  }
  return cycle;
}

void discard(rung::TcpServer& server) {
  // Without a message callback, what arrives is thrown away.
  server.setConnectionCallback(common::logConnection);
}

/// A service that answers with one text and closes, whatever the client sends.
void sayAndClose(rung::TcpServer& server, std::string (*text)()) {
  server.setConnectionCallback([text](const rung::TcpConnectionPtr& connection) {
    common::logConnection(connection);
    if (connection->connected()) common::dismiss(connection, text());
  });
}

void chargen(rung::TcpServer& server) {
  static const std::string cycle = chargenCycle();
  server.setConnectionCallback([](const rung::TcpConnectionPtr& connection) {
    common::logConnection(connection);
    if (connection->connected()) connection->send(cycle);
  });
  // The next cycle is sent when the kernel has taken the one before, which it does as fast as the
  // client reads. However slow that is, no more than one cycle waits in this process.
  server.setWriteCompleteCallback(
      [](const rung::TcpConnectionPtr& connection) { connection->send(cycle); });
  // A client that has nothing to say may close its side and go on reading.
  server.setHalfCloseCallback([](const rung::TcpConnectionPtr&) {});
}

void echo(rung::TcpServer& server) {
  server.setConnectionCallback(common::logConnection);
  server.setMessageCallback([](const rung::TcpConnectionPtr& connection, rung::Buffer& buffer,
                               rung::Timestamp) { connection->send(buffer); });
}

void run(const common::ServerOptions& options) {
  rung::EventLoop loop;
  int next = options.port;
  const auto address = [&] {
    // Five ports in a row; with port 0, the kernel picks each.
    const auto port = static_cast<std::uint16_t>(options.port == 0 ? 0 : next++);
    return rung::InetAddress(options.address, port);
  };
  rung::TcpServer discardServer(&loop, address(), "discard");
  rung::TcpServer daytimeServer(&loop, address(), "daytime");
  rung::TcpServer timeServer(&loop, address(), "time");
  rung::TcpServer chargenServer(&loop, address(), "chargen");
  rung::TcpServer echoServer(&loop, address(), "echo");
  discard(discardServer);
  sayAndClose(daytimeServer, daytime);
  sayAndClose(timeServer, secondsSince1900);
  chargen(chargenServer);
  echo(echoServer);

  const std::vector<rung::TcpServer*> servers{&discardServer, &daytimeServer, &timeServer,
                                              &chargenServer, &echoServer};
  for (rung::TcpServer* server : servers)
    server->setThreadNum(options.threads);
  common::serve(loop, servers);
}

}  // namespace

int main(int argc, char** argv) {
  common::ServerOptions options("simple",
                                "Serves discard, daytime, time, chargen and echo, in this order, "
                                "on --port and the four ports\nbehind it.");
  options.parse(argc, argv);
  if (options.port > 65531) {
    options.refuse("--port: '" + std::to_string(options.port) +
                   "' leaves no four ports behind it; at most 65531");
  }
  return common::run(options, [&] { run(options); });
}
