// OutputBuffer hands over what a std::string would, in order, whatever the socket takes at a time.

#include <string>
#include <utility>

#include "rung/net/OutputBuffer.h"

#include "tests/fuzz/Input.h"
#include "tests/support/Sockets.h"

using rung::OutputBuffer;
using rung::testing::Input;

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  const rung::testing::SocketPair pair;
  OutputBuffer output;
  std::string waiting;  // appended and not sent
  std::string inSocket;
  char next = 'a';
  for (int step = 0; !input.atEnd() && step < 300 && waiting.size() < 1 << 20; ++step) {
    const std::uint8_t what = input.byte();
    const std::size_t length = input.number<std::uint16_t>() % (what % 4 == 0 ? 60000U : 300U);
    const std::string piece(length, next);
    next = next == 'z' ? 'a' : static_cast<char>(next + 1);
    if (what % 8 < 3) {
      output.append(piece);
      waiting += piece;
    } else if (what % 8 < 5) {
      const std::size_t from = piece.empty() ? 0 : input.number<std::uint16_t>() % piece.size();
      output.append(std::string(piece), from);
      waiting.append(piece, from);
    } else if (what % 8 == 5 && what > 240) {
      output.clear();
      waiting.clear();
    } else if (what % 8 == 6) {
      inSocket.erase(0, rung::testing::take(pair.theirs.get(), 1 + length).size());
    } else if (!output.empty()) {
      const auto result = output.writeTo(pair.ours.get());
      inSocket += waiting.substr(0, result.bytes);
      waiting.erase(0, result.bytes);
    }
    EXPECT(output.bytes() == waiting.size());
    EXPECT(output.empty() == waiting.empty());
  }
  // The rest, and all bytes as they are at the other end.
  while (!inSocket.empty() || !output.empty()) {
    if (!output.empty()) {
      const auto result = output.writeTo(pair.ours.get());
      inSocket += waiting.substr(0, result.bytes);
      waiting.erase(0, result.bytes);
    }
    const std::string got = rung::testing::take(pair.theirs.get(), 65536);
    EXPECT(!got.empty() && inSocket.compare(0, got.size(), got) == 0);
    inSocket.erase(0, got.size());
  }
  return 0;
}
