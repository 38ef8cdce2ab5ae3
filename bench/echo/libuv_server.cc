// The echo server on libuv: uv_try_write() first, and uv_write() for what it leaves.

#include <signal.h>
#include <uv.h>

#include <string>

#include "bench/echo/echo_server.h"

namespace {

bench::Accounting accounting;

// libuv reads at once after asking for memory, so one buffer serves all connections.
char readBuffer[bench::kReadBytes];

struct Connection {
  uv_tcp_t socket;
  uv_write_t request;
  std::string unsent;
};

void check(int result, const char* call) {
  if (result >= 0) return;
  std::fprintf(stderr, "%s: %s\n", call, uv_strerror(result));
  std::exit(1);
}

template <class Handle>
uv_handle_t* handle(Handle* typed) {
  return reinterpret_cast<uv_handle_t*>(typed);  // the way in which libuv's C types inherit
}
uv_stream_t* stream(uv_tcp_t* socket) {
  return reinterpret_cast<uv_stream_t*>(socket);
}

void close(Connection* connection) {
  if (uv_is_closing(handle(&connection->socket)) != 0) return;
  uv_close(handle(&connection->socket),
           [](uv_handle_t* closed) { delete static_cast<Connection*>(closed->data); });
}

void allocate(uv_handle_t*, std::size_t, uv_buf_t* buffer) {
  *buffer = uv_buf_init(readBuffer, sizeof readBuffer);
}

void onRead(uv_stream_t* socket, ssize_t size, const uv_buf_t* buffer);

void onWritten(uv_write_t* request, int status) {
  auto* connection = static_cast<Connection*>(request->data);
  connection->unsent = {};
  if (status < 0 || uv_read_start(stream(&connection->socket), allocate, onRead) != 0)
    close(connection);
}

void onRead(uv_stream_t* socket, ssize_t size, const uv_buf_t* buffer) {
  auto* connection = static_cast<Connection*>(socket->data);
  if (size == 0) return;  // nothing after all
  if (size < 0) return close(connection);
  const auto bytes = static_cast<std::size_t>(size);
  accounting.readDone(bytes);
  const uv_buf_t all = uv_buf_init(buffer->base, static_cast<unsigned>(bytes));
  const int written = uv_try_write(socket, &all, 1);
  if (written < 0 && written != UV_EAGAIN) return close(connection);
  const std::size_t taken = written < 0 ? 0 : static_cast<std::size_t>(written);
  if (taken == bytes) return;
  // The peer does not keep up: nothing more is read until it has.
  connection->unsent.assign(buffer->base + taken, bytes - taken);
  const uv_buf_t rest =
      uv_buf_init(connection->unsent.data(), static_cast<unsigned>(connection->unsent.size()));
  uv_read_stop(socket);
  if (uv_write(&connection->request, socket, &rest, 1, onWritten) != 0) close(connection);
}

void onConnection(uv_stream_t* listener, int status) {
  if (status < 0) return;
  ++accounting.connections;
  auto* connection = new Connection;
  check(uv_tcp_init(listener->loop, &connection->socket), "uv_tcp_init");
  connection->socket.data = connection;
  connection->request.data = connection;
  if (uv_accept(listener, stream(&connection->socket)) != 0 ||
      uv_read_start(stream(&connection->socket), allocate, onRead) != 0)
    close(connection);
}

void onSignal(uv_signal_t* watcher, int signal) {
  if (signal == SIGTERM)
    uv_stop(watcher->loop);
  else
    accounting.print();
}

}  // namespace

int main(int argc, char** argv) {
  const bench::ServerOptions options = bench::parseServerOptions(argc, argv);
  if (signal(SIGPIPE, SIG_IGN) == SIG_ERR) bench::fail("signal");  // as its manual advises
  uv_loop_t* loop = uv_default_loop();
  uv_tcp_t listener;
  const int fd = bench::listenOn(options.port);
  check(uv_tcp_init(loop, &listener), "uv_tcp_init");
  check(uv_tcp_open(&listener, fd), "uv_tcp_open");
  check(uv_listen(stream(&listener), SOMAXCONN, onConnection), "uv_listen");
  uv_signal_t terminate;
  uv_signal_t account;
  check(uv_signal_init(loop, &terminate), "uv_signal_init");
  check(uv_signal_init(loop, &account), "uv_signal_init");
  check(uv_signal_start(&terminate, onSignal, SIGTERM), "uv_signal_start");
  check(uv_signal_start(&account, onSignal, SIGUSR1), "uv_signal_start");
  bench::announce(fd);
  uv_run(loop, UV_RUN_DEFAULT);
}
