#pragma once

#include <cstdint>

#include "framing/Frame.h"

namespace framing {

/// Four bytes with the length of the payload, in network byte order, and the payload.
/// For: any payload, and no byte of it is looked at. Against: the length is the peer's word. It
/// must be judged before anything is done with it, and after a wrong one there is no way back into
/// step: the connection has to end.
class LengthHeader {
 public:
  explicit LengthHeader(std::size_t maxBytes) : maxBytes_(maxBytes) {}

  [[nodiscard]] Frame next(rung::Buffer& input) {
    if (input.readableBytes() < kHeaderBytes) return Frame::partial();
    const auto length = input.peekInt<std::uint32_t>();  // unsigned: no length is below zero
    if (length > maxBytes_) return Frame::wrong("length above the maximum");
    // Not `readableBytes() < kHeaderBytes + length`: where size_t has 32 bits, that wraps around.
    if (input.readableBytes() - kHeaderBytes < length) return Frame::partial();
    input.retrieve(kHeaderBytes);
    return Frame::whole(input.retrieveAsString(length));
  }

  [[nodiscard]] std::string encode(std::string_view payload) const {
    rung::Buffer frame;
    frame.append(payload);
    frame.prependInt(static_cast<std::uint32_t>(payload.size()));
    return frame.retrieveAllAsString();
  }

 private:
  static constexpr std::size_t kHeaderBytes = sizeof(std::uint32_t);

  std::size_t maxBytes_;
};

static_assert(FrameCodec<LengthHeader>);

}  // namespace framing
