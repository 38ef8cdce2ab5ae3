#include "rung/base/LogMerge.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace rung {

namespace {

constexpr std::size_t kPieceBytes = std::size_t{1} << 18;

/// "20261123 09:49:05.622287" of a line that begins so, or nothing. The order of these texts is
/// that of the times.
std::string_view timeOf(std::string_view line) {
  constexpr std::size_t kSize = sizeof "20261123 09:49:05.622287" - 1;
  const bool looksLikeIt = line.size() > kSize && line[8] == ' ' && line[11] == ':' &&
                           line[14] == ':' && line[17] == '.' && line[0] >= '0' && line[0] <= '9';
  return looksLikeIt ? line.substr(0, kSize) : std::string_view();
}

std::string_view rest(const LogBlock& block, std::size_t at) {
  return {block.data.get() + at, block.taken - at};
}

}  // namespace

LogMerge::LogMerge(Sink sink, DroppedLine droppedLine)
    : sink_(std::move(sink)), droppedLine_(std::move(droppedLine)) {}

void LogMerge::add(LogBlock* first) {
  cursors_.push_back({first, first->written.load(), {}, first});
}

void LogMerge::writeAll() {
  if (cursors_.size() == 1) {
    writeFrom(cursors_.front());
  } else {
    merge();
  }
  flush();
  cursors_.clear();
}

/// One thread alone has logged: nothing needs to be copied.
void LogMerge::writeFrom(Cursor& cursor) {
  while (!cursor.atEnd) {
    if (const std::string_view lines = rest(*cursor.block, cursor.at); !lines.empty()) {
      sink_(lines);
    }
    cursor.at = cursor.block->taken;
    nextLine(cursor);
    flush();
  }
}

void LogMerge::merge() {
  const auto isLater = [](const Cursor* a, const Cursor* b) { return a->time > b->time; };
  for (Cursor& cursor : cursors_) {
    nextLine(cursor);
    if (!cursor.atEnd) heap_.push_back(&cursor);
  }
  std::make_heap(heap_.begin(), heap_.end(), isLater);
  while (!heap_.empty()) {
    std::pop_heap(heap_.begin(), heap_.end(), isLater);
    Cursor& earliest = *heap_.back();
    const Cursor& second = *heap_.front();  // itself, if it is the only one left
    do {
      copyLine(earliest);
    } while (!earliest.atEnd && earliest.time <= second.time);
    if (earliest.atEnd) {
      heap_.pop_back();
    } else {
      std::push_heap(heap_.begin(), heap_.end(), isLater);
    }
  }
}

void LogMerge::copyLine(Cursor& cursor) {
  const std::string_view lines = rest(*cursor.block, cursor.at);
  const auto* const newline =
      static_cast<const char*>(std::memchr(lines.data(), '\n', lines.size()));
  const std::size_t size =
      newline == nullptr ? lines.size() : static_cast<std::size_t>(newline - lines.data()) + 1;
  if (out_.size() + size > kPieceBytes) flush();
  out_.append(lines.data(), size);
  cursor.at += size;
  nextLine(cursor);
}

/// Moves on to where a line is, which may be in a block further on, and looks at its time.
void LogMerge::nextLine(Cursor& cursor) {
  while (cursor.at == cursor.block->taken) {
    if (const std::uint64_t dropped = std::exchange(cursor.block->droppedTaken, 0); dropped > 0) {
      out_ += droppedLine_(dropped);
    }
    // The thread may have begun another block since. Nothing of that one is taken.
    LogBlock* const next = cursor.block->next.load();
    cursor.atEnd = next == nullptr;
    if (cursor.atEnd) return;
    cursor.block = next;
    cursor.at = next->written.load();
  }
  const std::string_view time = timeOf(rest(*cursor.block, cursor.at));
  if (!time.empty()) cursor.time = time;
}

/// Writes what was copied, and notes it: a signal handler that comes now begins after it.
void LogMerge::flush() {
  if (!out_.empty()) sink_(out_);
  out_.clear();
  for (Cursor& cursor : cursors_) {
    while (cursor.firstUnnoted != cursor.block) {
      cursor.firstUnnoted->written.store(cursor.firstUnnoted->taken);
      cursor.firstUnnoted = cursor.firstUnnoted->next.load();
    }
    cursor.block->written.store(cursor.at);
  }
}

}  // namespace rung
