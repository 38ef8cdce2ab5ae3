#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "rung/base/noncopyable.h"
#include "rung/net/InetAddress.h"

namespace rung {

class EventLoop;

/// Looks up the addresses of hosts, beside the loops: getaddrinfo(3) may block for a minute, and
/// there is no way to make it stop. So it runs on a few threads, and no caller waits for it.
/// Thread: one Resolver serves any number of loops; each asks on its own thread.
/// Lifetime: the destructor waits for nothing. A getaddrinfo(3) that hangs keeps its thread and a
/// few bytes until it returns; its answer still goes to its loop, if that is there. Lookups that
/// have not begun are answered with ECANCELED. A child of fork(2) has none of the threads: there
/// each lookup is answered with ECHILD, and the child makes a Resolver of its own.
/// Source: getaddrinfo(3), RFC 6724, gai.conf(5).
class Resolver : noncopyable {
 public:
  struct Answer {
    /// The best one first: in the order of getaddrinfo(3), which is that of RFC 6724. None twice.
    /// Not empty, unless there is an error.
    std::vector<InetAddress> addresses{};
    /// In resolverCategory(), or an errno: ETIMEDOUT at the deadline, ENOMEM, others.
    std::error_code error{};
  };

  /// What finds the addresses. Called on the resolver's threads, several at a time; may block.
  /// Errors: an exception is the answer EAI_FAIL; std::bad_alloc is ENOMEM.
  using Lookup = std::function<Answer(const std::string& host, std::uint16_t port)>;
  using Done = std::function<void(Answer)>;

  struct Options {
    /// So many lookups at a time. A thread is made when it is first needed.
    int threads = 4;
    /// For tests, and for other ways to find hosts; lookUp() if it is empty.
    /// Lifetime: may be called, and destroyed, after the Resolver, by a thread that was in it.
    Lookup lookup{};
  };

  class Query;

  /// Errors: throws std::invalid_argument unless there is at least one thread.
  Resolver();
  explicit Resolver(Options options);
  ~Resolver();

  /// One that all may share, with the default options. It is made at the first call, and never
  /// destroyed.
  /// Thread: any.
  [[nodiscard]] static const std::shared_ptr<Resolver>& ofProcess();

  /// getaddrinfo(3) itself. Blocks.
  /// Thread: any.
  [[nodiscard]] static Answer lookUp(const std::string& host, std::uint16_t port);

  /// Looks up `host`, and calls `done` on the loop, once, never from within this call. A host in
  /// numbers is not looked up, but is the answer itself, in the next round of the loop, whatever
  /// the threads are doing. At the deadline, the answer is ETIMEDOUT, and what getaddrinfo(3) finds
  /// after that is thrown away.
  /// Thread: loop.
  /// Lifetime: `done` is not called any more once the Query is gone, or the loop.
  /// Errors: throws std::invalid_argument as Target does. If the system gives no thread at all, the
  /// answer is EAGAIN.
  /// Units: steady_clock.
  [[nodiscard]] Query resolve(EventLoop* loop, std::string_view host, int port, Done done,
                              std::chrono::steady_clock::time_point deadline =
                                  (std::chrono::steady_clock::time_point::max)());

  /// How many lookups wait for a thread.
  /// Thread: any.
  [[nodiscard]] std::size_t waiting() const;

 private:
  class State;
  struct Request;

  /// Shared with the threads, which may be in getaddrinfo(3) when this object goes.
  std::shared_ptr<State> state_;
};

/// A lookup that is under way, or over. Destroying it cancels, without a wait: then `done` is not
/// called any more.
/// Thread: loop; any, once the loop is gone. The wrong thread aborts.
/// Lifetime: may be destroyed in its `done`; may outlive loop and Resolver.
class [[nodiscard]] Resolver::Query {
 public:
  /// Of nothing.
  Query() = default;
  Query(Query&&) noexcept = default;
  Query& operator=(Query&& other) noexcept;
  ~Query() { cancel(); }

  void cancel();
  /// Whether an answer is still to come.
  [[nodiscard]] bool pending() const;

 private:
  friend class Resolver;
  Query(std::shared_ptr<State> state, std::shared_ptr<Request> request)
      : state_(std::move(state)), request_(std::move(request)) {}

  std::shared_ptr<State> state_;
  std::shared_ptr<Request> request_;
};

}  // namespace rung
