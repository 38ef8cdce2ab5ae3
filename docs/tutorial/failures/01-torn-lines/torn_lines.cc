// Two threads log through std::cerr. Each `<<` is a write of its own, so the lines of one thread
// get into those of the other.

#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <iostream>
#include <regex>
#include <sstream>
#include <string>
#include <thread>

void logMany(const char* who) {
  for (int i = 0; i < 2000; ++i)
    std::cerr << who << " has done step " << i << " of 2000\n";
}

std::string content(int fd) {
  std::string text(static_cast<std::size_t>(lseek(fd, 0, SEEK_END)), '\0');
  const ssize_t n = pread(fd, text.data(), text.size(), 0);
  text.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
  return text;
}

int main() {
  const int file = memfd_create("stderr", MFD_CLOEXEC);
  dup2(file, STDERR_FILENO);
  int rounds = 0;
  int torn = 0;
  std::string example;
  for (; torn == 0 && rounds < 500; ++rounds) {
    std::thread alice(logMany, "alice");
    std::thread bob(logMany, "bob");
    alice.join();
    bob.join();
    const std::regex whole("(alice|bob) has done step \\d+ of 2000");
    std::istringstream lines(content(file));
    for (std::string line; std::getline(lines, line);) {
      if (std::regex_match(line, whole)) continue;
      if (++torn == 1) example = line;
    }
  }
  std::printf("%d of %d lines are torn, the first one: \"%s\"\n", torn, 4000 * rounds,
              example.c_str());
}
