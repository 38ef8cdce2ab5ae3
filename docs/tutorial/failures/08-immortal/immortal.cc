// On stage 06: clients connect and say nothing. Perhaps they are slow, perhaps they are gone,
// perhaps they mean harm. The server cannot tell, and keeps each of them for ever.

#include "silent_clients.h"

int main() {
  return runSilentClients([](rung::TcpServer&) {});
}
