#include "rung/base/Guarded.h"

#include <doctest/doctest.h>

#include <stdexcept>

#include "tests/support/ChildProcess.h"

using rung::runGuarded;
using rung::testing::runInChild;

namespace {

TEST_CASE("runGuarded: calls the function once, and does not ask for a name") {
  int calls = 0;
  runGuarded([&] { ++calls; },
             [&] {
               calls = 99;
               return std::string();
             });
  CHECK(calls == 1);
}

// It was a bare std::terminate, which names the exception's type and not who threw it.
TEST_CASE("runGuarded: an exception ends the process with its name and that of the function") {
  const auto child = runInChild([] {
    runGuarded([] { throw std::runtime_error("out of luck"); },
               [] { return "task " + std::to_string(7); });
  });
  CHECK(child.aborted());
  CHECK(child.says(" FATAL "));
  CHECK(child.says("task 7"));
  CHECK(child.says("out of luck"));
}

TEST_CASE("runGuarded: whatever is thrown, the function is named") {
  const auto child = runInChild([] { runGuarded([] { throw 42; }, [] { return "a timer"; }); });
  CHECK(child.aborted());
  CHECK(child.says("a timer"));
}

}  // namespace
