#include <doctest/doctest.h>

#include <atomic>
#include <latch>
#include <string>
#include <thread>
#include <vector>

#include "rung/base/LogBuffer.h"

using rung::LogBlock;
using rung::LogBuffer;
using Then = rung::LogBuffer::Then;

namespace {

void addBlock(LogBuffer& buffer, std::size_t size) {
  buffer.addBlock(std::make_unique<LogBlock>(size));
}

/// Does what the back-end does: returns what is taken, with "-N" where N lines were dropped.
std::string write(LogBlock* block) {
  std::string text;
  for (; block != nullptr; block = block->next.load()) {
    const std::size_t from = block->written.load();
    text.append(block->data.get() + from, block->taken - from);
    block->written.store(block->taken);
    if (block->droppedTaken > 0) text += '-' + std::to_string(block->droppedTaken) + '\n';
    block->droppedTaken = 0;
  }
  return text;
}

TEST_CASE("LogBuffer: takes lines only while it is open and they fit") {
  LogBuffer buffer;
  CHECK_FALSE(buffer.hasBlock());
  CHECK_FALSE(buffer.append("a\n"));
  addBlock(buffer, 6);
  CHECK(buffer.hasBlock());
  CHECK(buffer.append("123\n"));
  CHECK_FALSE(buffer.append("56\n"));
  CHECK(buffer.append("5\n"));
  CHECK(write(buffer.take(Then::stayOpen)) == "123\n5\n");
}

TEST_CASE("LogBuffer: lines come out in the order in which they went in") {
  LogBuffer buffer;
  std::string all;
  for (int i = 0; i < 100; ++i) {
    const std::string line = std::to_string(i) + '\n';
    if (!buffer.append(line)) {
      addBlock(buffer, 16);
      CHECK(buffer.append(line));
    }
    all += line;
  }
  CHECK(write(buffer.take(Then::stayOpen)) == all);
  CHECK(buffer.take(Then::stayOpen) == nullptr);
}

TEST_CASE("LogBuffer: what comes while the back-end writes waits for the next time") {
  LogBuffer buffer;
  addBlock(buffer, 8);
  CHECK(buffer.append("one\n"));
  LogBlock* const taken = buffer.take(Then::stayOpen);
  CHECK(buffer.append("two\n"));
  addBlock(buffer, 8);
  CHECK(buffer.append("three\n"));
  CHECK(write(taken) == "one\n");
  CHECK(buffer.release().empty());  // the first block has a line yet
  CHECK(write(buffer.take(Then::stayOpen)) == "two\nthree\n");
  CHECK(buffer.release().size() == 1);
  CHECK(buffer.take(Then::stayOpen) == nullptr);
}

TEST_CASE("LogBuffer: a block that is written in time is used again alone") {
  LogBuffer buffer;
  addBlock(buffer, 4);
  for (int i = 0; i < 10; ++i) {
    CHECK(buffer.append("one\n"));
    CHECK_FALSE(buffer.append("x\n"));
    CHECK(write(buffer.take(Then::stayOpen)) == "one\n");
    CHECK(buffer.release().empty());
  }
}

TEST_CASE("LogBuffer: gives back the blocks of a burst, but for one") {
  LogBuffer buffer;
  for (int i = 0; i < 10; ++i) {
    addBlock(buffer, 4);
    CHECK(buffer.append("one\n"));
  }
  CHECK(write(buffer.take(Then::stayOpen)).size() == 40);
  CHECK(buffer.release().size() == 9);
  CHECK(buffer.append("one\n"));
}

TEST_CASE("LogBuffer: closed, it takes no more and keeps no block") {
  LogBuffer buffer;
  addBlock(buffer, 100);
  CHECK(buffer.append("one\n"));
  LogBlock* const last = buffer.take(Then::close);
  CHECK_FALSE(buffer.append("two\n"));
  CHECK(write(last) == "one\n");
  CHECK(buffer.release().size() == 1);
  CHECK_FALSE(buffer.hasBlock());
  addBlock(buffer, 100);
  CHECK(buffer.append("two\n"));
}

TEST_CASE("LogBuffer: what was dropped is noted where it is missing, and nothing is forgotten") {
  LogBuffer buffer;
  addBlock(buffer, 4);
  CHECK(buffer.append("one\n"));
  LogBlock* const taken = buffer.take(Then::stayOpen);
  buffer.noteDropped(2);
  buffer.noteDropped(1);
  addBlock(buffer, 4);
  CHECK(buffer.append("two\n"));
  CHECK(write(taken) == "one\n");
  CHECK(buffer.release().empty());
  CHECK(write(buffer.take(Then::stayOpen)) == "-3\ntwo\n");
  CHECK(buffer.release().size() == 1);
  buffer.noteDropped(1);
  CHECK(write(buffer.take(Then::stayOpen)) == "-1\n");
}

TEST_CASE("LogBuffer: each thread has its own, and leaves it to a later one") {
  LogBuffer* const ours = LogBuffer::ofThisThread();
  CHECK(LogBuffer::ofThisThread() == ours);
  LogBuffer* theirs = nullptr;
  std::thread([&] { theirs = LogBuffer::ofThisThread(); }).join();
  CHECK(theirs != ours);

  const auto count = [] {
    int buffers = 0;
    for (LogBuffer* buffer = LogBuffer::first(); buffer != nullptr; buffer = buffer->next())
      ++buffers;
    return buffers;
  };
  const int before = count();
  for (int i = 0; i < 100; ++i)
    std::thread([] { (void)LogBuffer::ofThisThread(); }).join();
  CHECK(count() == before);
}

/// Made before the thread's buffer is, so it goes after it.
struct Straggler {
  LogBuffer** seen = nullptr;
  ~Straggler() {
    if (seen != nullptr) *seen = LogBuffer::ofThisThread();
  }
};

TEST_CASE("LogBuffer: a thread may log from the destructors of its thread-local variables") {
  LogBuffer* seen[3] = {};
  for (LogBuffer*& each : seen) {
    std::thread([&each] {
      static thread_local Straggler straggler;
      straggler.seen = &each;
      (void)LogBuffer::ofThisThread();
    }).join();
  }
  CHECK(seen[0] != nullptr);
  CHECK(seen[1] == seen[0]);
  CHECK(seen[2] == seen[0]);
}

}  // namespace
