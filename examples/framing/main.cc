// Four ways to find the messages in a stream of bytes, side by side. The server answers each frame
// with a frame that holds the payload backwards, so that one can see where it thinks a frame ends.
// What to look at: the four codecs, which have one shape, and onMessage(), which is the same for
// all.

#include <any>
#include <string>
#include <string_view>

#include "common/Program.h"
#include "framing/Delimited.h"
#include "framing/FixedLength.h"
#include "framing/HeadAndBody.h"
#include "framing/LengthHeader.h"

namespace {

using framing::Frame;

/// A peer that breaks the rules is told so in its own framing, and the connection ends: nobody
/// knows where the next frame begins.
template <framing::FrameCodec Codec>
void refuse(const rung::TcpConnectionPtr& connection, const Codec& codec, std::string_view why) {
  LOG_DEBUG << connection->peerAddress().toIpPort() << " refused: " << why;
  common::dismiss(connection, codec.encode("error: " + std::string(why)));
}

template <framing::FrameCodec Codec>
void onMessage(const rung::TcpConnectionPtr& connection, rung::Buffer& input, rung::Timestamp) {
  Codec& codec = *std::any_cast<Codec>(&connection->context());
  Frame frame = codec.next(input);
  std::string answers;  // one send for all that came together
  for (; frame.state == Frame::State::whole; frame = codec.next(input))
    answers += codec.encode(std::string(frame.payload.rbegin(), frame.payload.rend()));
  connection->send(std::move(answers));
  if (frame.state == Frame::State::wrong) refuse(connection, codec, frame.problem);
}

template <framing::FrameCodec Codec>
void onHalfClose(const rung::TcpConnectionPtr& connection) {
  if (connection->inputBuffer().empty()) return connection->shutdown();
  const Codec& codec = *std::any_cast<Codec>(&connection->context());
  refuse(connection, codec, "the stream ends within a frame");
}

template <framing::FrameCodec Codec>
void install(rung::TcpServer& server, std::size_t bytes) {
  server.setConnectionCallback([bytes](const rung::TcpConnectionPtr& connection) {
    common::logConnection(connection);
    if (connection->connected()) connection->setContext(Codec(bytes));
  });
  server.setMessageCallback(onMessage<Codec>);
  server.setHalfCloseCallback(onHalfClose<Codec>);
}

struct Framing {
  std::string_view name;
  void (*install)(rung::TcpServer& server, std::size_t bytes);
};

constexpr Framing kFramings[] = {{"fixed", install<framing::FixedLength>},
                                 {"line", install<framing::Delimited>},
                                 {"length", install<framing::LengthHeader>},
                                 {"message", install<framing::HeadAndBody>}};

const Framing& find(const std::string& name, const common::Options& options) {
  for (const Framing& framing : kFramings) {
    if (framing.name == name) return framing;
  }
  options.refuse("--framing: '" + name + "' is none of fixed, line, length, message");
}

}  // namespace

int main(int argc, char** argv) {
  std::string name = "length";
  std::size_t bytes = 1024;
  common::ServerOptions options("framing", "Answers each frame with its payload backwards.");
  options.add("framing", "NAME", "fixed, line (CR LF), length (4-byte header) or message", name);
  options.add("bytes", "N", "payload of a client's frame: N for fixed, at most N for the others",
              bytes, 1, 16 << 20);
  options.parse(argc, argv);
  const Framing& framing = find(name, options);
  return common::run(options, [&] {
    rung::EventLoop loop;
    rung::TcpServer server(&loop, rung::InetAddress(options.address, options.port), "framing");
    server.setThreadNum(options.threads);
    // A frame that is not whole is input that a callback leaves.
    server.setLimits({.maxInput = bytes + rung::ConnectionLimits().maxInput});
    framing.install(server, bytes);
    common::serve(loop, {&server});
  });
}
