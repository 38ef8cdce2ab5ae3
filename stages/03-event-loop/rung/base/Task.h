#pragma once

#include <concepts>
#include <cstddef>
#include <cstring>
#include <memory>
#include <type_traits>
#include <utility>

namespace rung {

/// Something to be called once or more, later, perhaps on another thread.
/// Unlike std::function it is move-only, so it can hold what cannot be copied (a UniqueFd, a
/// unique_ptr), and it has room for 48 bytes of captures, so that the usual ones (a shared_ptr and
/// a std::string) cost no allocation. Larger ones go to the heap. Thread: any, one at a time.
/// Lifetime: owns the callable; what that refers to is the caller's business.
/// Errors: calling an empty Task is undefined; test it first where it may be empty.
class Task {
 public:
  static constexpr std::size_t kInlineBytes = 48;

  Task() = default;

  template <class Callable>
  requires(!std::same_as<std::remove_cvref_t<Callable>, Task> &&
           std::invocable<std::decay_t<Callable>&>)
      Task(Callable&& callable) {  // NOLINT(google-explicit-constructor): as std::function
    // decay, since a function itself cannot be stored, but a pointer to it can.
    using Stored = std::decay_t<Callable>;
    constexpr bool isFunction = std::is_function_v<std::remove_reference_t<Callable>>;
    // An empty std::function or a null function pointer makes an empty Task.
    if constexpr (!isFunction && std::is_assignable_v<Stored&, std::nullptr_t>) {
      if (callable == nullptr) return;
    }
    if constexpr (fitsInline<Stored>()) {
      new (storage_) Stored(std::forward<Callable>(callable));
      operations_ = &kInline<Stored>;
    } else {
      new (storage_) Stored*(new Stored(std::forward<Callable>(callable)));
      operations_ = &kOnHeap<Stored>;
    }
  }

  Task(Task&& other) noexcept { takeFrom(other); }
  Task& operator=(Task&& other) noexcept {
    if (this != &other) {
      reset();
      takeFrom(other);
    }
    return *this;
  }
  ~Task() { reset(); }

  [[nodiscard]] explicit operator bool() const { return operations_ != nullptr; }

  void operator()() { operations_->call(storage_); }

  /// Destroys the callable now.
  void reset() noexcept {
    const Operations* operations = std::exchange(operations_, nullptr);
    if (operations != nullptr && operations->destroy != nullptr) operations->destroy(storage_);
  }

 private:
  /// What can be done to a callable whose type is forgotten. Most capture pointers and numbers only:
  /// these are moved by copying their bytes, and need no destroying (tools/bench --only post).
  struct Operations {
    void (*call)(void* storage);
    void (*relocate)(void* from, void* to) noexcept;  // nullptr: the bytes are all there is
    void (*destroy)(void* storage) noexcept;          // nullptr: nothing to do
  };

  template <class Stored>
  static constexpr bool fitsInline() {
    return sizeof(Stored) <= kInlineBytes && alignof(Stored) <= alignof(std::max_align_t) &&
           std::is_nothrow_move_constructible_v<Stored>;
  }

  template <class Stored>
  static constexpr Operations inlineOperations() {
    Operations operations{[](void* storage) { (*static_cast<Stored*>(storage))(); }, nullptr,
                          nullptr};
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
      [](void* storage) { (**static_cast<Stored**>(storage))(); }, nullptr,
      [](void* storage) noexcept { delete *static_cast<Stored**>(storage); }};

  void takeFrom(Task& other) noexcept {
    operations_ = std::exchange(other.operations_, nullptr);
    if (operations_ == nullptr) return;
    if (operations_->relocate == nullptr) {
      std::memcpy(storage_, other.storage_, kInlineBytes);
    } else {
      operations_->relocate(other.storage_, storage_);
    }
  }

  alignas(std::max_align_t) std::byte storage_[kInlineBytes];
  const Operations* operations_ = nullptr;
};

static_assert(sizeof(Task) == 64, "a Task fills one cache line");

}  // namespace rung
