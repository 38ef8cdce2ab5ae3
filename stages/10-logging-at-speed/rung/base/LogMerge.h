#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "rung/base/LogBuffer.h"
#include "rung/base/noncopyable.h"

namespace rung {

/// Puts the lines of several threads into one order, that of the times they begin with. The lines
/// of one thread keep theirs, whatever their times are; a line that begins with no time, such as
/// the second of a text of two lines, stays with the one before it.
/// Thread: any, one at a time; that of the back-end.
/// Source: the merge of merge sort, with a heap for more than two.
class LogMerge : noncopyable {
 public:
  using Sink = std::function<void(std::string_view lines)>;
  /// Makes the line that stands where lines were dropped.
  using DroppedLine = std::function<std::string(std::uint64_t count)>;

  LogMerge(Sink sink, DroppedLine droppedLine);

  /// What one LogBuffer::take() marked.
  void add(LogBlock* first);

  /// Gives all of it to the sink, in large pieces, and notes in the blocks what was given.
  void writeAll();

 private:
  /// How far the lines of one thread are.
  struct Cursor {
    LogBlock* block;
    std::size_t at;          // in `block`
    std::string_view time;   // of the line there, or of the one before
    LogBlock* firstUnnoted;  // the first block that was not noted as written
    bool atEnd = false;
  };

  void writeFrom(Cursor& cursor);
  void merge();
  void copyLine(Cursor& cursor);
  void nextLine(Cursor& cursor);
  void flush();

  const Sink sink_;
  const DroppedLine droppedLine_;
  std::vector<Cursor> cursors_;
  std::vector<Cursor*> heap_;
  std::string out_;
};

}  // namespace rung
