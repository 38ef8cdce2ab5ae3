#include <doctest/doctest.h>

#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "examples/framing/Delimited.h"
#include "examples/framing/FixedLength.h"
#include "examples/framing/HeadAndBody.h"
#include "examples/framing/LengthHeader.h"

using framing::Delimited;
using framing::FixedLength;
using framing::Frame;
using framing::HeadAndBody;
using framing::LengthHeader;
using namespace std::string_literals;

namespace {

constexpr std::size_t kMost = 8;

/// What a codec makes of a stream.
struct Outcome {
  std::vector<std::string> payloads;
  std::string problem;   // empty: nothing was wrong
  std::size_t rest = 0;  // bytes of a frame that is not whole

  friend bool operator==(const Outcome&, const Outcome&) = default;
};

/// Gives `stream` to a codec in pieces of `pieceBytes`.
template <class Codec>
Outcome decode(std::string_view stream, std::size_t pieceBytes) {
  Codec codec(kMost);
  rung::Buffer input;
  Outcome outcome;
  while (!stream.empty()) {
    input.append(stream.substr(0, pieceBytes));
    stream.remove_prefix(std::min(stream.size(), pieceBytes));
    Frame frame = codec.next(input);
    for (; frame.state == Frame::State::whole; frame = codec.next(input))
      outcome.payloads.push_back(frame.payload);
    if (frame.state == Frame::State::wrong) {
      outcome.problem = frame.problem;
      return outcome;
    }
  }
  outcome.rest = input.readableBytes();
  return outcome;
}

/// Decodes `stream` in pieces of every size, which must make no difference.
template <class Codec>
Outcome decodeInAllWays(const std::string& stream) {
  const Outcome outcome = decode<Codec>(stream, stream.size());
  for (std::size_t pieceBytes = 1; pieceBytes < stream.size(); ++pieceBytes) {
    CAPTURE(pieceBytes);
    CHECK(decode<Codec>(stream, pieceBytes) == outcome);
  }
  return outcome;
}

template <class Codec>
std::string problemOf(const std::string& stream) {
  return decodeInAllWays<Codec>(stream).problem;
}

}  // namespace

TEST_CASE_TEMPLATE("what is encoded is decoded, however it arrives", Codec, FixedLength, Delimited,
                   LengthHeader, HeadAndBody) {
  std::vector<std::string> payloads{"8 bytes.", "12345678", "........"};
  if constexpr (!std::is_same_v<Codec, FixedLength>) payloads.insert(payloads.end(), {"", "x", ""});
  std::string stream;
  for (const std::string& payload : payloads)
    stream += Codec(kMost).encode(payload);
  const Outcome outcome = decodeInAllWays<Codec>(stream);
  CHECK(outcome.payloads == payloads);
  CHECK(outcome.problem.empty());
  CHECK(outcome.rest == 0);
}

TEST_CASE_TEMPLATE("a frame that is cut short anywhere stays in the input", Codec, FixedLength,
                   Delimited, LengthHeader, HeadAndBody) {
  const std::string frame = Codec(kMost).encode("12345678");
  for (std::size_t bytes = 1; bytes < frame.size(); ++bytes) {
    const Outcome outcome = decodeInAllWays<Codec>(frame + frame.substr(0, bytes));
    CHECK(outcome.payloads.size() == 1);
    CHECK(outcome.problem.empty());
    CHECK(outcome.rest == bytes);
  }
}

TEST_CASE_TEMPLATE("a payload above the maximum is refused before it is there", Codec, Delimited,
                   LengthHeader, HeadAndBody) {
  const std::string frame = Codec(kMost + 1).encode("123456789");
  CHECK_FALSE(problemOf<Codec>(frame).empty());
  // And the one after a good frame is not taken for a good one.
  const Outcome outcome = decodeInAllWays<Codec>(Codec(kMost).encode("12345678") + frame);
  CHECK(outcome.payloads.size() == 1);
  CHECK_FALSE(outcome.problem.empty());
}

TEST_CASE("FixedLength pads and cuts, since it can say nothing else") {
  CHECK(FixedLength(kMost).encode("short") == "short   ");
  CHECK(FixedLength(kMost).encode("much too long") == "much too");
}

TEST_CASE("Delimited refuses CR and LF alone, and a line without end") {
  CHECK(problemOf<Delimited>("a\nb\r\n") == "LF without CR");
  CHECK(problemOf<Delimited>("\n") == "LF without CR");
  CHECK(problemOf<Delimited>("a\rb\r\n") == "CR without LF");
  CHECK(problemOf<Delimited>("a\r\r\n") == "CR without LF");
  CHECK(problemOf<Delimited>(std::string(1000, 'x')) == "line too long");
  CHECK(decodeInAllWays<Delimited>("a\0b\r\n"s).payloads == std::vector{"a\0b"s});
  // A CR at the very end of the longest line may still become its end.
  CHECK(decodeInAllWays<Delimited>("12345678\r").problem.empty());
}

TEST_CASE("LengthHeader believes no length above the maximum") {
  for (const std::string& header : {"\0\0\0\x09"s, "\x7f\xff\xff\xff"s, "\x80\0\0\0"s,
                                    "\xff\xff\xff\xff"s, "\xff\xff\xff\xfc"s, "GET "s}) {
    CHECK(problemOf<LengthHeader>(header) == "length above the maximum");
  }
  CHECK(decodeInAllWays<LengthHeader>("\0\0\0\0\0\0\0\0"s).payloads == std::vector{""s, ""s});
}

TEST_CASE("HeadAndBody takes unknown fields, and refuses what could be read in two ways") {
  const Outcome good =
      decodeInAllWays<HeadAndBody>("Colour: green\r\nLength: 2\r\nX: \r\n\r\nhiLength: 0\r\n\r\n");
  CHECK(good.payloads == std::vector{"hi"s, ""s});

  CHECK(problemOf<HeadAndBody>("Length: 1\r\nLength: 2\r\n\r\n") == "more than one Length");
  CHECK(problemOf<HeadAndBody>("Colour: green\r\n\r\n") == "no Length");
  CHECK(problemOf<HeadAndBody>("length: 1\r\n\r\n") == "no Length");
  for (const char* length : {"-1", "+1", " 1", "1 ", "0x1", "1,1", "", "9", "4294967296",
                             "18446744073709551616", "99999999999999999999999"}) {
    CAPTURE(length);
    CHECK(problemOf<HeadAndBody>("Length: "s + length + "\r\n\r\n") ==
          "Length is not a number, or too large");
  }
  for (const char* head : {"\r\n\r\n", "\r\nLength: 1\r\n\r\n", ": 1\r\n\r\n", "Length:1\r\n\r\n",
                           "Length\r\n\r\n", "garbage\r\n\r\n"}) {
    CAPTURE(head);
    CHECK(problemOf<HeadAndBody>(head) == "a line of the head is not 'Name: value'");
  }
  CHECK(problemOf<HeadAndBody>("Length: 1\nX: 2\r\n\r\n") == "CR or LF alone in the head");
  CHECK(problemOf<HeadAndBody>("X: a\rb\r\nLength: 1\r\n\r\n") == "CR or LF alone in the head");
}

TEST_CASE("HeadAndBody keeps no head above its limit, ended or not") {
  CHECK(problemOf<HeadAndBody>("X: " + std::string(2000, 'x')) == "head too long");
  const std::string length = "Length: 0\r\n\r\n";
  const auto padded = [&](std::size_t headBytes) {
    return "X: " + std::string(headBytes - 5 - length.size(), 'x') + "\r\n" + length;
  };
  CHECK(problemOf<HeadAndBody>(padded(HeadAndBody::kMaxHeadBytes)).empty());
  CHECK(problemOf<HeadAndBody>(padded(HeadAndBody::kMaxHeadBytes + 1)) == "head too long");
}
