#pragma once

// RESP2, the protocol of Redis: commands that arrive, and replies that leave.
// Source: redis.io, "Redis serialization protocol specification".

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kv {

/// The words of a command; the first is its name.
using Args = std::span<const std::string_view>;

/// Finds commands in a stream: `*2\r\n$3\r\nGET\r\n$1\r\nk\r\n`, or a line `GET k`, which a person
/// can type. It remembers how far it has read, so a command that arrives byte by byte costs no more
/// than one that arrives whole. It allocates for words that are there, never for an announcement.
class RequestParser {
 public:
  enum class State { partial, whole, wrong };

  /// Redis allows 512 MiB a word and 1 GiB a command. A peer that sends a command and never ends it
  /// costs that much memory here, so the limits are lower.
  static constexpr std::size_t kMaxWordBytes = std::size_t{32} << 20;
  static constexpr std::size_t kMaxCommandBytes = std::size_t{64} << 20;
  /// As Redis before version 7. Each word takes 24 bytes beside its text.
  static constexpr std::int64_t kMaxWords = 1 << 20;
  /// As in Redis. A line has no length in front, so each byte is looked at.
  static constexpr std::size_t kMaxLineBytes = std::size_t{64} << 10;

  /// Looks for a command at the start of `input`. After `partial`, the next call has the same bytes
  /// and more; after `whole`, those behind size(). After `wrong` there is no way on.
  [[nodiscard]] State next(std::string_view input);

  /// After `whole`. No words: an empty line, or `*0`; Redis answers nothing.
  /// Lifetime: until the next call; they are views into its input.
  [[nodiscard]] Args args() const { return args_; }
  /// After `whole`: how many bytes the command has.
  [[nodiscard]] std::size_t size() const { return seen_; }
  /// After `wrong`: the fault, in the words of Redis where it has some.
  [[nodiscard]] const std::string& problem() const { return problem_; }

 private:
  struct Word {
    std::uint32_t at, size;  // in the input, which may lie elsewhere at the next call
  };

  void reset();
  State fail(std::string problem);
  State readLine(std::string_view input);
  bool splitLine(std::string_view line);
  State readLength(std::string_view input, const char* kind, std::int64_t most,
                   std::int64_t& length);
  State readWord(std::string_view input);

  std::size_t seen_ = 0;  // bytes that need no second look
  std::int64_t wordsToCome_ = 0;
  std::int64_t wordBytes_ = -1;  // of the word that comes next; -1: its length is not there yet
  bool inCommand_ = false;       // "*N" has been read
  bool done_ = false;            // the last call returned a command
  std::vector<Word> words_;
  std::vector<std::string_view> args_;
  std::vector<std::string> unquoted_;  // the words of a line
  std::string problem_;
};

/// `text` as a number, if Redis takes it for one: no sign +, no leading zero, no blank.
[[nodiscard]] std::optional<std::int64_t> integerOf(std::string_view text);

/// Whether both are the same but for the case of ASCII letters; `lower` has no capitals.
[[nodiscard]] bool equalsLower(std::string_view text, std::string_view lower);

// Replies, each appended to `out`.

/// `text` begins with a word in capitals. A CR or LF in it becomes a blank: it would end the reply.
void appendError(std::string& out, std::string_view text);
void appendInteger(std::string& out, std::int64_t number);
void appendBulk(std::string& out, std::string_view bytes);
/// So many replies follow, and are its elements.
void appendArray(std::string& out, std::size_t count);
inline void appendOk(std::string& out) {
  out += "+OK\r\n";
}
inline void appendNull(std::string& out) {
  out += "$-1\r\n";
}

}  // namespace kv
