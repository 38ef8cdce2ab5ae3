#include "kv/Store.h"

namespace kv {

namespace {

constexpr std::size_t kEntryBytes = 128;       // the node of the table, and its place in it
constexpr std::size_t kWorthShrinking = 4096;  // fewer buckets are not worth the work

}  // namespace

Store::Entry* Store::find(std::string_view key) {
  const auto place = entries_.find(key);
  if (place == entries_.end()) return nullptr;
  Entry& entry = place->second;
  if (!entry.timed_ || entry.place_->first > now_) return &entry;
  erase(place);
  return nullptr;
}

Store::Entry& Store::put(std::string_view key, std::string_view value) {
  Entry* entry = find(key);
  if (entry == nullptr) {
    entry = &entries_.try_emplace(std::string(key)).first->second;
    bytes_ += kEntryBytes + key.size();
  }
  std::string& old = entry->value_;
  bytes_ -= old.size();
  // A short value does not keep the memory of a long one, as it would by an assignment.
  if (old.capacity() / 2 > value.size() + sizeof(Entry)) {
    std::string(value).swap(old);
  } else {
    old = value;
  }
  bytes_ += old.size();
  return *entry;
}

bool Store::erase(std::string_view key) {
  if (find(key) == nullptr) return false;
  erase(entries_.find(key));
  return true;
}

void Store::erase(Entries::iterator place) {
  clearDeadline(place->second);
  bytes_ -= kEntryBytes + place->first.size() + place->second.value_.size();
  entries_.erase(place);
}

void Store::setDeadline(std::string_view key, Entry& entry, Time deadline) {
  const std::string& own = entries_.find(key)->first;
  clearDeadline(entry);
  entry.place_ = deadlines_.emplace(deadline, &own);
  entry.timed_ = true;
}

void Store::clearDeadline(Entry& entry) {
  if (!entry.timed_) return;
  deadlines_.erase(entry.place_);
  entry.timed_ = false;
}

std::size_t Store::eraseDue(std::size_t most) {
  std::size_t count = 0;
  for (; count < most && !deadlines_.empty() && deadlines_.begin()->first <= now_; ++count)
    erase(entries_.find(*deadlines_.begin()->second));
  // The table grows by itself, and never shrinks.
  if (entries_.bucket_count() > kWorthShrinking && entries_.size() < entries_.bucket_count() / 8) {
    entries_.rehash(entries_.size() * 2);
  }
  return count;
}

void Store::clear() {
  deadlines_.clear();
  entries_ = Entries();  // {} would keep its buckets
  bytes_ = 0;
}

}  // namespace kv
