// Ten clients ask for a file of 20 MiB, and read nothing yet. With stage 10, and with stage 11.

#include <fcntl.h>
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "../09-half-close/one_server.h"

namespace {

constexpr std::size_t kFileBytes = std::size_t{20} << 20;
constexpr int kClients = 10;

/// Sends the file as well as this stage can.
void sendTo(rung::TcpConnection& connection, int file) {
#if __has_include("rung/net/FileRange.h")
  connection.sendFile(rung::UniqueFd(fcntl(file, F_DUPFD_CLOEXEC, 0)));
#else
  std::string bytes(kFileBytes, '\0');
  if (pread(file, bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size())) {
    connection.send(std::move(bytes));
  }
#endif
}

std::size_t allocatedMiB() {
  const auto info = mallinfo2();
  return (info.uordblks + info.hblkhd) >> 20;
}

}  // namespace

int main() {
  const rung::UniqueFd file = rung::checkedFd(memfd_create("file", MFD_CLOEXEC), "memfd_create");
  if (write(file.get(), std::string(kFileBytes, 'x').data(), kFileBytes) < 0) return 2;
  rung::CountDownLatch sent(kClients);
  OneServer server([&](rung::TcpServer& s) {
    s.setConnectionCallback([&](const rung::TcpConnectionPtr& connection) {
      if (!connection->connected()) return;
      sendTo(*connection, file.get());
      connection->shutdown();
      sent.countDown();
    });
  });

  const std::size_t before = allocatedMiB();
  std::vector<rung::UniqueFd> clients;
  for (int i = 0; i < kClients; ++i)
    clients.push_back(connectTo(server.address()));
  sent.wait();
  std::printf("%d clients that do not read: %zu MiB more\n", kClients, allocatedMiB() - before);
  std::size_t got = 0;
  for (const rung::UniqueFd& client : clients)
    got += readAll(client.get());
  std::printf("then they read: %zu MiB arrive\n", got >> 20);
}
