// Included at the top of each file of a workspace of tools/learn, by the compiler's -include.
//
// RUNG_EXERCISE("03/post", "Mailbox::post") is the body of a function that is yours to write. It
// ends the process with status 86 and not by abort(3), which some tests expect of a child.

#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

namespace rung_learn {

/// Bytes that a judge maps, too, so that what a forked child does is seen: [0] whether an exercise
/// was reached, [1, 2048) whether function n was entered, and 2048 further on how n behaves. Mapped
/// at the start, since some tests leave no descriptor. Null without a judge.
inline unsigned char* const marks = []() -> unsigned char* {
  const char* path = std::getenv("RUNG_LEARN_MARKS");
  const int fd = path == nullptr ? -1 : open(path, O_RDWR | O_CLOEXEC);
  if (fd < 0) return nullptr;
  prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);  // gdb, which the judge starts, may look at it
  void* at = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  return at == MAP_FAILED ? nullptr : static_cast<unsigned char*>(at);
}();

/// Says whose turn it is, and ends the process.
[[noreturn]] inline void notWritten(const char* step, const char* function) noexcept {
  if (marks != nullptr) marks[0] = 1;
  dprintf(STDERR_FILENO, "%s: %s is not written yet\n", step, function);
  _exit(86);
}

/// For the proofs of the exercises: notes that function n was entered; whether it is to behave as
/// `how`: 'o' as an exercise that is open, '1' to '9' as one of its wrong solutions.
inline bool behaves(int n, char how) noexcept {
  if (marks == nullptr) return false;
  marks[n] = 1;
  return marks[2048 + n] == static_cast<unsigned char>(how);
}

}  // namespace rung_learn

#define RUNG_EXERCISE(step, function) ::rung_learn::notWritten(step, function)
