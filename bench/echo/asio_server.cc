// The echo server on asio (stand-alone): a session a connection, and callbacks, as its examples do.

#include <signal.h>

#include <array>
#include <asio.hpp>
#include <memory>

#include "bench/echo/echo_server.h"

namespace {

using asio::ip::tcp;

class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(tcp::socket socket, bench::Accounting& accounting)
      : socket_(std::move(socket)), accounting_(accounting) {}

  void read() {
    socket_.async_read_some(
        asio::buffer(data_),
        [self = shared_from_this()](const asio::error_code& error, std::size_t size) {
          if (error) return;  // the last reference goes, and the socket with it
          self->accounting_.readDone(size);
          self->write(size);
        });
  }

 private:
  void write(std::size_t size) {
    asio::async_write(socket_, asio::buffer(data_, size),
                      [self = shared_from_this()](const asio::error_code& error, std::size_t) {
                        if (!error) self->read();
                      });
  }

  tcp::socket socket_;
  bench::Accounting& accounting_;
  std::array<char, bench::kReadBytes> data_;
};

class Server {
 public:
  Server(asio::io_context& context, int listener)
      : acceptor_(context, tcp::v4(), listener), signals_(context, SIGTERM, SIGUSR1) {
    accept();
    waitForSignal();
  }

 private:
  void accept() {
    acceptor_.async_accept([this](const asio::error_code& error, tcp::socket socket) {
      if (!error) {
        ++accounting_.connections;
        std::make_shared<Session>(std::move(socket), accounting_)->read();
      }
      accept();
    });
  }

  void waitForSignal() {
    signals_.async_wait([this](const asio::error_code&, int signal) {
      if (signal == SIGTERM)
        return static_cast<asio::io_context&>(acceptor_.get_executor().context()).stop();
      accounting_.print();
      waitForSignal();
    });
  }

  tcp::acceptor acceptor_;
  asio::signal_set signals_;
  bench::Accounting accounting_;
};

}  // namespace

int main(int argc, char** argv) {
  const bench::ServerOptions options = bench::parseServerOptions(argc, argv);
  // The hint says that one thread runs it, which saves asio its locks.
  asio::io_context context(1);
  const int listener = bench::listenOn(options.port);
  Server server(context, listener);
  bench::announce(listener);
  context.run();
}
