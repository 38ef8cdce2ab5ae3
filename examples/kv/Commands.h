#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "rung/base/noncopyable.h"

#include "kv/Channels.h"
#include "kv/Resp.h"
#include "kv/Store.h"

namespace kv {

/// Finds the command by its name, checks its arguments, and runs it.
/// Thread: one.
class Commands : rung::noncopyable {
 public:
  /// What is to become of the connection: no more commands, once all replies are read; none, and
  /// soon; none, and nothing is sent.
  enum class After { goOn, quit, dismiss, drop };

  /// One MGET may name a large value a million times. A longer reply is refused.
  static constexpr std::size_t kMaxReplyBytes = std::size_t{64} << 20;
  /// What one client can make the server remember for it. Redis has no such limit.
  static constexpr std::size_t kMaxChannels = 1000;
  static constexpr std::size_t kMaxChannelBytes = 1024;

  /// `maxMemory`, in bytes of the store: from there on commands that make it grow are refused.
  Commands(Store& store, Channels& channels, std::size_t maxMemory)
      : store_(store), channels_(channels), maxMemory_(maxMemory) {}

  /// Runs the command that `args` are, not empty, and appends its reply to `out`.
  After run(Client& client, Args args, std::string& out);

 private:
  struct Call {
    Client& client;
    Args args;
    std::string_view lowerName;  // of the command
    std::string& out;
    After after = After::goOn;
  };
  struct Command;
  static const Command kCommands[];
  static constexpr std::string_view kNotInteger = "ERR value is not an integer or out of range";
  static constexpr std::string_view kSyntaxError = "ERR syntax error";

  static void refuseArity(std::string& out, std::string_view lowerName);

  // In CommandsOnKeys.cc.

  void answerGet(Call& call);
  void answerSet(Call& call);
  void answerDel(Call& call);
  void answerExists(Call& call);
  void answerMget(Call& call);
  void answerMset(Call& call);
  template <int kSign>
  void answerIncr(Call& call);
  void answerIncrby(Call& call);
  void add(Call& call, std::int64_t amount);

  template <int kMillis>
  void answerExpire(Call& call);
  template <int kMillis>
  void answerTtl(Call& call);
  void answerPersist(Call& call);
  bool deadlineIn(Call& call, std::string_view amount, int millis, Store::Time& deadline);

  // In Commands.cc.
  void answerPublish(Call& call);
  void answerSubscribe(Call& call);
  void answerUnsubscribe(Call& call);
  void answerPsubscribe(Call& call);

  void answerPing(Call& call);
  void answerEcho(Call& call);
  void answerSelect(Call& call);
  void answerDbsize(Call& call);
  void answerFlushall(Call& call);
  void answerHello(Call& call);
  void answerQuit(Call& call);
  void answerCommand(Call& call);
  void answerConfig(Call& call);
  void answerBrowser(Call& call);

  Store& store_;
  Channels& channels_;
  const std::size_t maxMemory_;
};

}  // namespace kv
