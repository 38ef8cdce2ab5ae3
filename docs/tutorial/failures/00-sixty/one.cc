// An echo server with blocking calls: one client after the other.
//
//   one [PORT]    9000; 0 for a free one

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);  // each line at once, into a pipe as well

  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  const int on = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<in_port_t>(argc > 1 ? std::atoi(argv[1]) : 9000));
  socklen_t length = sizeof address;
  auto* const general = reinterpret_cast<sockaddr*>(&address);
  if (bind(listener, general, length) != 0 || listen(listener, SOMAXCONN) != 0 ||
      getsockname(listener, general, &length) != 0) {
    std::perror("cannot listen");
    return 1;
  }
  std::printf("listening on port %d\n", ntohs(address.sin_port));

  while (true) {
    const int client = accept(listener, nullptr, nullptr);  // waits for a client to come
    if (client < 0) continue;
    std::printf("descriptor %d: a client\n", client);
    char bytes[4096];
    ssize_t n;
    while ((n = recv(client, bytes, sizeof bytes, 0)) > 0)  // waits for this client
      send(client, bytes, static_cast<std::size_t>(n), 0);
    std::printf("descriptor %d: the end\n", client);
    close(client);
  }
}
