#include "kv/Resp.h"

#include <algorithm>
#include <charconv>
#include <utility>

namespace kv {

namespace {

constexpr std::size_t kMaxLengthBytes = 24;  // a sign, the digits of 64 bits and CR LF need 22
constexpr std::size_t kKeptWords = 64;       // memory that a connection keeps between commands

char lowerOf(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool isBlank(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

int hexOf(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char lower = lowerOf(c);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/// The character that a backslash and `c` stand for between double quotes.
char escaped(char c) {
  constexpr std::string_view kFrom = "nrtba", kTo = "\n\r\t\b\a";
  const std::size_t place = kFrom.find(c);
  return place == kFrom.npos ? c : kTo[place];
}

/// Takes a word in quotes off `line`, which begins behind the first quote; false if it has no end.
bool takeQuoted(char quote, std::string_view& line, std::string& word) {
  while (!line.empty() && line[0] != quote) {
    std::size_t used = 1;
    char c = line[0];
    if (c == '\\' && line.size() > 1 && (quote == '"' || line[1] == '\'')) {
      const bool hex = quote == '"' && line.size() > 3 && line[1] == 'x' && hexOf(line[2]) >= 0 &&
                       hexOf(line[3]) >= 0;
      used = hex ? 4 : 2;
      c = hex ? static_cast<char>(hexOf(line[2]) * 16 + hexOf(line[3])) : escaped(line[1]);
    }
    word += c;
    line.remove_prefix(used);
  }
  if (line.empty()) return false;
  line.remove_prefix(1);
  return line.empty() || isBlank(line[0]);  // as Redis: "a"b is no word
}

void appendNumberLine(std::string& out, char kind, std::int64_t number) {
  char digits[24] = {kind};
  char* end = std::to_chars(digits + 1, digits + 22, number).ptr;
  *end++ = '\r';
  *end++ = '\n';
  out.append(digits, end);
}

}  // namespace

RequestParser::State RequestParser::next(std::string_view input) {
  if (done_) reset();
  if (input.empty()) return State::partial;
  if (!inCommand_) {
    if (input[0] != '*') return readLine(input);
    const State state = readLength(input, "multibulk", kMaxWords, wordsToCome_);
    if (state != State::whole) return state;
    inCommand_ = true;
  }
  for (; wordsToCome_ > 0; --wordsToCome_) {
    if (const State state = readWord(input); state != State::whole) return state;
  }
  for (const Word& word : words_)
    args_.push_back(input.substr(word.at, word.size));
  done_ = true;
  return State::whole;
}

/// Forgets the command before, and gives back the memory that only few commands need.
void RequestParser::reset() {
  seen_ = 0;
  inCommand_ = done_ = false;
  words_.clear();
  args_.clear();
  unquoted_.clear();
  if (words_.capacity() > kKeptWords) words_ = std::vector<Word>();
  if (args_.capacity() > kKeptWords) args_ = std::vector<std::string_view>();
  if (unquoted_.capacity() > kKeptWords) unquoted_ = std::vector<std::string>();
}

RequestParser::State RequestParser::fail(std::string problem) {
  problem_ = std::move(problem);
  return State::wrong;
}

/// The length behind the '*' or '$' at seen_, and its end of line.
RequestParser::State RequestParser::readLength(std::string_view input, const char* kind,
                                               std::int64_t most, std::int64_t& length) {
  const std::string_view line = input.substr(seen_ + 1, kMaxLengthBytes);
  const std::size_t end = line.find('\r');
  if (end == line.npos || end + 1 == line.size()) {  // CR LF is not whole
    if (line.size() < kMaxLengthBytes) return State::partial;
    return fail("invalid " + std::string(kind) + " length");
  }
  const std::optional<std::int64_t> number = integerOf(line.substr(0, end));
  if (line[end + 1] != '\n' || !number || *number > most) {
    return fail("invalid " + std::string(kind) + " length");
  }
  length = *number;
  seen_ += 1 + end + 2;
  return State::whole;
}

RequestParser::State RequestParser::readWord(std::string_view input) {
  if (wordBytes_ < 0) {
    if (seen_ == input.size()) return State::partial;
    if (input[seen_] != '$')
      return fail("expected '$', got '" + std::string(1, input[seen_]) + "'");
    const State state = readLength(input, "bulk", kMaxWordBytes, wordBytes_);
    if (state != State::whole) return state;
    if (wordBytes_ < 0) return fail("invalid bulk length");
    if (seen_ + static_cast<std::size_t>(wordBytes_) + 2 > kMaxCommandBytes) {
      return fail("too big command");
    }
  }
  const auto bytes = static_cast<std::size_t>(wordBytes_);
  if (input.size() - seen_ < bytes + 2) return State::partial;
  if (input[seen_ + bytes] != '\r' || input[seen_ + bytes + 1] != '\n') {
    return fail("expected CR LF behind a bulk");
  }
  words_.push_back({static_cast<std::uint32_t>(seen_), static_cast<std::uint32_t>(bytes)});
  seen_ += bytes + 2;
  wordBytes_ = -1;
  return State::whole;
}

RequestParser::State RequestParser::readLine(std::string_view input) {
  const std::string_view start = input.substr(0, kMaxLineBytes);
  const std::size_t end = start.find('\n', seen_);
  if (end == start.npos) {
    seen_ = start.size();
    return seen_ < kMaxLineBytes ? State::partial : fail("too big inline request");
  }
  std::string_view line = start.substr(0, end);
  if (line.ends_with('\r')) line.remove_suffix(1);
  if (!splitLine(line)) return fail("unbalanced quotes in request");
  args_.assign(unquoted_.begin(), unquoted_.end());
  seen_ = end + 1;
  done_ = true;
  return State::whole;
}

/// Splits at blanks; words may have quotes, as in a shell. False: a quote has no end.
bool RequestParser::splitLine(std::string_view line) {
  for (;;) {
    line.remove_prefix(static_cast<std::size_t>(
        std::find_if_not(line.begin(), line.end(), isBlank) - line.begin()));
    if (line.empty()) return true;
    std::string& word = unquoted_.emplace_back();
    while (!line.empty() && !isBlank(line[0])) {
      const char c = line[0];
      line.remove_prefix(1);
      if (c != '"' && c != '\'') {
        word += c;
      } else if (!takeQuoted(c, line, word)) {
        return false;
      }
    }
  }
}

std::optional<std::int64_t> integerOf(std::string_view text) {
  const std::string_view digits = text.substr(text.starts_with('-') ? 1 : 0);
  const bool zero = text == "0";
  if (digits.empty() || (digits[0] == '0' && !zero)) return std::nullopt;
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

bool equalsLower(std::string_view text, std::string_view lower) {
  return text.size() == lower.size() &&
         std::equal(text.begin(), text.end(), lower.begin(),
                    [](char c, char wanted) { return lowerOf(c) == wanted; });
}

void appendError(std::string& out, std::string_view text) {
  out += '-';
  for (const char c : text)
    out += c == '\r' || c == '\n' ? ' ' : c;
  out += "\r\n";
}

void appendInteger(std::string& out, std::int64_t number) {
  appendNumberLine(out, ':', number);
}

void appendBulk(std::string& out, std::string_view bytes) {
  appendNumberLine(out, '$', static_cast<std::int64_t>(bytes.size()));
  out += bytes;
  out += "\r\n";
}

void appendArray(std::string& out, std::size_t count) {
  appendNumberLine(out, '*', static_cast<std::int64_t>(count));
}

}  // namespace kv
