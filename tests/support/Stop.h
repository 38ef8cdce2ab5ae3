#pragma once

#include <doctest/doctest.h>

#include <chrono>
#include <future>
#include <memory>
#include <vector>

#include "rung/net/TcpServer.h"

#include "tests/support/Client.h"

namespace rung::testing {

/// A stop() that is under way.
class Stop {
 public:
  template <class Rep, class Period>
  Stop(TcpServer& server, std::chrono::duration<Rep, Period> deadline) {
    server.stop(deadline, [result = result_](TcpServer::StopResult r) { result->set_value(r); });
  }
  TcpServer::StopResult wait() { return result_->get_future().get(); }

 private:
  const std::shared_ptr<std::promise<TcpServer::StopResult>> result_ =
      std::make_shared<std::promise<TcpServer::StopResult>>();
};

/// Each has been served once.
template <class Address>
std::vector<std::unique_ptr<Client>> connectClients(const Address& server, int count) {
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < count; ++i) {
    clients.push_back(std::make_unique<Client>(server));
    clients.back()->send("x");
    CHECK(clients.back()->receive(1) == "x");
  }
  return clients;
}

}  // namespace rung::testing
