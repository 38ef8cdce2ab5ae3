#pragma once

#include "framing/Frame.h"

namespace framing {

/// Every frame has the same length.
/// For: nothing to parse, nothing to get wrong. Against: what is shorter is padded, what is longer
/// does not fit; and who loses one byte is out of step for ever, without a way to notice.
class FixedLength {
 public:
  explicit FixedLength(std::size_t frameBytes) : frameBytes_(frameBytes) {}

  [[nodiscard]] Frame next(rung::Buffer& input) {
    if (input.readableBytes() < frameBytes_) return Frame::partial();
    return Frame::whole(input.retrieveAsString(frameBytes_));
  }

  /// Pads with spaces, and cuts what is too long.
  [[nodiscard]] std::string encode(std::string_view payload) const {
    std::string frame(payload);
    frame.resize(frameBytes_, ' ');
    return frame;
  }

 private:
  std::size_t frameBytes_;
};

static_assert(FrameCodec<FixedLength>);

}  // namespace framing
