// A worker sends 1,000 frames. Meanwhile the loop, which is busy, comes to its last line:
// shutdown(). Of each frame the worker knows whether send() accepted it. With stage 08, and with
// stage 09.

#include <cstdio>
#include <string>
#include <thread>

#include "../09-half-close/one_server.h"

namespace {

constexpr int kFrames = 1000;
constexpr std::size_t kFrameBytes = 100;

rung::CountDownLatch busy(1);
rung::CountDownLatch computed(1);

/// How many frames send() accepted.
int sendFrames(rung::EventLoop* loop, const rung::TcpConnectionPtr& connection) {
  int accepted = 0;
  for (int i = 0; i < kFrames; ++i) {
    if (i == kFrames / 2) {
      loop->queueInLoop([connection] {
        busy.countDown();
        computed.wait();  // a long computation
        connection->shutdown();
      });
      busy.wait();
    }
    if (i == kFrames * 3 / 4) computed.countDown();
    accepted += connection->send(std::string(kFrameBytes, 'x'));
  }
  return accepted;
}

}  // namespace

int main() {
  rung::TcpConnectionPtr connection;
  rung::CountDownLatch up(1);
  OneServer server([&](rung::TcpServer& s) {
    s.setConnectionCallback([&](const rung::TcpConnectionPtr& c) {
      if (!c->connected()) return;
      connection = c;
      up.countDown();
    });
  });

  const rung::UniqueFd client = connectTo(server.address());
  if (!client.valid()) return 2;
  up.wait();
  int accepted = 0;
  std::thread worker([&] { accepted = sendFrames(server.loop(), connection); });
  const std::size_t arrived = readAll(client.get()) / kFrameBytes;
  worker.join();
  std::printf("of %d frames, send() accepted %d; %zu arrived\n", kFrames, accepted, arrived);
}
