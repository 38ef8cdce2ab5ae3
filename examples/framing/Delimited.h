#pragma once

#include <utility>

#include "framing/Frame.h"

namespace framing {

/// A frame ends with CR LF: lines of text.
/// For: people can read and type it, and after an error the next line is a new start. Against:
/// every byte is looked at, the payload must not hold the delimiter, and there must be a limit, or
/// a peer that never sends one fills the memory.
class Delimited {
 public:
  explicit Delimited(std::size_t maxBytes) : maxBytes_(maxBytes) {}

  [[nodiscard]] Frame next(rung::Buffer& input) {
    const std::string_view seen = input.view();
    const std::size_t feed = seen.find('\n', scanned_);
    if (feed == seen.npos) {
      scanned_ = seen.size();
      const std::size_t mostBytes = maxBytes_ + 1;  // and the CR
      return scanned_ > mostBytes ? Frame::wrong(kTooLong) : Frame::partial();
    }
    if (feed == 0 || seen[feed - 1] != '\r') return Frame::wrong("LF without CR");
    if (feed - 1 > maxBytes_) return Frame::wrong(kTooLong);
    // To some programs a CR alone ends a line. A peer must not be able to choose whose lines it
    // speaks in.
    if (seen.find('\r') != feed - 1) return Frame::wrong("CR without LF");
    scanned_ = 0;
    std::string payload = input.retrieveAsString(feed - 1);
    input.retrieve(2);
    return Frame::whole(std::move(payload));
  }

  [[nodiscard]] std::string encode(std::string_view payload) const {
    return std::string(payload) + "\r\n";
  }

 private:
  static constexpr const char* kTooLong = "line too long";

  std::size_t maxBytes_;
  std::size_t scanned_ = 0;  // bytes of the input in which there is no LF
};

static_assert(FrameCodec<Delimited>);

}  // namespace framing
