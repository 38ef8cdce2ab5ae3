#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "examples/kv/Hash.h"
#include "examples/kv/Resp.h"
#include "examples/kv/Store.h"

using kv::RequestParser;
using kv::Store;
using namespace std::chrono_literals;
using namespace std::string_literals;
using Words = std::vector<std::string>;

namespace {

/// What the parser makes of a stream.
struct Outcome {
  std::vector<Words> commands;
  std::string problem;   // empty: nothing was wrong
  std::size_t rest = 0;  // bytes of a command that is not whole

  friend bool operator==(const Outcome&, const Outcome&) = default;
};

/// Gives `stream` to a parser; `pieceBytes()` tells how much more is there each time. As in a
/// Buffer, what is used up goes, and the rest moves to another place.
template <class PieceBytes>
Outcome parse(const std::string& stream, PieceBytes pieceBytes) {
  RequestParser parser;
  Outcome outcome;
  std::string input;
  for (std::size_t given = 0; given < stream.size();) {
    const std::string piece = stream.substr(given, pieceBytes());
    given += piece.size();
    input = std::string(input) + piece;
    auto state = parser.next(input);
    for (; state == RequestParser::State::whole; state = parser.next(input)) {
      outcome.commands.emplace_back(parser.args().begin(), parser.args().end());
      input.erase(0, parser.size());
    }
    if (state == RequestParser::State::wrong) {
      outcome.problem = parser.problem();
      return outcome;
    }
  }
  outcome.rest = input.size();
  return outcome;
}

/// Whole, in pieces of each size, and in random pieces: that must make no difference.
Outcome parseInAllWays(const std::string& stream) {
  const Outcome outcome = parse(stream, [&] { return stream.size(); });
  for (std::size_t size = 1; size < std::min<std::size_t>(stream.size(), 80); ++size) {
    CAPTURE(size);
    CHECK(parse(stream, [&] { return size; }) == outcome);
  }
  for (unsigned seed = 1; seed <= 50; ++seed) {
    CAPTURE(seed);
    std::minstd_rand random(seed);
    CHECK(parse(stream, [&] { return random() % 7 + 1; }) == outcome);
  }
  return outcome;
}

std::string problemOf(const std::string& stream) {
  return parseInAllWays(stream).problem;
}

std::string encode(const Words& words) {
  std::string result;
  kv::appendArray(result, words.size());
  for (const std::string& word : words)
    kv::appendBulk(result, word);
  return result;
}

}  // namespace

TEST_CASE("RequestParser: commands are found, however they arrive") {
  const std::vector<Words> commands{{"GET", "key"},
                                    {"SET", "", "\r\n$3\r\n\0\xff"s},
                                    {"PING"},
                                    {"MSET", "a", std::string(300, 'x'), "b", "*1\r\n"}};
  std::string stream;
  for (const Words& words : commands)
    stream += encode(words);
  Outcome outcome = parseInAllWays(stream);
  CHECK(outcome.commands == commands);
  CHECK(outcome.problem.empty());
  CHECK(outcome.rest == 0);
  outcome = parseInAllWays(stream + "*2\r\n$3\r\nGET\r\n$2\r\nk");
  CHECK(outcome.commands == commands);
  CHECK(outcome.rest == 18);
}

TEST_CASE("RequestParser: no words in an empty line, *0 and *-1") {
  CHECK(parseInAllWays("\r\n*0\r\n*-1\r\n  \n*1\r\n$4\r\nPING\r\n").commands ==
        std::vector<Words>{{}, {}, {}, {}, {"PING"}});
}

TEST_CASE("RequestParser: lines are split at blanks, with quotes as in a shell") {
  CHECK(parseInAllWays("PING\r\nset  a\tb \n").commands ==
        std::vector<Words>{{"PING"}, {"set", "a", "b"}});
  CHECK(parseInAllWays("set \"a b\" 'c \"d'\n\"\"\n").commands ==
        std::vector<Words>{{"set", "a b", "c \"d"}, {""}});
  CHECK(parseInAllWays(R"("\x41\x00\n\t\"\\\q\xzz" '\'\n')"
                       "\n")
            .commands == std::vector<Words>{{"A\0\n\t\"\\qxzz"s, R"('\n)"}});
  for (const char* line : {"\"", "'", "a \"b", "'a'b", "\"a\"'b'", "\"a\\\"", "'a\\'"}) {
    CAPTURE(line);
    CHECK(problemOf(line + "\n"s) == "unbalanced quotes in request");
  }
}

TEST_CASE("RequestParser: a length that is no length is refused by its name") {
  for (const char* length : {"2147483647", "1048577", "99999999999999999999", "abc", "", "+1", "01",
                             " 1", "1 ", "0x1", "-", "-0", "1\n"}) {
    CAPTURE(length);
    CHECK(problemOf("*"s + length + "\r\n") == "invalid multibulk length");
  }
  for (const char* length : {"-5", "-1", "536870913", "33554433", "99999999999999999999", "abc", "",
                             "+1", "01", " 1", "1\n"}) {
    CAPTURE(length);
    CHECK(problemOf("*1\r\n$"s + length + "\r\n") == "invalid bulk length");
  }
  CHECK(problemOf("*1\r\nPING\r\n") == "expected '$', got 'P'");
  CHECK(problemOf("*1\r\n$4\r\nPINGPONG\r\n") == "expected CR LF behind a bulk");
  CHECK(problemOf("*1\r\n$4\r\nPING\r$") == "expected CR LF behind a bulk");
  CHECK(problemOf("*1\r$4") == "invalid multibulk length");
}

TEST_CASE("RequestParser: a length without end is refused after a few bytes") {
  const std::string digits(24, '1');
  CHECK(problemOf("*" + digits) == "invalid multibulk length");
  CHECK(problemOf("*1\r\n$" + digits) == "invalid bulk length");
  CHECK(parseInAllWays("*1\r\n$1111111111").rest == 15);
}

TEST_CASE("RequestParser: a line without end is refused at its limit, and not before") {
  const std::string line(RequestParser::kMaxLineBytes - 1, 'x');
  for (const std::size_t size : {std::size_t{997}, line.size() + 2}) {
    const auto problem = [&](const std::string& stream) {
      return parse(stream, [&] { return size; }).problem;
    };
    CHECK(problem(line).empty());
    CHECK(problem(line + "\n").empty());
    CHECK(problem(line + "x") == "too big inline request");
    CHECK(problem(line + "x\n") == "too big inline request");
  }
}

TEST_CASE("RequestParser: a command above the limit is refused when its length is told") {
  RequestParser parser;
  const std::string word(RequestParser::kMaxWordBytes, 'x');
  const std::string announced = "$"s.append(std::to_string(word.size())) + "\r\n";
  std::string input = "*3\r\n" + announced + word + "\r\n" + announced;
  CHECK(parser.next(input) == RequestParser::State::wrong);
  CHECK(parser.problem() == "too big command");
}

TEST_CASE("RequestParser: a long command that trickles in is not read again and again") {
  // A second look at what is there would take hours.
  const std::string word(4 << 20, 'x');
  for (const std::string& stream : {encode({"SET", "key", word}), encode(Words(200'000, "x")),
                                    std::string(RequestParser::kMaxLineBytes - 1, 'x') + "\n"}) {
    RequestParser parser;
    std::size_t bytes = 1;
    while (bytes < stream.size() &&
           parser.next(std::string_view(stream).substr(0, bytes)) == RequestParser::State::partial)
      ++bytes;
    CHECK(bytes == stream.size());
    CHECK(parser.next(stream) == RequestParser::State::whole);
    CHECK(parser.size() == stream.size());
  }
}

TEST_CASE("Replies: an error has one line, whatever it quotes") {
  std::string out;
  kv::appendError(out, "ERR unknown command 'a\r\n+OK'");
  CHECK(out == "-ERR unknown command 'a  +OK'\r\n");
}

TEST_CASE("integerOf takes what Redis takes") {
  CHECK(kv::integerOf("0") == 0);
  CHECK(kv::integerOf("-9223372036854775808") == INT64_MIN);
  CHECK(kv::integerOf("9223372036854775807") == INT64_MAX);
  for (const char* text : {"", "-", "-0", "00", "01", "-01", "+1", "1.0", " 1", "1 ", "1e3", "0x1",
                           "9223372036854775808", "-9223372036854775809"}) {
    CAPTURE(text);
    CHECK_FALSE(kv::integerOf(text).has_value());
  }
}

TEST_CASE("SecretHash is SipHash-1-3, and differs from process to process") {
  // As CPython 3.11 has them: PYTHONHASHSEED=0 python3 -c 'print(hash(b"a") & 2**64 - 1)'
  const kv::SecretHash hash(0, 0);
  CHECK(hash("a") == 0x407448d2b89b1813);
  CHECK(hash("1234567") == 0xa33d651594fdae81);
  CHECK(hash("12345678") == 0x3489982430560a87);
  CHECK(hash("123456789") == 0x0fbc0f0007965fcf);
  CHECK(hash("key:000000012345") == 0x286cb3dfebab533d);
  CHECK(kv::SecretHash()("a") != kv::SecretHash()("a"));
}

TEST_CASE("Store: a key is gone from the moment of its deadline") {
  Store store;
  const Store::Time start{1h};
  store.setTime(start);
  store.setDeadline("a", store.put("a", "1"), start + 10ms);
  store.put("b", "2");
  store.setTime(start + 9ms);
  REQUIRE(store.find("a") != nullptr);
  CHECK(store.find("a")->deadline() == start + 10ms);
  CHECK(store.size() == 2);
  store.setTime(start + 10ms);
  CHECK(store.find("a") == nullptr);
  CHECK(store.size() == 1);
  CHECK_FALSE(store.erase("a"));
  CHECK(store.eraseDue(10) == 0);
  CHECK(store.find("b")->value() == "2");
}

TEST_CASE("Store: keys that nobody asks for are erased, the next ones first, so many at a time") {
  Store store;
  const Store::Time start{1h};
  store.setTime(start);
  for (int i = 0; i < 100; ++i) {
    const std::string key = std::to_string(i);
    store.setDeadline(key, store.put(key, "x"), start + std::chrono::milliseconds(i));
  }
  store.setTime(start + 49ms);
  CHECK(store.eraseDue(30) == 30);
  CHECK(store.find("30") == nullptr);  // by the call itself
  CHECK(store.eraseDue(30) == 19);
  CHECK(store.eraseDue(30) == 0);
  CHECK(store.size() == 50);
  store.setTime(start + 1h);
  CHECK(store.eraseDue(1000) == 50);
  CHECK(store.bytes() == 0);
}

TEST_CASE("Store: a deadline that is moved or taken away is the only one") {
  Store store;
  const Store::Time start{1h};
  store.setTime(start);
  for (int i = 1; i <= 10; ++i)
    store.setDeadline("moved", store.put("moved", "x"), start + i * 10ms);
  store.setDeadline("kept", store.put("kept", "x"), start + 10ms);
  store.clearDeadline(*store.find("kept"));
  store.setTime(start + 99ms);
  CHECK(store.eraseDue(10) == 0);
  CHECK(store.find("kept")->deadline() == std::nullopt);
  store.setTime(start + 100ms);
  CHECK(store.eraseDue(10) == 1);
  CHECK(store.find("moved") == nullptr);
}

TEST_CASE("Store: bytes() goes up and down with what is there") {
  Store store;
  store.put("key", std::string(1000, 'x'));
  const std::size_t large = store.bytes();
  CHECK(large > 1000);
  store.put("key", "x");
  CHECK(store.bytes() == large - 999);
  CHECK(store.find("key")->value().capacity() < 200);
  store.put("other", "x");
  CHECK(store.erase("key"));
  CHECK(store.erase("other"));
  CHECK(store.bytes() == 0);
  store.put("key", "x");
  store.clear();
  CHECK(store.bytes() == 0);
  CHECK(store.find("key") == nullptr);
}
