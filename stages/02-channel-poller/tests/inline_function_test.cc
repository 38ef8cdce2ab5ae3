#include <doctest/doctest.h>

#include <array>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>

#include "rung/base/InlineFunction.h"
#include "rung/net/Channel.h"

using Function = rung::InlineFunction<void(int), sizeof(void*)>;

static_assert(!std::is_copy_constructible_v<Function>);
static_assert(std::is_nothrow_move_constructible_v<Function>);
static_assert(!std::is_constructible_v<Function, int>);
static_assert(!std::is_constructible_v<Function, void (*)(const char*)>);
static_assert(sizeof(rung::Channel::EventCallback) == 2 * sizeof(void*));

namespace {

/// Where a callable is when it is called: within `function`, or elsewhere.
bool isInside(const void* address, const Function& function) {
  const auto* begin = reinterpret_cast<const std::byte*>(&function);
  return std::less_equal<>()(begin, static_cast<const std::byte*>(address)) &&
         std::less<>()(static_cast<const std::byte*>(address), begin + sizeof function);
}

/// Says where it is called and with what, and counts how many of it there are.
struct Seen {
  const void* at = nullptr;
  int argument = 0;
  int live = 0;
};

struct Callable {
  explicit Callable(Seen* s) : seen(s) { ++seen->live; }
  Callable(Callable&& other) noexcept : seen(other.seen) { ++seen->live; }
  ~Callable() { --seen->live; }
  void operator()(int argument) {
    seen->at = this;
    seen->argument = argument;
  }
  Seen* seen;
};

struct LargeCallable : Callable {
  using Callable::Callable;
  std::array<char, 100> ballast{};
};

TEST_CASE("InlineFunction: what captures a pointer is kept inside, and gets its argument") {
  Seen seen;
  {
    Function function{Callable(&seen)};
    CHECK(seen.live == 1);
    function(7);
    CHECK(seen.argument == 7);
    CHECK(isInside(seen.at, function));
    Function moved(std::move(function));
    CHECK_FALSE(static_cast<bool>(function));  // NOLINT(bugprone-use-after-move): that is the point
    moved(8);
    CHECK(seen.argument == 8);
    CHECK(isInside(seen.at, moved));
    CHECK(seen.live == 1);
  }
  CHECK(seen.live == 0);
}

TEST_CASE("InlineFunction: what is larger is kept elsewhere, stays there, and is destroyed once") {
  Seen seen;
  {
    Function function{LargeCallable(&seen)};
    function(1);
    const void* const at = seen.at;
    CHECK_FALSE(isInside(at, function));
    Function moved;
    moved = std::move(function);
    moved(2);
    CHECK(seen.at == at);
    CHECK(seen.live == 1);
    moved.reset();
    CHECK(seen.live == 0);
    CHECK_FALSE(static_cast<bool>(moved));
  }
  CHECK(seen.live == 0);
}

TEST_CASE("InlineFunction: a capture of plain bytes moves with its value, also by itself") {
  int sum = 0;
  Function function([&sum](int argument) { sum += argument; });
  Function other([](int) {});
  other = std::move(function);
  Function& same = other;
  other = std::move(same);
  REQUIRE(static_cast<bool>(other));
  other(3);
  other(4);
  CHECK(sum == 7);
}

// What the destructor set was overwritten, and never destroyed; with reset() it was written into
// the object that was being destroyed.
TEST_CASE("InlineFunction: what goes may set the same function once more") {
  struct SetsAtEnd {
    Function& function;
    int& called;
    ~SetsAtEnd() {
      function = [&called = called](int value) { called = value; };
    }
  };
  int called = 0;
  Function function;
  const auto sets = [&] { return std::unique_ptr<SetsAtEnd>(new SetsAtEnd{function, called}); };
  SUBCASE("assigned") {
    function = [owned = sets()](int) {};
    function = [&called](int) { called = -1; };
  }
  SUBCASE("assigned, with a capture that is kept elsewhere") {
    function = [owned = sets(), more = std::string("more")](int) {};
    function = [&called](int) { called = -1; };
  }
  SUBCASE("reset") {
    function = [owned = sets()](int) {};
    function.reset();
  }
  REQUIRE(function != nullptr);
  function(7);
  CHECK(called == 7);
}

TEST_CASE("InlineFunction: empty by default, and from what is empty itself") {
  CHECK_FALSE(static_cast<bool>(Function()));
  CHECK_FALSE(static_cast<bool>(Function(nullptr)));
  CHECK_FALSE(static_cast<bool>(Function(std::function<void(int)>())));
  void (*nothing)(int) = nullptr;
  CHECK_FALSE(static_cast<bool>(Function(nothing)));
}

TEST_CASE("InlineFunction: one of another size is a callable like others, and may be empty") {
  using Large = rung::InlineFunction<void(int), 48>;
  int sum = 0;
  Large large(Function([&sum](int argument) { sum += argument; }));
  large(3);
  CHECK(sum == 3);
  CHECK(Large(Function()) == nullptr);
  CHECK_FALSE(large == nullptr);
}

TEST_CASE("InlineFunction: arguments are handed on, not copied") {
  std::unique_ptr<int> got;
  rung::InlineFunction<void(std::unique_ptr<int>), 16> function(
      [&got](std::unique_ptr<int> number) { got = std::move(number); });
  function(std::make_unique<int>(5));
  REQUIRE(got != nullptr);
  CHECK(*got == 5);
}

}  // namespace
