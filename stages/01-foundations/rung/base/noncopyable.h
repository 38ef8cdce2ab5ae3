#pragma once

#if __cplusplus < 202002L
#error "rung needs C++20: compile with -std=c++20 or a later standard"
#endif

namespace rung {

/// Base of every class whose objects have an identity: a loop, a channel, a connection.
/// Copying one of them would give two owners to one descriptor or one thread, so the compiler
/// refuses it. Value types (Timestamp, InetAddress) do not derive from this.
/// Lifetime: the destructor is protected and not virtual; nothing is deleted through this base.
class noncopyable {
 public:
  noncopyable(const noncopyable&) = delete;
  noncopyable& operator=(const noncopyable&) = delete;

 protected:
  noncopyable() = default;
  ~noncopyable() = default;
};

}  // namespace rung
