// The echo server on libevent: a bufferevent a connection; its input is moved to its output, which
// copies nothing.

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <signal.h>

#include "bench/echo/echo_server.h"

namespace {

bench::Accounting accounting;

void onRead(bufferevent* connection, void*) {
  evbuffer* input = bufferevent_get_input(connection);
  evbuffer* output = bufferevent_get_output(connection);
  accounting.readDone(evbuffer_get_length(input));
  evbuffer_add_buffer(output, input);
  if (evbuffer_get_length(output) >= bench::kHighWaterBytes)
    bufferevent_disable(connection, EV_READ);
}

/// The output is empty.
void onWritten(bufferevent* connection, void*) {
  if ((bufferevent_get_enabled(connection) & EV_READ) == 0) bufferevent_enable(connection, EV_READ);
}

void onLastWritten(bufferevent* connection, void*) {
  bufferevent_free(connection);
}

void onEvent(bufferevent* connection, short what, void*) {
  if ((what & (BEV_EVENT_EOF | BEV_EVENT_ERROR)) == 0) return;
  const bool sending = evbuffer_get_length(bufferevent_get_output(connection)) > 0;
  if ((what & BEV_EVENT_ERROR) != 0 || !sending) return bufferevent_free(connection);
  bufferevent_setcb(connection, nullptr, onLastWritten, onEvent, nullptr);
}

void onAccept(evconnlistener*, evutil_socket_t fd, sockaddr*, int, void* base) {
  ++accounting.connections;
  bufferevent* connection =
      bufferevent_socket_new(static_cast<event_base*>(base), fd, BEV_OPT_CLOSE_ON_FREE);
  if (connection == nullptr) bench::fail("bufferevent_socket_new");
  bufferevent_setcb(connection, onRead, onWritten, onEvent, nullptr);
  bufferevent_enable(connection, EV_READ | EV_WRITE);
}

void onSignal(evutil_socket_t signal, short, void* base) {
  if (signal == SIGTERM)
    event_base_loopbreak(static_cast<event_base*>(base));
  else
    accounting.print();
}

}  // namespace

int main(int argc, char** argv) {
  const bench::ServerOptions options = bench::parseServerOptions(argc, argv);
  // It writes with writev(2), which has no MSG_NOSIGNAL.
  if (signal(SIGPIPE, SIG_IGN) == SIG_ERR) bench::fail("signal");
  event_config* config = event_config_new();
  event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);  // there is one thread
  event_base* base = event_base_new_with_config(config);
  event_config_free(config);
  const int fd = bench::listenOn(options.port);
  // A backlog of 0 says that it listens already.
  evconnlistener* listener = evconnlistener_new(
      base, onAccept, base, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
  event* terminate = evsignal_new(base, SIGTERM, onSignal, base);
  event* account = evsignal_new(base, SIGUSR1, onSignal, base);
  if (listener == nullptr || terminate == nullptr || account == nullptr) bench::fail("libevent");
  event_add(terminate, nullptr);
  event_add(account, nullptr);
  bench::announce(fd);
  event_base_dispatch(base);
  event_free(terminate);
  event_free(account);
  evconnlistener_free(listener);
  event_base_free(base);
}
