#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstring>
#include <ostream>
#include <string>

namespace rung::testing {

/// Whether something is so of a child. If a check of it fails, doctest shows how the child ended.
struct AboutChild {
  bool holds;
  std::string ending;

  operator bool() const { return holds; }
  friend std::ostream& operator<<(std::ostream& out, const AboutChild& about) {
    return out << about.ending;
  }
};

/// How a child process ended, and all that it wrote to stdout and stderr.
struct ChildResult {
  int status = 0;
  std::string output;

  [[nodiscard]] AboutChild aborted() const { return killedBy(SIGABRT); }
  [[nodiscard]] AboutChild killedBy(int signal) const {
    return {WIFSIGNALED(status) && WTERMSIG(status) == signal, ending()};
  }
  [[nodiscard]] AboutChild exitedWith(int code) const {
    return {WIFEXITED(status) && WEXITSTATUS(status) == code, ending()};
  }
  [[nodiscard]] AboutChild says(const std::string& text) const {
    return {output.find(text) != std::string::npos, ending()};
  }
  /// In how many lines it says so.
  [[nodiscard]] int lines(const std::string& text) const {
    int count = 0;
    for (std::size_t at = output.find(text); at != std::string::npos; at = output.find(text, at)) {
      ++count;
      at = output.find('\n', at);
    }
    return count;
  }

  [[nodiscard]] std::string ending() const {
    constexpr std::size_t kShown = 500;
    const std::string how =
        WIFSIGNALED(status)
            ? std::string("it was ended by a signal: ") + strsignal(WTERMSIG(status))
            : "it exited with " + std::to_string(WEXITSTATUS(status));
    if (output.empty()) return how + ", and wrote nothing";
    const std::size_t from = output.size() > kShown ? output.size() - kShown : 0;
    return how + ", and wrote" + (from > 0 ? " at last: " : ": ") + output.substr(from);
  }
};

/// Runs `body` in a forked child, which exits with 0 when it returns. For what must end a process:
/// aborts, signals, exhausted descriptors.
/// Thread: call it while no other thread of the test runs.
/// Errors: a child that hangs is killed by its own alarm after 30 s, which the status shows.
template <class Body>
ChildResult runInChild(Body body) {
  int ends[2];
  if (pipe(ends) != 0) return {-1, "pipe failed"};
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    // doctest's own handlers would report the parent's test case a second time.
    for (int signal : {SIGABRT, SIGSEGV, SIGTERM, SIGILL, SIGFPE, SIGINT}) {
      std::signal(signal, SIG_DFL);
    }
    alarm(30);
    dup2(ends[1], STDOUT_FILENO);
    dup2(ends[1], STDERR_FILENO);
    close(ends[0]);
    close(ends[1]);
    body();
    std::fflush(nullptr);
    _exit(0);
  }
  close(ends[1]);
  ChildResult result;
  char text[4096];
  for (ssize_t n; (n = read(ends[0], text, sizeof text)) > 0;) {
    result.output.append(text, static_cast<std::size_t>(n));
  }
  close(ends[0]);
  waitpid(child, &result.status, 0);
  return result;
}

}  // namespace rung::testing
