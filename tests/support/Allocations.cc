#include "tests/support/Allocations.h"

#include <cstdlib>
#include <new>

namespace {

thread_local int asked = 0;
thread_local int toGrant = 0;
thread_local int toRefuse = 0;

}  // namespace

namespace rung::testing {

int allocations() {
  return asked;
}

NoMemory::NoMemory(int granted, int refused) {
  toGrant = granted;
  toRefuse = refused;
}

NoMemory::~NoMemory() {
  toRefuse = 0;
}

}  // namespace rung::testing

// Replaced for each executable that uses what is above. That for arrays ends up here as well, but
// for a sanitizer's own.
void* operator new(std::size_t size) {
  ++asked;
  if (toRefuse > 0) {
    if (toGrant == 0) {
      --toRefuse;
      throw std::bad_alloc();
    }
    --toGrant;
  }
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}
