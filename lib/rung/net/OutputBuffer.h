#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "rung/base/noncopyable.h"
#include "rung/net/IoResult.h"

namespace rung {

/// Bytes that the kernel did not take yet: a queue of strings, flushed with one system call for
/// many of them.
/// A string that is moved in stays where it is. Small pieces are gathered in the last string, large
/// ones are never copied together, so that 100 MiB wait in 100 MiB. While nothing waits, which is
/// most of the time, it is a pointer and nothing else.
/// Thread: loop.
/// Source: sendmsg(2); it is the list of buffers that muduo's TcpConnection wishes for in a
/// comment.
class OutputBuffer : noncopyable {
 public:
  [[nodiscard]] std::size_t bytes() const { return queue_ == nullptr ? 0 : queue_->bytes; }
  [[nodiscard]] bool empty() const { return bytes() == 0; }

  /// Appends a copy.
  void append(std::string_view bytes);
  /// Appends bytes [from, bytes.size()) of it, without a copy if they are many.
  void append(std::string&& bytes, std::size_t from);

  /// Hands as much as possible to the socket `fd`, in one sendmsg(2).
  [[nodiscard]] IoResult writeTo(int fd);

  /// Forgets everything and frees the memory.
  void clear() { queue_.reset(); }

 private:
  struct Queue {
    std::vector<std::string> pieces;  // [first, size()) wait
    std::size_t first = 0;
    std::size_t offset = 0;  // bytes of the first piece that are sent already
    std::size_t bytes = 0;
  };

  Queue& queue();
  void consume(std::size_t bytes);

  std::unique_ptr<Queue> queue_;  // nullptr: nothing waits
};

}  // namespace rung
