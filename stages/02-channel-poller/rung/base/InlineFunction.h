#pragma once

#include <concepts>
#include <cstddef>
#include <cstring>
#include <memory>
#include <type_traits>
#include <utility>

#include "rung/base/noncopyable.h"  // refuses older standards

namespace rung {

template <class Signature, std::size_t InlineBytes>
class InlineFunction;

/// A callback: something to be called once or more, later, perhaps on another thread.
/// Unlike std::function it is move-only, so its captures need not be copyable (a UniqueFd, a
/// unique_ptr). The user chooses the room for captures; one pointer comes on top. A callable that
/// fits costs no allocation; a larger one goes to the heap.
/// Thread: any, one at a time.
/// Lifetime: owns the callable. The caller keeps alive all that the callable refers to.
/// Errors: calling an empty one is undefined; test it first where it may be empty.
/// Source: std::move_only_function of C++23, which our compilers do not have yet.
template <class... Arguments, std::size_t InlineBytes>
class InlineFunction<void(Arguments...), InlineBytes> {
 public:
  static constexpr std::size_t kInlineBytes = InlineBytes;
  static_assert(InlineBytes >= sizeof(void*), "what is larger is kept by pointer");

  InlineFunction() = default;
  InlineFunction(std::nullptr_t) {}  // NOLINT(google-explicit-constructor): as std::function

  template <class Callable>
  requires(!std::same_as<std::remove_cvref_t<Callable>, InlineFunction> &&
           std::invocable<std::decay_t<Callable>&, Arguments...>)
      // NOLINTNEXTLINE(google-explicit-constructor): as std::function
      InlineFunction(Callable&& callable) {
    // decay, since a function itself cannot be stored, but a pointer to it can.
    using Stored = std::decay_t<Callable>;
    constexpr bool isFunction = std::is_function_v<std::remove_reference_t<Callable>>;
    // An empty std::function or a null function pointer makes an empty one of these.
    if constexpr (!isFunction && std::is_assignable_v<Stored&, std::nullptr_t>) {
      if (callable == nullptr) return;
    }
    if constexpr (fitsInline<Stored>()) {
      if constexpr (std::is_empty_v<Stored>)
        storage_[0] = {};  // g++ warns of copying no byte at all
      new (storage_) Stored(std::forward<Callable>(callable));
      operations_ = &kInline<Stored>;
    } else {
      new (storage_) Stored*(new Stored(std::forward<Callable>(callable)));
      operations_ = &kOnHeap<Stored>;
    }
  }

  InlineFunction(InlineFunction&& other) noexcept { takeFrom(other); }
  InlineFunction& operator=(InlineFunction&& other) noexcept {
    if (this != &other) {
      const InlineFunction old(std::move(*this));  // goes last: its destructor may assign once more
      takeFrom(other);
    }
    return *this;
  }
  ~InlineFunction() {
    if (operations_ != nullptr && operations_->destroy != nullptr) operations_->destroy(storage_);
  }

  [[nodiscard]] explicit operator bool() const { return operations_ != nullptr; }
  [[nodiscard]] friend bool operator==(const InlineFunction& function, std::nullptr_t) {
    return function.operations_ == nullptr;
  }

  void operator()(Arguments... arguments) {
    operations_->call(storage_, std::forward<Arguments>(arguments)...);
  }

  /// Destroys the callable now.
  void reset() noexcept { const InlineFunction old(std::move(*this)); }

 private:
  /// The operations on a callable of unknown type. Most callables capture only pointers and
  /// numbers: a copy of their bytes moves them, and they need no destructor (tools/bench --only
  /// post).
  struct Operations {
    void (*call)(void* storage, Arguments... arguments);
    void (*relocate)(void* from, void* to) noexcept;  // nullptr: the bytes are all there is
    void (*destroy)(void* storage) noexcept;          // nullptr: nothing to do
  };

  static constexpr std::size_t kAlignment =
      InlineBytes < sizeof(std::max_align_t) ? alignof(void*) : alignof(std::max_align_t);

  template <class Stored>
  static constexpr bool fitsInline() {
    return sizeof(Stored) <= InlineBytes && alignof(Stored) <= kAlignment &&
           std::is_nothrow_move_constructible_v<Stored>;
  }

  template <class Stored>
  static constexpr Operations inlineOperations() {
    Operations operations{};
    operations.call = [](void* storage, Arguments... arguments) {
      (*static_cast<Stored*>(storage))(std::forward<Arguments>(arguments)...);
    };
    if constexpr (!std::is_trivially_copyable_v<Stored>) {
      operations.relocate = [](void* from, void* to) noexcept {
        new (to) Stored(std::move(*static_cast<Stored*>(from)));
        static_cast<Stored*>(from)->~Stored();
      };
      operations.destroy = [](void* storage) noexcept { static_cast<Stored*>(storage)->~Stored(); };
    }
    return operations;
  }

  template <class Stored>
  static constexpr Operations kInline = inlineOperations<Stored>();

  template <class Stored>
  static constexpr Operations kOnHeap{
      [](void* storage, Arguments... arguments) {
        (**static_cast<Stored**>(storage))(std::forward<Arguments>(arguments)...);
      },
      nullptr, [](void* storage) noexcept { delete *static_cast<Stored**>(storage); }};

  void takeFrom(InlineFunction& other) noexcept {
    operations_ = std::exchange(other.operations_, nullptr);
    if (operations_ == nullptr) return;
    if (operations_->relocate == nullptr) {
      std::memcpy(storage_, other.storage_, InlineBytes);
    } else {
      operations_->relocate(other.storage_, storage_);
    }
  }

  alignas(kAlignment) std::byte storage_[InlineBytes];
  const Operations* operations_ = nullptr;
};

}  // namespace rung
