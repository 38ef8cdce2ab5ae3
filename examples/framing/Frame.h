#pragma once

#include <concepts>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include "rung/net/Buffer.h"

namespace framing {

/// What a codec finds at the front of the input.
struct Frame {
  enum class State { partial, whole, wrong };

  static Frame partial() { return {}; }
  static Frame whole(std::string payload) { return {State::whole, std::move(payload), ""}; }
  static Frame wrong(const char* problem) { return {State::wrong, {}, problem}; }

  State state = State::partial;
  std::string payload;
  const char* problem = "";  // what is wrong: the input can never become a frame
};

/// What the four codecs have in common. One object serves one connection, because it remembers how
/// far it has looked: bytes that come one by one are not looked at again and again.
/// next() takes a whole frame out of the input. A partial one it leaves there, so that an input
/// which is not empty at the end of the stream means that a frame was cut short.
/// Nothing is ever allocated for a length that was only announced.
template <class Codec>
concept FrameCodec = std::copyable<Codec> && std::constructible_from<Codec, std::size_t> &&
    requires(Codec codec, rung::Buffer& input, std::string_view payload) {
  { codec.next(input) } -> std::same_as<Frame>;
  { codec.encode(payload) } -> std::same_as<std::string>;
};

}  // namespace framing
