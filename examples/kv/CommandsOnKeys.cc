#include <algorithm>
#include <charconv>
#include <chrono>
#include <optional>
#include <string>

#include "kv/Commands.h"

// The commands that look at keys: their values, and their deadlines.

namespace kv {

namespace {

/// Milliseconds of what SET's EX or PX counts; 0: it is another option.
int unitOf(std::string_view option) {
  if (equalsLower(option, "ex")) return 1000;
  return equalsLower(option, "px") ? 1 : 0;
}

void refuseTime(std::string& out, std::string_view lowerName) {
  appendError(out, "ERR invalid expire time in '" + std::string(lowerName) + "' command");
}

void appendValue(std::string& out, const Store::Entry* entry) {
  entry == nullptr ? appendNull(out) : appendBulk(out, entry->value());
}

}  // namespace

// ---- Values ----

void Commands::answerGet(Call& call) {
  appendValue(call.out, store_.find(call.args[1]));
}

/// SET key value [NX | XX] [EX seconds | PX milliseconds]
void Commands::answerSet(Call& call) {
  const std::string_view key = call.args[1];
  bool ifAbsent = false, ifPresent = false;
  std::string_view amount;
  int millis = 0;
  for (std::size_t i = 3; i < call.args.size(); ++i) {
    const std::string_view option = call.args[i];
    if (equalsLower(option, "nx") && !ifPresent) {
      ifAbsent = true;
    } else if (equalsLower(option, "xx") && !ifAbsent) {
      ifPresent = true;
    } else if (const int unit = unitOf(option);
               unit != 0 && (millis == 0 || millis == unit) && i + 1 < call.args.size()) {
      millis = unit;
      amount = call.args[++i];
    } else {
      return appendError(call.out, kSyntaxError);
    }
  }
  Store::Time deadline;
  if (millis != 0 && !deadlineIn(call, amount, millis, deadline)) return;
  if (millis != 0 && deadline <= store_.now()) {
    return refuseTime(call.out, call.lowerName);
  }
  if ((ifAbsent || ifPresent) && (store_.find(key) != nullptr) != ifPresent) {
    return appendNull(call.out);
  }
  Store::Entry& entry = store_.put(key, call.args[2]);
  millis != 0 ? store_.setDeadline(key, entry, deadline) : store_.clearDeadline(entry);
  appendOk(call.out);
}

void Commands::answerDel(Call& call) {
  appendInteger(call.out,
                std::count_if(call.args.begin() + 1, call.args.end(),
                              [this](std::string_view key) { return store_.erase(key); }));
}

void Commands::answerExists(Call& call) {
  appendInteger(call.out,
                std::count_if(call.args.begin() + 1, call.args.end(), [this](std::string_view key) {
                  return store_.find(key) != nullptr;
                }));
}

void Commands::answerMget(Call& call) {
  const Args keys = call.args.subspan(1);
  std::size_t bytes = 0;
  for (const std::string_view key : keys) {  // before anything is copied
    const Store::Entry* const entry = store_.find(key);
    bytes += entry == nullptr ? 0 : entry->value().size();
  }
  if (bytes > kMaxReplyBytes) {
    return appendError(call.out, "ERR the reply has more than " + std::to_string(kMaxReplyBytes) +
                                     " bytes; ask for fewer keys at a time");
  }
  appendArray(call.out, keys.size());
  for (const std::string_view key : keys)
    appendValue(call.out, store_.find(key));
}

void Commands::answerMset(Call& call) {
  if (call.args.size() % 2 == 0) return refuseArity(call.out, call.lowerName);
  for (std::size_t i = 1; i < call.args.size(); i += 2)
    store_.clearDeadline(store_.put(call.args[i], call.args[i + 1]));
  appendOk(call.out);
}

template <int kSign>
void Commands::answerIncr(Call& call) {
  add(call, kSign);
}

void Commands::answerIncrby(Call& call) {
  const std::optional<std::int64_t> amount = integerOf(call.args[2]);
  if (!amount) return appendError(call.out, kNotInteger);
  add(call, *amount);
}

void Commands::add(Call& call, std::int64_t amount) {
  const std::string_view key = call.args[1];
  const Store::Entry* const entry = store_.find(key);
  const std::optional<std::int64_t> before = entry == nullptr ? 0 : integerOf(entry->value());
  if (!before) return appendError(call.out, kNotInteger);
  std::int64_t sum = 0;
  if (__builtin_add_overflow(*before, amount, &sum)) {
    return appendError(call.out, "ERR increment or decrement would overflow");
  }
  char digits[24];
  const char* const end = std::to_chars(digits, digits + sizeof digits, sum).ptr;
  store_.put(key, std::string_view(digits, static_cast<std::size_t>(end - digits)));
  appendInteger(call.out, sum);
}

// ---- Deadlines ----

/// False: `amount`, of `millis` milliseconds each, is no time from now; the reply says so.
bool Commands::deadlineIn(Call& call, std::string_view amount, int millis, Store::Time& deadline) {
  const std::optional<std::int64_t> number = integerOf(amount);
  if (!number) return appendError(call.out, kNotInteger), false;
  std::int64_t sum = 0;
  if (__builtin_mul_overflow(*number, millis, &sum) ||
      __builtin_add_overflow(sum, store_.now().time_since_epoch().count(), &sum)) {
    return refuseTime(call.out, call.lowerName), false;
  }
  deadline = Store::Time(std::chrono::milliseconds(sum));
  return true;
}

template <int kMillis>
void Commands::answerExpire(Call& call) {
  Store::Time deadline;
  if (!deadlineIn(call, call.args[2], kMillis, deadline)) return;
  const std::string_view key = call.args[1];
  Store::Entry* const entry = store_.find(key);
  appendInteger(call.out, entry != nullptr);
  if (entry == nullptr) return;
  deadline > store_.now() ? store_.setDeadline(key, *entry, deadline) : (void)store_.erase(key);
}

template <int kMillis>
void Commands::answerTtl(Call& call) {
  const Store::Entry* const entry = store_.find(call.args[1]);
  if (entry == nullptr) return appendInteger(call.out, -2);
  const std::optional<Store::Time> deadline = entry->deadline();
  if (!deadline) return appendInteger(call.out, -1);
  appendInteger(call.out, ((*deadline - store_.now()).count() + kMillis / 2) / kMillis);
}

void Commands::answerPersist(Call& call) {
  Store::Entry* const entry = store_.find(call.args[1]);
  const bool timed = entry != nullptr && entry->deadline().has_value();
  if (timed) store_.clearDeadline(*entry);
  appendInteger(call.out, timed);
}

// The table in Commands.cc has these.
template void Commands::answerIncr<1>(Call&);
template void Commands::answerIncr<-1>(Call&);
template void Commands::answerExpire<1000>(Call&);
template void Commands::answerExpire<1>(Call&);
template void Commands::answerTtl<1000>(Call&);
template void Commands::answerTtl<1>(Call&);

}  // namespace kv
