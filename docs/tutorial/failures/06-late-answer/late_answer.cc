// A server on stage 05 that computes its answers on a ThreadPool. The task holds a raw pointer to
// the connection; the client leaves before the answer is ready.
//
// Built with AddressSanitizer it ends with heap-use-after-free. Without, it crashes, or goes on
// with whatever stands in that memory now.

#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <map>
#include <memory>

#include "rung/base/CountDownLatch.h"
#include "rung/base/ThreadPool.h"
#include "rung/net/Channel.h"
#include "rung/net/EventLoop.h"
#include "rung/net/TcpServer.h"

using rung::Channel;
using rung::CountDownLatch;
using rung::EventLoop;
using rung::InetAddress;
using rung::Socket;

namespace {

class Connection;
std::map<int, std::unique_ptr<Connection>> connections;
CountDownLatch clientGone(1);

class Connection {
 public:
  Connection(EventLoop* loop, rung::ThreadPool* pool, Socket socket)
      : loop_(loop), pool_(pool), socket_(std::move(socket)), channel_(loop, socket_.fd()) {
    channel_.setReadCallback([this](rung::Timestamp) { handleRead(); });
    channel_.enableReading();
  }
  ~Connection() { channel_.remove(); }

 private:
  void handleRead() {
    char request[100];
    if (read(socket_.fd(), request, sizeof request) > 0) {
      pool_->run([this, loop = loop_] {
        clientGone.wait();                        // a long computation
        loop->queueInLoop([this] { answer(); });  // by a connection that is gone
      });
    } else {
      // Not here and now: the Channel that is calling would go with the connection.
      loop_->queueInLoop([fd = socket_.fd()] {
        connections.erase(fd);
        clientGone.countDown();
      });
    }
  }

  void answer() {
    (void)!send(socket_.fd(), "42\n", 3, MSG_NOSIGNAL);
    loop_->quit();
  }

  EventLoop* const loop_;
  rung::ThreadPool* const pool_;
  Socket socket_;
  Channel channel_;
};

}  // namespace

int main() {
  EventLoop loop;
  rung::ThreadPool pool;
  pool.start(1);
  rung::TcpServer server(&loop, InetAddress::loopback(0), "late");
  server.setNewSocketCallback([&](EventLoop* ioLoop, Socket socket, const InetAddress&) {
    const int fd = socket.fd();
    connections[fd] = std::make_unique<Connection>(ioLoop, &pool, std::move(socket));
  });
  server.start();

  rung::UniqueFd client = rung::checkedFd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
  const InetAddress address = server.listenAddress();
  if (connect(client.get(), address.data(), address.length()) != 0) return 1;
  if (write(client.get(), "?", 1) != 1) return 1;
  client.reset();  // the stream still brings the request first, and then its end
  loop.loop();
  std::puts("the answer was sent, or so it seems");
}
