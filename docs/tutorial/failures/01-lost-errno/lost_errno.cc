// A handler that logs first and looks at errno afterwards. Where the time zone's file is missing,
// as in many small containers, writing the time changes errno, and the handler takes the wrong
// branch.

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <iomanip>
#include <iostream>

void log(const char* text) {
  const std::time_t now = std::time(nullptr);
  std::cout << std::put_time(std::localtime(&now), "%Y") << " " << text << std::endl;
}

void handleRead(int fd) {
  char byte;
  if (read(fd, &byte, 1) >= 0) return;
  log("nothing to read");
  if (errno == EAGAIN) {
    std::printf("kept: try again later\n");
  } else {
    std::printf("closed a healthy connection: %s\n", std::strerror(errno));
  }
}

int main() {
  setenv("TZ", "Europe/Atlantis", 1);
  int ends[2];
  if (pipe2(ends, O_NONBLOCK | O_CLOEXEC) != 0) return 1;
  handleRead(ends[0]);
}
