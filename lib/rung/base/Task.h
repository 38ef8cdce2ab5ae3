#pragma once

#include "rung/base/InlineFunction.h"

namespace rung {

/// Work for a loop or a pool: called once or more, later, perhaps on another thread.
/// 48 bytes of captures cost no allocation: a shared_ptr and a std::string, the usual message.
/// Thread: any, one at a time.
using Task = InlineFunction<void(), 48>;

static_assert(sizeof(Task) == 64, "a Task fills one cache line");

}  // namespace rung
