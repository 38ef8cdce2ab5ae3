#include "rung/base/noncopyable.h"

#include <doctest/doctest.h>

#include <type_traits>

#include "rung/base/Timestamp.h"

namespace {

class Identity : rung::noncopyable {};

TEST_CASE(
    "noncopyable: a derived class is built and destroyed, but never copied, assigned or moved") {
  static_assert(std::is_default_constructible_v<Identity>);
  static_assert(std::is_destructible_v<Identity>);
  static_assert(!std::is_copy_constructible_v<Identity>);
  static_assert(!std::is_copy_assignable_v<Identity>);
  static_assert(!std::is_move_constructible_v<Identity>);
  static_assert(!std::is_move_assignable_v<Identity>);
  CHECK(std::is_default_constructible_v<Identity>);
}

TEST_CASE("noncopyable: nobody can create or delete one through the base alone") {
  CHECK_FALSE(std::is_default_constructible_v<rung::noncopyable>);
  CHECK_FALSE(std::is_destructible_v<rung::noncopyable>);
}

TEST_CASE("noncopyable: an empty base costs no memory, where a value type stays copyable") {
  struct WithMember : rung::noncopyable {
    int member;
  };
  CHECK(sizeof(WithMember) == sizeof(int));
  CHECK(std::is_trivially_copyable_v<rung::Timestamp>);
}

}  // namespace
