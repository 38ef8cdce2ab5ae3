#pragma once

#include "rung/net/Endpoint.h"
#include "rung/net/ListenOptions.h"
#include "rung/net/Socket.h"

namespace rung {

class SocketFile;

/// Makes the socket that an Acceptor accepts from: bound, or one that listens already. `file` takes
/// the file of a Unix-domain socket.
/// Errors: throws std::system_error with the call and the address or the descriptor, and
/// std::invalid_argument if an option makes no sense, or if a descriptor is not a stream socket
/// that listens; it is closed then.
[[nodiscard]] Socket listeningSocket(Endpoint& endpoint, const ListenOptions& options,
                                     SocketFile& file);

/// The address of a socket, as Endpoint::parse() takes it; the port is the real one.
/// Errors: throws std::system_error.
[[nodiscard]] std::string addressText(const Socket& socket);

}  // namespace rung
