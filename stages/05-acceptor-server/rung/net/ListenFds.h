#pragma once

#include <string>
#include <vector>

#include "rung/base/UniqueFd.h"

namespace rung {

/// A descriptor that the process was started with, and the name that its sender gave it.
struct ListenFd {
  std::string name;  // "unknown" if it has none
  UniqueFd fd;
};

/// Takes the listening sockets that systemd, or a program that does as systemd does, has passed to
/// this process: those of LISTEN_FDS, from number 3 on. An Endpoint of one is for a TcpServer.
/// Empty if there are none, or if LISTEN_PID says that they are another process's. The variables
/// are removed from the environment, so that no child process takes the sockets for its own, and a
/// second call returns none. The descriptors become close-on-exec.
/// Thread: before other threads run, since it changes the environment.
/// Errors: throws std::invalid_argument that names the variable if it is no number, or if there are
/// more or fewer names than descriptors; std::system_error if a descriptor is not open.
/// Source: sd_listen_fds(3).
[[nodiscard]] std::vector<ListenFd> listenFds();

}  // namespace rung
