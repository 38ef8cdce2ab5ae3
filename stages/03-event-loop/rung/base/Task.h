#pragma once

#include "rung/base/InlineFunction.h"

namespace rung {

/// Work for a loop or a pool: called once or more, later, perhaps on another thread.
/// 48 bytes of captures cost no allocation: a shared_ptr and a std::string, the usual message.
/// Thread: any, one at a time.
using Task = InlineFunction<void(), 48>;

// With pointers of 64 bits. With 32 bits it is smaller, or has 8 bytes of padding.
static_assert(sizeof(void*) != 8 || sizeof(Task) == 64, "a Task fills one cache line");

}  // namespace rung
