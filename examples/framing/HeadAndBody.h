#pragma once

#include <algorithm>
#include <charconv>
#include <optional>

#include "framing/Frame.h"

namespace framing {

/// A protocol of its own, in the manner of HTTP: a head of lines "Name: value", an empty line, and
/// a body whose length the head tells.
///
///     Length: 5 CR LF
///     Colour: green CR LF
///     CR LF
///     hello
///
/// Names are told apart by case.
/// For: it can say more than where a frame ends, and can grow: a field that is not known is passed
/// over. Against: two kinds of framing in one, each with its limit, and a parser. Where two
/// programs read one head differently, a peer can hide a frame in another; so anything that could
/// be read in two ways is refused, such as a second Length.
class HeadAndBody {
 public:
  static constexpr std::size_t kMaxHeadBytes = 1024;

  explicit HeadAndBody(std::size_t maxBytes) : maxBytes_(maxBytes) {}

  [[nodiscard]] Frame next(rung::Buffer& input) {
    if (headBytes_ == 0) {
      if (const char* problem = findHead(input.view())) return Frame::wrong(problem);
      if (headBytes_ == 0) return Frame::partial();
    }
    if (input.readableBytes() - headBytes_ < bodyBytes_) return Frame::partial();
    input.retrieve(headBytes_);
    headBytes_ = 0;
    return Frame::whole(input.retrieveAsString(bodyBytes_));
  }

  [[nodiscard]] std::string encode(std::string_view payload) const {
    return "Length: " + std::to_string(payload.size()) + "\r\n\r\n" + std::string(payload);
  }

 private:
  static constexpr std::string_view kHeadEnd = "\r\n\r\n";

  /// Sets headBytes_ and bodyBytes_ once the head is whole. Returns what is wrong with it, if
  /// anything is.
  const char* findHead(std::string_view seen) {
    // The end may have begun in what was looked at already.
    const std::size_t from = scanned_ - std::min(scanned_, kHeadEnd.size() - 1);
    const std::size_t end = seen.substr(0, kMaxHeadBytes).find(kHeadEnd, from);
    if (end == seen.npos) {
      scanned_ = seen.size();
      return scanned_ >= kMaxHeadBytes ? "head too long" : nullptr;
    }
    scanned_ = 0;
    headBytes_ = end + kHeadEnd.size();
    return parseHead(seen.substr(0, end));
  }

  const char* parseHead(std::string_view head) {
    std::optional<std::size_t> length;
    while (true) {
      const std::size_t end = head.find("\r\n");
      const std::string_view line = head.substr(0, end);
      if (line.find_first_of("\r\n") != line.npos) return "CR or LF alone in the head";
      const std::size_t colon = line.find(": ");
      if (colon == line.npos || colon == 0) return "a line of the head is not 'Name: value'";
      if (line.substr(0, colon) == "Length") {
        if (length) return "more than one Length";
        const std::string_view value = line.substr(colon + 2);
        if (!parseLength(value, length.emplace())) return "Length is not a number, or too large";
      }
      if (end == head.npos) break;
      head.remove_prefix(end + 2);
    }
    if (!length) return "no Length";
    bodyBytes_ = *length;
    return nullptr;
  }

  [[nodiscard]] bool parseLength(std::string_view text, std::size_t& length) const {
    const char* last = text.data() + text.size();
    const auto [end, error] = std::from_chars(text.data(), last, length);
    return error == std::errc() && end == last && length <= maxBytes_;
  }

  std::size_t maxBytes_;
  std::size_t scanned_ = 0;    // bytes of the input in which the head does not end
  std::size_t headBytes_ = 0;  // of a head that is understood and waits for its body; 0: none
  std::size_t bodyBytes_ = 0;
};

static_assert(FrameCodec<HeadAndBody>);

}  // namespace framing
