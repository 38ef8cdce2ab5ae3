#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "rung/base/LogBuffer.h"
#include "rung/base/LogMerge.h"

#include "tests/support/TempDirectory.h"

using rung::LogBlock;
using rung::LogBuffer;
using rung::LogMerge;

namespace {

/// "20261123 09:49:05.000042Z text\n"
std::string at(int microsecond, const std::string& text) {
  const std::string digits = std::to_string(1'000'000 + microsecond).substr(1);
  return "20261123 09:49:05." + digits + "Z " + text + '\n';
}

void append(LogBuffer& buffer, const std::string& lines, std::size_t blockBytes = 1 << 20) {
  if (buffer.append(lines)) return;
  buffer.addBlock(std::make_unique<LogBlock>(blockBytes));
  REQUIRE(buffer.append(lines));
}

std::string droppedLine(std::uint64_t count) {
  return std::to_string(count) + " dropped\n";
}

std::string merged(std::initializer_list<LogBuffer*> buffers) {
  std::string text;
  LogMerge merge([&](std::string_view lines) { text += lines; }, droppedLine);
  for (LogBuffer* buffer : buffers) {
    if (LogBlock* const first = buffer->take(LogBuffer::Then::stayOpen)) merge.add(first);
  }
  merge.writeAll();
  for (LogBuffer* buffer : buffers)
    (void)buffer->release();
  return text;
}

TEST_CASE("LogMerge: the lines of two threads are put into the order of their times") {
  LogBuffer a;
  LogBuffer b;
  append(a, at(1, "a") + at(4, "a") + at(5, "a"));
  append(b, at(2, "b") + at(3, "b") + at(6, "b"));
  CHECK(merged({&a, &b}) ==
        at(1, "a") + at(2, "b") + at(3, "b") + at(4, "a") + at(5, "a") + at(6, "b"));
  CHECK(merged({&a, &b}).empty());
}

TEST_CASE("LogMerge: the lines of one thread keep their order, whatever their times are") {
  LogBuffer a;
  LogBuffer b;
  append(a, at(5, "a1") + at(1, "a2") + at(9, "a3"));  // somebody set the clock
  append(b, at(2, "b1") + at(6, "b2"));
  CHECK(merged({&a, &b}) == at(2, "b1") + at(5, "a1") + at(1, "a2") + at(6, "b2") + at(9, "a3"));
}

TEST_CASE("LogMerge: lines without a time stay with the one before them") {
  LogBuffer a;
  LogBuffer b;
  append(a, at(1, "a, of") + "two lines\n" + at(4, "a"));
  append(b, "no time\n" + at(2, "b, of") + "12345678 three\nlines\n" + at(3, "b"));
  CHECK(merged({&a, &b}) == "no time\n" + at(1, "a, of") + "two lines\n" + at(2, "b, of") +
                                "12345678 three\nlines\n" + at(3, "b") + at(4, "a"));
}

// Each differs from a time in one place, and would be later than all the others.
TEST_CASE("LogMerge: what only looks like a time is none") {
  for (const std::string near :
       {"99999999.00:00:00.000000Z", "99999999 00.00:00.000000Z", "99999999 00:00.00.000000Z",
        "99999999 00:00:00:000000Z", "z9999999 00:00:00.000000Z", "/9999999 00:00:00.000000Z"}) {
    CAPTURE(near);
    LogBuffer a;
    LogBuffer b;
    append(a, at(3, "a") + near + '\n' + at(5, "a"));
    append(b, at(4, "b") + near + '\n' + at(6, "b"));
    CHECK(merged({&a, &b}) ==
          at(3, "a") + near + '\n' + at(4, "b") + near + '\n' + at(5, "a") + at(6, "b"));
  }
}

// At the end of what there is, a look at the next character would be one too far.
TEST_CASE("LogMerge: a time alone in the last line is one, and a part of a time is none") {
  const std::string time = at(5, "").substr(0, sizeof "20261123 09:49:05.000005" - 1);
  for (const std::string& last : {time + "Z\n", time + '\n'}) {
    CAPTURE(last);
    LogBuffer a;
    LogBuffer b;
    append(a, at(3, "a") + last);
    append(b, at(4, "b") + at(6, "b"));
    CHECK(merged({&a, &b}) == at(3, "a") + at(4, "b") + last + at(6, "b"));
  }
  for (const std::string& last : {time, time.substr(0, time.size() - 1), time.substr(0, 18)}) {
    CAPTURE(last);
    LogBuffer a;
    LogBuffer b;
    append(a, at(3, "a") + last);
    append(b, at(4, "b"));
    CHECK(merged({&a, &b}) == at(3, "a") + last + at(4, "b"));
  }
}

TEST_CASE("LogMerge: what was dropped is told where it is missing") {
  LogBuffer a;
  LogBuffer b;
  append(a, at(1, "a"), 40);
  a.noteDropped(7);
  append(a, at(5, "a"), 40);
  append(b, at(2, "b") + at(3, "b"));
  b.noteDropped(2);
  CHECK(merged({&a, &b}) ==
        at(1, "a") + "7 dropped\n" + at(2, "b") + at(3, "b") + "2 dropped\n" + at(5, "a"));
  a.noteDropped(3);
  CHECK(merged({&a, &b}) == "3 dropped\n");
  a.noteDropped(4);
  append(b, at(7, "b"));
  CHECK(merged({&a, &b}) == "4 dropped\n" + at(7, "b"));
}

TEST_CASE("LogMerge: nothing to write is nothing written") {
  LogBuffer empty;
  CHECK(merged({}).empty());
  CHECK(merged({&empty}).empty());
}

TEST_CASE("LogMerge: text without a newline at the end is not lost") {
  LogBuffer a;
  LogBuffer b;
  append(a, "no newline");
  append(b, at(1, "b"));
  CHECK(merged({&a, &b}) == "no newline" + at(1, "b"));
}

TEST_CASE("LogMerge: many threads with many lines, against a sort") {
  std::mt19937 random(7);
  for (int run = 0; run < 50; ++run) {
    std::vector<std::unique_ptr<LogBuffer>> buffers;
    std::vector<std::pair<int, std::string>> model;
    const int threads = static_cast<int>(random() % 9) + 1;
    for (int t = 0; t < threads; ++t) {
      buffers.push_back(std::make_unique<LogBuffer>());
      int now = 0;
      for (auto i = random() % 200; i > 0; --i) {
        // No two of the same time, so that there is one right answer.
        now += threads * static_cast<int>(random() % 5 + 1);
        const std::string line = at(now + t, std::string(random() % 50, 'x'));
        append(*buffers.back(), line, 1000);
        model.emplace_back(now + t, line);
      }
    }
    std::sort(model.begin(), model.end());
    std::string expected;
    for (const auto& [time, line] : model)
      expected += line;

    std::string text;
    LogMerge merge([&](std::string_view lines) { text += lines; }, droppedLine);
    for (const auto& buffer : buffers) {
      if (LogBlock* const first = buffer->take(LogBuffer::Then::stayOpen)) merge.add(first);
    }
    merge.writeAll();
    CHECK(text == expected);
  }
}

// In a crash, a signal handler writes what is not noted as written, while the back-end stands still
// in its sink. What went through the sink and what is noted must be the same at that moment.
TEST_CASE("LogMerge: notes what it has written before it writes more") {
  LogBuffer a;
  LogBuffer b;
  std::size_t total = 0;
  for (int i = 0; i < 20'000; ++i) {
    const std::string line = at(i, i % 3 == 0 ? "a" : "b and some more");
    append(i % 3 == 0 ? a : b, line, 10'000);
    total += line.size();
  }
  for (const bool both : {true, false}) {
    if (!both) append(a, at(1, "a"));
    std::vector<LogBlock*> blocks;
    std::size_t given = 0;
    int pieces = 0;
    LogMerge merge(
        [&](std::string_view lines) {
          std::size_t noted = 0;
          for (LogBlock* const first : blocks) {
            for (const LogBlock* block = first; block != nullptr; block = block->next.load())
              noted += block->written.load();
          }
          CHECK(noted == given);
          given += lines.size();
          ++pieces;
        },
        droppedLine);
    for (LogBuffer* buffer : {&a, &b}) {
      if (LogBlock* const first = buffer->take(LogBuffer::Then::stayOpen)) {
        blocks.push_back(first);
        merge.add(first);
      }
    }
    merge.writeAll();
    CHECK(given == (both ? total : at(1, "a").size()));
    CHECK(pieces >= (both ? 3 : 1));
    CHECK(pieces <= 9);  // a system call for each line would cost more than the rest
    (void)a.release();
    (void)b.release();
  }
}

TEST_CASE("LogMerge: a time is one in the first year as in the last") {
  for (const std::string year : {"0001", "9999"}) {
    CAPTURE(year);
    const auto in = [&](int microsecond, const std::string& text) {
      return year + at(microsecond, text).substr(year.size());
    };
    LogBuffer a;
    LogBuffer b;
    append(a, in(1, "a") + in(3, "a"));
    append(b, in(2, "b") + in(4, "b"));
    CHECK(merged({&a, &b}) == in(1, "a") + in(2, "b") + in(3, "a") + in(4, "b"));
  }
}

// In each place in turn: one of them has the smaller digit, and larger ones behind it.
TEST_CASE("LogMerge: each digit of a time counts") {
  const std::string text = "20261123 09:49:05.622287";
  const auto isDigit = [](char c) { return c >= '0' && c <= '9'; };
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (!isDigit(text[i])) continue;
    std::string early = text + "Z a\n";
    std::string late = text + "Z b\n";
    early[i] = '1';
    late[i] = '2';
    for (std::size_t behind = i + 1; behind < text.size(); ++behind) {
      if (isDigit(text[behind])) early[behind] = '9';
    }
    LogBuffer a;
    LogBuffer b;
    append(a, late);
    append(b, early);
    CHECK(merged({&a, &b}) == early + late);
  }
}

}  // namespace
