// What one line of logging costs.
//
//   01-line-cost               counts the write(2) calls of a line, through std::cerr and LOG_INFO
//   01-line-cost HOW LINES     logs so many lines, for callgrind and time: HOW is cerr, on or off

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string_view>

#include "rung/base/Logging.h"

namespace {

void logLines(std::string_view how, int lines) {
  for (int i = 0; i < lines; ++i) {
    if (how == "cerr") std::cerr << "step " << i << " of " << lines << '\n';
    if (how == "on") LOG_INFO << "step " << i << " of " << lines;
    if (how == "off") LOG_DEBUG << "step " << i << " of " << lines;
  }
}

// With O_DIRECT a pipe keeps each write apart: one read(2) gives back one write, and no more.
int writesOfOneLine(std::string_view how) {
  int ends[2];
  if (pipe2(ends, O_DIRECT | O_NONBLOCK | O_CLOEXEC) != 0) return -1;
  const int before = dup(STDERR_FILENO);
  dup2(ends[1], STDERR_FILENO);
  logLines(how, 1);
  dup2(before, STDERR_FILENO);
  int writes = 0;
  char text[256];
  while (read(ends[0], text, sizeof text) > 0)
    ++writes;
  for (int fd : {ends[0], ends[1], before})
    close(fd);
  return writes;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 3) {
    logLines(argv[1], std::atoi(argv[2]));
    return 0;
  }
  for (const char* how : {"cerr", "on", "off"})
    std::printf("%-4s %d\n", how, writesOfOneLine(how));
}
