// Log lines go to a file, written by a thread of its own. The argument is where: a path without
// its ending, such as /var/log/server.

#include "rung/base/Logging.h"

#include <cstdio>

#include "rung/base/AsyncLogging.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: guide-logging PATH\n");
    return 2;
  }
  rung::AsyncLogging log({.file = {.baseName = argv[1]}});
  log.start();
  log.attach();
  for (int i = 1; i <= 3; ++i)
    LOG_INFO << "line " << i << " of " << 3 << ", half of it: " << i / 2.0;
  LOG_WARN << "that was all";
}  // everything that was logged is in the file when main() returns
