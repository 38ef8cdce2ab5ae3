#include "rung/base/Task.h"

#include <doctest/doctest.h>

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/Allocations.h"

using rung::Task;
using rung::testing::allocations;

namespace {

/// Counts how often a callable is alive, to see leaks and double destruction.
struct Tracer {
  explicit Tracer(int& liveCount) : live(&liveCount) { ++*live; }
  Tracer(const Tracer& other) : live(other.live) { ++*live; }
  Tracer(Tracer&& other) noexcept : live(other.live) { ++*live; }
  ~Tracer() { --*live; }
  int* live;
};

TEST_CASE("Task: calls what it was given, as often as asked") {
  int calls = 0;
  Task task([&] { ++calls; });
  REQUIRE(static_cast<bool>(task));
  task();
  task();
  CHECK(calls == 2);
}

TEST_CASE("Task: empty by default, after a move, after reset, and from an empty std::function") {
  CHECK_FALSE(static_cast<bool>(Task()));
  Task a([] {});
  Task b(std::move(a));
  CHECK_FALSE(static_cast<bool>(a));  // NOLINT(bugprone-use-after-move): that is the point
  CHECK(static_cast<bool>(b));
  b.reset();
  CHECK_FALSE(static_cast<bool>(b));
  CHECK_FALSE(static_cast<bool>(Task(std::function<void()>())));
  void (*nothing)() = nullptr;
  CHECK_FALSE(static_cast<bool>(Task(nothing)));
}

TEST_CASE("Task: holds what cannot be copied") {
  auto number = std::make_unique<int>(42);
  int got = 0;
  Task task([number = std::move(number), &got] { got = *number; });
  Task moved = std::move(task);
  moved();
  CHECK(got == 42);
}

TEST_CASE("Task: destroys its callable exactly once, inline or on the heap") {
  int live = 0;
  const auto exercise = [&](auto callable) {
    Task a(std::move(callable));
    Task b(std::move(a));
    Task c;
    c = std::move(b);
    c();
    Task& same = c;
    c = std::move(same);
    CHECK(static_cast<bool>(c));
    c = Task([] {});
  };
  exercise([tracer = Tracer(live)] { CHECK(*tracer.live > 0); });
  CHECK(live == 0);
  exercise([tracer = Tracer(live), big = std::array<char, 200>{}] {
    CHECK(*tracer.live > 0);
    CHECK(big[0] == 0);
  });
  CHECK(live == 0);
}

TEST_CASE("Task: a shared_ptr and a std::string fit without an allocation") {
  const auto owner = std::make_shared<int>(7);
  std::string text = "short";
  static std::size_t length;
  length = 0;
  static_assert(sizeof(owner) + sizeof(text) == Task::kInlineBytes);
  const int before = allocations();
  Task task([owner, text = std::move(text)] { length = text.size() + (owner ? 1 : 0); });
  Task moved(std::move(task));
  moved();
  const int after = allocations();
  CHECK(length == 6);
  CHECK(after == before);
}

// Out of line: a compiler that sees the new and its delete may leave out both.
[[gnu::noinline]] void moveAndRun(Task task) {
  Task moved(std::move(task));
  moved();
}

TEST_CASE("Task: what is larger than the inline room costs one allocation") {
  const std::array<char, 100> big{};
  const int before = allocations();
  moveAndRun([big] { (void)big; });
  const int after = allocations();
  CHECK(after - before == 1);
}

TEST_CASE("Task: survives a vector that grows") {
  int live = 0;
  int calls = 0;
  {
    std::vector<Task> tasks;
    for (int i = 0; i < 100; ++i) {
      tasks.emplace_back([tracer = Tracer(live), &calls] { ++calls; });
    }
    CHECK(live == 100);
    for (Task& task : tasks)
      task();
  }
  CHECK(calls == 100);
  CHECK(live == 0);
}

TEST_CASE("Task: an over-aligned callable goes to the heap and stays aligned") {
  struct alignas(64) Aligned {
    void operator()() const { address = reinterpret_cast<std::uintptr_t>(this); }
    mutable std::uintptr_t address = 1;
  };
  static_assert(alignof(Aligned) > alignof(std::max_align_t));
  std::uintptr_t seen = 1;
  Task task([aligned = Aligned{}, &seen]() mutable {
    aligned();
    seen = aligned.address;
  });
  task();
  CHECK(seen % 64 == 0);
}

int functionCalls = 0;
void countCall() {
  ++functionCalls;
}

// std::remove_cvref leaves a function what it is, and no function can be stored.
TEST_CASE("Task: takes a plain function, and a pointer to one") {
  Task byName(countCall);
  byName();
  Task byPointer(&countCall);
  byPointer();
  CHECK(functionCalls == 2);
}

}  // namespace
