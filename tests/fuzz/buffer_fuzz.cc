// Buffer does what a std::string does, on memory of its own and on a lent block.

#include <unistd.h>

#include <string>
#include <utility>

#include "rung/net/Buffer.h"

#include "tests/fuzz/Input.h"
#include "tests/support/Sockets.h"

using rung::Buffer;
using rung::testing::Input;

namespace {

struct State {
  Buffer buffer;
  std::string model;
};

void write(Input& input, State& state) {
  const std::string piece(input.number<std::uint16_t>() % 3000, static_cast<char>(input.byte()));
  state.buffer.ensureWritable(piece.size());
  EXPECT(state.buffer.writableBytes() >= piece.size());
  piece.copy(state.buffer.beginWrite(), piece.size());
  state.buffer.hasWritten(piece.size());
  state.model += piece;
}

void prepend(Input& input, State& state) {
  const std::string_view front = input.text(input.byte() % 9);
  if (front.size() > state.buffer.prependableBytes()) return;
  state.buffer.prepend(front);
  state.model.insert(0, front);
}

void readFromPipe(Input& input, State& state, std::span<char> block) {
  const rung::testing::Pipe pipe;
  const std::string sent(1 + input.number<std::uint16_t>() % 9000, static_cast<char>(input.byte()));
  EXPECT(rung::testing::put(pipe.writeEnd, sent));
  const bool lent = input.byte() % 2 == 0;
  state.buffer.settle();  // the block is used again
  const auto result = lent ? state.buffer.readFd(pipe.readEnd.get(), block)
                           : state.buffer.readFd(pipe.readEnd.get());
  EXPECT(result.error == 0);
  EXPECT(result.bytes <= sent.size() && result.bytes > 0);
  state.model.append(sent, 0, result.bytes);
}

void step(Input& input, State& state, std::span<char> block) {
  Buffer& buffer = state.buffer;
  const std::size_t some = input.number<std::uint16_t>() % (state.model.size() + 1);
  switch (input.byte() % 9) {
    case 0:
      state.model += input.text(input.byte());
      buffer.retrieveAll();
      buffer.append(state.model);
      break;
    case 1:
      write(input, state);
      break;
    case 2:
      prepend(input, state);
      break;
    case 3:
      EXPECT(buffer.retrieveAsString(some) == state.model.substr(0, some));
      state.model.erase(0, some);
      break;
    case 4:
      buffer.retrieve(some);
      state.model.erase(0, some);
      break;
    case 5:
      buffer.settle();
      EXPECT(buffer.ownedBytes() <= 4096 + 2 * state.model.size() + state.model.size() * 4);
      break;
    case 6:
      readFromPipe(input, state, block);
      break;
    case 7: {
      Buffer other(std::move(buffer));
      EXPECT(buffer.empty());
      buffer.append("left behind");
      buffer.swap(other);
      EXPECT(other.view() == "left behind");
      break;
    }
    default: {
      const auto number = input.number<std::uint64_t>();
      buffer.appendInt(number);
      for (int shift = 56; shift >= 0; shift -= 8)
        state.model += static_cast<char>(number >> shift & 0xFF);
    }
  }
  EXPECT(buffer.view() == state.model);
  EXPECT(buffer.readableBytes() == state.model.size());
  EXPECT(buffer.empty() == state.model.empty());
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  static char block[4096];
  State state;
  while (!input.atEnd() && state.model.size() < 1 << 20)
    step(input, state, block);
  return 0;
}
