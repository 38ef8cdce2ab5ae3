#pragma once

#include <chrono>
#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "rung/base/noncopyable.h"

#include "kv/Hash.h"

namespace kv {

/// Keys with values, some of which have a deadline. A key whose deadline has come is gone for each
/// call, whether eraseDue() has been there already or not.
/// Thread: one.
class Store : rung::noncopyable {
 public:
  /// Of the steady clock: a wall clock that is set would end keys too early, or keep them for ever.
  using Time = std::chrono::time_point<std::chrono::steady_clock, std::chrono::milliseconds>;

  class Entry {
   public:
    [[nodiscard]] const std::string& value() const { return value_; }
    [[nodiscard]] std::optional<Time> deadline() const {
      return timed_ ? std::optional(place_->first) : std::nullopt;
    }

   private:
    friend class Store;
    std::string value_;
    std::multimap<Time, const std::string*>::iterator place_;  // in deadlines_
    bool timed_ = false;                                       // it has one
  };

  /// The moment in which all calls happen, until the next setTime().
  void setTime(Time now) { now_ = now; }
  [[nodiscard]] Time now() const { return now_; }

  /// nullptr: there is no such key.
  /// Lifetime: of the entry, until the key is erased.
  [[nodiscard]] Entry* find(std::string_view key);
  /// Makes the key, or replaces its value; a deadline stays.
  /// Lifetime: `value` is not of this Store.
  Entry& put(std::string_view key, std::string_view value);
  /// False: there was no such key.
  bool erase(std::string_view key);
  void setDeadline(std::string_view key, Entry& entry, Time deadline);
  void clearDeadline(Entry& entry);

  /// Erases keys whose deadline has come, `most` at a time; returns how many.
  std::size_t eraseDue(std::size_t most);
  void clear();

  [[nodiscard]] std::size_t size() const { return entries_.size(); }
  /// Memory of keys and values, about.
  [[nodiscard]] std::size_t bytes() const { return bytes_; }

 private:
  using Entries = std::unordered_map<std::string, Entry, SecretHash, std::equal_to<>>;

  void erase(Entries::iterator place);

  Time now_;
  std::size_t bytes_ = 0;
  Entries entries_;
  /// The next one comes first. The keys are those in entries_, which do not move.
  std::multimap<Time, const std::string*> deadlines_;
};

}  // namespace kv
