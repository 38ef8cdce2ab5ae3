#pragma once

#include <sys/types.h>

#include <string_view>

#include "rung/base/noncopyable.h"  // for its check of the standard

namespace rung {

/// write(2) that fails where it would end the process: with EPIPE when nobody reads the pipe any
/// more, with EFBIG when the file is as long as RLIMIT_FSIZE allows. SIGPIPE and SIGXFSZ do not
/// come. A server must not die of a line that it logs.
/// Thread: any. Signals of these kinds that somebody else sends, or that wait already, are not
/// taken.
/// Errors: as write(2), -1 and errno.
/// Source: signal(7), sigtimedwait(2).
[[nodiscard]] ssize_t quietWrite(int fd, std::string_view text);

}  // namespace rung
