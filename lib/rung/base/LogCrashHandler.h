#pragma once

#include "rung/base/noncopyable.h"  // for its check of the standard

namespace rung {

/// Opt-in: when the process dies of SIGSEGV, SIGBUS, SIGFPE, SIGILL or SIGABRT, the lines that the
/// attached AsyncLogging still holds in memory are written to its file first. Then the signal takes
/// its default action, so the exit status and the core dump are what they would have been, with the
/// signal's code, address and sender.
/// It replaces the handlers of these signals. A stack overflow is only caught on a thread that has
/// an alternate stack, sigaltstack(2); SIGKILL never.
/// Thread: any; once, in main().
/// Errors: throws std::system_error if sigaction(2) fails.
/// Source: signal-safety(7), rt_tgsigqueueinfo(2).
void installLogCrashHandler();

}  // namespace rung
