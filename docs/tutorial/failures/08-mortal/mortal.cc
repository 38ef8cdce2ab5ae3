// On stage 08: the server of 08-immortal, with one line more.

#include "../08-immortal/silent_clients.h"

int main() {
  using namespace std::chrono_literals;
  return runSilentClients([](rung::TcpServer& server) { server.setIdleTimeout(500ms, 50ms); });
}
