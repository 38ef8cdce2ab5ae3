#pragma once

namespace facts {

/// How often this program has asked for memory from the heap so far. What it got is filled with
/// '?', so that a test can tell what was written to since.
int allocations();

}  // namespace facts
