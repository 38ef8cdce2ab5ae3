#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "rung/base/noncopyable.h"
#include "rung/net/FileRange.h"
#include "rung/net/IoResult.h"

namespace rung {

/// Bytes that the kernel did not take yet: a queue of strings and of files, flushed with one system
/// call for many strings, or for a part of one file.
/// A string that is moved in stays where it is. Small pieces are gathered in the last string, large
/// ones are never copied together, so that 100 MiB wait in 100 MiB. A file waits as a descriptor.
/// While nothing waits, which is most of the time, it is a pointer and nothing else.
/// Thread: loop.
/// Source: sendmsg(2), sendfile(2); it is the list of buffers that muduo's TcpConnection wishes for
/// in a comment.
class OutputBuffer : noncopyable {
 public:
  [[nodiscard]] std::size_t bytes() const { return queue_ == nullptr ? 0 : queue_->bytes; }
  [[nodiscard]] bool empty() const { return bytes() == 0; }
  /// What water marks go by: the bytes, and more for each file. See FileRange::weight().
  [[nodiscard]] std::size_t weight() const {
    return queue_ == nullptr ? 0 : queue_->bytes + queue_->files * FileRange::kDescriptorWeight;
  }

  [[nodiscard]] bool hasFile() const { return queue_ != nullptr && queue_->files > 0; }

  /// Appends a copy.
  void append(std::string_view bytes);
  /// Appends bytes [from, bytes.size()) of it, without a copy if they are many.
  void append(std::string&& bytes, std::size_t from);
  void append(FileRange&& file);

  /// Hands as much as possible to the socket `fd`, in one system call.
  /// Errors: as sendmsg(2); ENODATA if a file has become shorter.
  [[nodiscard]] IoResult writeTo(int fd);

  /// Forgets everything and frees the memory.
  void clear() { queue_.reset(); }

 private:
  using Piece = std::variant<std::string, FileRange>;

  struct Queue {
    std::vector<Piece> pieces;  // [first, size()) wait
    std::size_t first = 0;
    std::size_t offset = 0;  // bytes of the first piece, a string, that are sent already
    std::size_t bytes = 0;
    std::size_t files = 0;
  };

  Queue& queue();
  [[nodiscard]] ssize_t writeStrings(int fd) const;
  void consume(std::size_t bytes);

  std::unique_ptr<Queue> queue_;  // nullptr: nothing waits
};

}  // namespace rung
