// What the C++ library does: allocations, ownership, conversions. Seen with libstdc++.

#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include "tests/facts/Allocations.h"

namespace {

template <class Work>
int allocationsIn(Work work) {
  const int before = facts::allocations();
  work();
  return facts::allocations() - before;
}

template <class T>
void keep(T& value) {
  asm volatile("" : : "r"(&value) : "memory");  // so that the optimiser cannot leave it out
}

}  // namespace

TEST_CASE("C++: std::function allocates for what is large or not trivially copyable") {
  long a = 1, b = 2, c = 3;
  // libstdc++ has room for two words of what can be copied as bytes.
  CHECK(allocationsIn([&] {
          std::function<long()> small = [a, b] { return a + b; };
          keep(small);
        }) == 0);
  CHECK(allocationsIn([&] {
          std::function<long()> large = [a, b, c] { return a + b + c; };
          keep(large);
        }) == 1);
  const auto shared = std::make_shared<int>(1);
  CHECK(allocationsIn([&] {
          std::function<int()> owner = [shared] { return *shared; };  // two words, too
          keep(owner);
        }) == 1);
  // And a copy allocates again.
  const std::function<int()> owner = [shared] { return *shared; };
  CHECK(allocationsIn([&] {
          std::function<int()> copy = owner;
          keep(copy);
        }) == 1);
}

TEST_CASE("C++: std::function can be copied so what it holds must be copyable") {
  const auto holder = [owned = std::make_unique<int>(1)] { return *owned; };
  CHECK(std::is_copy_constructible_v<std::function<int()>>);
  CHECK_FALSE(std::is_copy_constructible_v<decltype(holder)>);
  // libstdc++ refuses `std::function<int()>(std::move(holder))` with a static assertion. So people
  // wrap it in a shared_ptr, which makes one allocation more of it.
  CHECK(allocationsIn([] {
          auto owned = std::make_unique<int>(1);
          std::function<int()> wrapped = [shared = std::shared_ptr<int>(std::move(owned))] {
            return *shared;
          };
          keep(wrapped);
        }) == 3);
}

TEST_CASE("C++: make_shared allocates once and shared_ptr of new twice") {
  CHECK(allocationsIn([] { keep(*std::make_shared<int>(1)); }) == 1);
  CHECK(allocationsIn([] { keep(*std::shared_ptr<int>(new int(1))); }) == 2);
  // The price of one block: the object's memory stays as long as a weak_ptr does.
  const auto shared = std::make_shared<int>(1);
  CHECK(allocationsIn([&] {
          auto copy = shared;
          keep(copy);
        }) == 0);
}

TEST_CASE("C++: two shared_ptr made of one pointer do not know of each other") {
  int deleted = 0;
  int object = 0;
  const auto count = [&](int*) { ++deleted; };  // where delete would free it twice
  {
    std::shared_ptr<int> one(&object, count);
    std::shared_ptr<int> other(&object, count);
    CHECK(one.use_count() == 1);
    CHECK(other.use_count() == 1);
  }
  CHECK(deleted == 2);
}

namespace {

struct Shared : std::enable_shared_from_this<Shared> {
  explicit Shared(bool askInConstructor = false) {
    if (askInConstructor) (void)shared_from_this();
  }
};

}  // namespace

TEST_CASE("C++: shared_from_this needs an owner and the constructor is too early") {
  const auto owned = std::make_shared<Shared>();
  const auto again = owned->shared_from_this();
  CHECK(again == owned);
  CHECK(owned.use_count() == 2);  // one count for both
  Shared onTheStack;
  CHECK_THROWS_AS((void)onTheStack.shared_from_this(), std::bad_weak_ptr);
  CHECK_THROWS_AS(std::make_shared<Shared>(true), std::bad_weak_ptr);
}

TEST_CASE("C++: a weak_ptr neither keeps alive nor dangles") {
  std::weak_ptr<int> weak;
  {
    const auto shared = std::make_shared<int>(7);
    weak = shared;
    CHECK(shared.use_count() == 1);
    const auto locked = weak.lock();
    CHECK(*locked == 7);
    CHECK(shared.use_count() == 2);  // for as long as `locked` lives
  }
  CHECK(weak.expired());
  CHECK(weak.lock() == nullptr);
}

TEST_CASE("C++: two that own each other are never destroyed and a weak_ptr breaks the ring") {
  struct Node {
    explicit Node(int& alive) : count(alive) { ++count; }
    ~Node() { --count; }
    int& count;
    std::shared_ptr<Node> strong;
    std::weak_ptr<Node> weak;
  };
  int alive = 0;
  Node* leaked = nullptr;
  {
    const auto a = std::make_shared<Node>(alive);
    const auto b = std::make_shared<Node>(alive);
    a->strong = b;
    b->strong = a;
    leaked = a.get();
  }
  CHECK(alive == 2);
  leaked->strong.reset();  // by hand
  CHECK(alive == 0);
  {
    const auto a = std::make_shared<Node>(alive);
    const auto b = std::make_shared<Node>(alive);
    a->strong = b;
    b->weak = a;
  }
  CHECK(alive == 0);
}

TEST_CASE("C++: a shared_ptr to void still destroys what it was made with") {
  int alive = 1;
  struct Guard {
    int& count;
    ~Guard() { --count; }
  };
  std::shared_ptr<void> tie = std::shared_ptr<Guard>(new Guard{alive});
  tie.reset();
  CHECK(alive == 0);
}

TEST_CASE("C++: explicit refuses the conversion that nobody meant") {
  struct Port {
    explicit Port(int number) : value(number) {}
    int value;
  };
  struct Loose {
    Loose(int number) : value(number) {}  // NOLINT(google-explicit-constructor): the point
    int value;
  };
  CHECK_FALSE(std::is_convertible_v<int, Port>);
  CHECK(std::is_constructible_v<Port, int>);
  CHECK(std::is_convertible_v<int, Loose>);
}

namespace {

struct Mover {
  Mover() = default;
  Mover(const Mover&) { ++copies; }
  Mover(Mover&&) noexcept {}
  static inline int copies = 0;
};
struct MaybeThrowingMover {
  MaybeThrowingMover() = default;
  MaybeThrowingMover(const MaybeThrowingMover&) { ++copies; }
  MaybeThrowingMover(MaybeThrowingMover&&) {}  // not noexcept
  static inline int copies = 0;
};

struct MoveOnly {
  MoveOnly() = default;
  MoveOnly(const MoveOnly&) = delete;
  MoveOnly(MoveOnly&&) { ++moves; }  // not noexcept
  static inline int moves = 0;
};

}  // namespace

TEST_CASE("C++: a growing vector copies what may throw when it is moved") {
  std::vector<Mover> good(1);
  good.reserve(good.capacity() + 1);
  CHECK(Mover::copies == 0);
  std::vector<MaybeThrowingMover> bad(1);
  bad.reserve(bad.capacity() + 1);
  CHECK(MaybeThrowingMover::copies == 1);
}

TEST_CASE("C++: a growing vector moves what it cannot copy although the move may throw") {
  std::vector<MoveOnly> all(1);
  all.reserve(all.capacity() + 1);
  CHECK(MoveOnly::moves == 1);
}

TEST_CASE("C++: a private copy is refused by the compiler and not only by the linker") {
  CHECK(PRIVATE_COPY_COMPILES_OUTSIDE == 0);  // tests/facts/meson.build tried
}

TEST_CASE("C++: std::move_only_function is there with g++ 12 and clang 14 in C++23 mode") {
#if defined __GLIBCXX__ && (__GNUC__ >= 12 || __clang_major__ >= 14)
  CHECK(MOVE_ONLY_FUNCTION_IN_CXX23 == 1);
#else
  MESSAGE("not asked of this compiler: ", MOVE_ONLY_FUNCTION_IN_CXX23);
#endif
}

TEST_CASE("C++: a lambda that captures this keeps nothing alive") {
  struct Object : std::enable_shared_from_this<Object> {
    int value = 7;
    std::function<bool()> raw() {
      return [this] { return value == 7; };
    }
    std::function<bool()> owning() {
      return [self = shared_from_this()] { return self != nullptr; };
    }
    std::function<bool()> asking() {
      return [weak = weak_from_this()] { return weak.lock() != nullptr; };
    }
  };
  auto object = std::make_shared<Object>();
  const std::weak_ptr<Object> alive = object;
  auto raw = object->raw();
  auto asking = object->asking();
  auto owning = object->owning();
  object.reset();
  CHECK_FALSE(alive.expired());  // the owning one holds it
  CHECK(asking());
  owning = nullptr;
  CHECK(alive.expired());  // and to call raw() now would be a use after the end
  CHECK_FALSE(asking());
}

TEST_CASE("C++: resizing a vector writes every byte and memory for overwriting does not") {
  constexpr std::size_t kBytes = 1 << 16;
  const auto untouched = [](const char* bytes) {
    return std::count(bytes, bytes + kBytes, '?') == static_cast<std::ptrdiff_t>(kBytes);
  };
  std::vector<char> filled;
  filled.resize(kBytes);
  CHECK_FALSE(untouched(filled.data()));
  CHECK(std::count(filled.begin(), filled.end(), '\0') == static_cast<std::ptrdiff_t>(kBytes));
  const auto memory = std::make_unique_for_overwrite<char[]>(kBytes);
  keep(*memory.get());
  CHECK(untouched(memory.get()));
}
