#include "kv/Commands.h"

#include <algorithm>
#include <optional>
#include <string>

namespace kv {

namespace {

/// Names the command and the begin of its arguments, as Redis does.
void refuseUnknown(std::string& out, Args args) {
  constexpr std::size_t kMost = 128;
  std::string text = "ERR unknown command '" + std::string(args[0].substr(0, kMost)) +
                     "', with args beginning with: ";
  std::size_t shown = 0;
  for (std::size_t i = 1; i < args.size() && shown < kMost; ++i) {
    const std::string_view piece = args[i].substr(0, kMost - shown);
    text.append("'").append(piece).append("' ");
    shown += piece.size() + 3;
  }
  appendError(out, text);
}

void refuseSubcommand(std::string& out, Args args, const char* command) {
  appendError(out, "ERR unknown subcommand '" + std::string(args[1].substr(0, 128)) + "'. Try " +
                       command + " HELP.");
}

}  // namespace

struct Commands::Command {
  enum Trait : unsigned { plain = 0, grows = 1, whileSubscribed = 2 };

  std::string_view name;
  int arity;  // how many words, the name counted; negative: at least as many
  unsigned traits;
  void (Commands::*answer)(Call&);
};

const Commands::Command Commands::kCommands[] = {
    {"get", 2, Command::plain, &Commands::answerGet},
    {"set", -3, Command::grows, &Commands::answerSet},
    {"del", -2, Command::plain, &Commands::answerDel},
    {"exists", -2, Command::plain, &Commands::answerExists},
    {"incr", 2, Command::grows, &Commands::answerIncr<1>},
    {"decr", 2, Command::grows, &Commands::answerIncr<-1>},
    {"incrby", 3, Command::grows, &Commands::answerIncrby},
    {"mget", -2, Command::plain, &Commands::answerMget},
    {"mset", -3, Command::grows, &Commands::answerMset},
    {"expire", 3, Command::plain, &Commands::answerExpire<1000>},
    {"pexpire", 3, Command::plain, &Commands::answerExpire<1>},
    {"ttl", 2, Command::plain, &Commands::answerTtl<1000>},
    {"pttl", 2, Command::plain, &Commands::answerTtl<1>},
    {"persist", 2, Command::plain, &Commands::answerPersist},
    {"publish", 3, Command::plain, &Commands::answerPublish},
    {"subscribe", -2, Command::whileSubscribed, &Commands::answerSubscribe},
    {"unsubscribe", -1, Command::whileSubscribed, &Commands::answerUnsubscribe},
    {"psubscribe", -2, Command::whileSubscribed, &Commands::answerPsubscribe},
    {"ping", -1, Command::whileSubscribed, &Commands::answerPing},
    {"echo", 2, Command::plain, &Commands::answerEcho},
    {"select", 2, Command::plain, &Commands::answerSelect},
    {"dbsize", 1, Command::plain, &Commands::answerDbsize},
    {"flushall", -1, Command::plain, &Commands::answerFlushall},
    {"hello", -1, Command::plain, &Commands::answerHello},
    {"quit", -1, Command::whileSubscribed, &Commands::answerQuit},
    {"command", -1, Command::plain, &Commands::answerCommand},
    {"config", -2, Command::plain, &Commands::answerConfig},
    {"post", -1, Command::whileSubscribed, &Commands::answerBrowser},
    {"host:", -1, Command::whileSubscribed, &Commands::answerBrowser},
};

void Commands::refuseArity(std::string& out, std::string_view lowerName) {
  appendError(out, "ERR wrong number of arguments for '" + std::string(lowerName) + "' command");
}

Commands::After Commands::run(Client& client, Args args, std::string& out) {
  const Command* const command =
      std::find_if(std::begin(kCommands), std::end(kCommands),
                   [name = args[0]](const Command& each) { return equalsLower(name, each.name); });
  if (command == std::end(kCommands)) return refuseUnknown(out, args), After::goOn;
  const auto words = static_cast<std::int64_t>(args.size());
  if (command->arity >= 0 ? words != command->arity : words < -command->arity) {
    return refuseArity(out, command->name), After::goOn;
  }
  if ((command->traits & Command::grows) != 0 && store_.bytes() > maxMemory_) {
    appendError(out, "OOM command not allowed when used memory > 'maxmemory'.");
    return After::goOn;
  }
  if (!client.channels.empty() && (command->traits & Command::whileSubscribed) == 0) {
    appendError(out, "ERR Can't execute '" + std::string(command->name) +
                         "': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are "
                         "allowed in this context");
    return After::goOn;
  }
  Call call{client, args, command->name, out};
  (this->*command->answer)(call);
  return call.after;
}

// ---- Channels ----

namespace {

/// To a subscriber: what has happened with which channel, and how many it listens to now.
void appendSubscription(std::string& out, std::string_view what, std::string_view channel,
                        std::size_t count) {
  appendArray(out, 3);
  appendBulk(out, what);
  channel.data() == nullptr ? appendNull(out) : appendBulk(out, channel);
  appendInteger(out, static_cast<std::int64_t>(count));
}

}  // namespace

void Commands::answerPublish(Call& call) {
  const std::size_t listeners = channels_.publish(call.args[1], call.args[2]);
  appendInteger(call.out, static_cast<std::int64_t>(listeners));
}

void Commands::answerSubscribe(Call& call) {
  const auto& known = call.client.channels;
  for (const std::string_view channel : call.args.subspan(1)) {
    if (channel.size() > kMaxChannelBytes ||
        (known.size() >= kMaxChannels && !known.contains(channel))) {
      appendError(call.out, "ERR a client has at most " + std::to_string(kMaxChannels) +
                                " channels, of at most " + std::to_string(kMaxChannelBytes) +
                                " bytes each");
      continue;
    }
    channels_.subscribe(call.client, channel);
    appendSubscription(call.out, "subscribe", channel, known.size());
  }
}

void Commands::answerUnsubscribe(Call& call) {
  const auto& known = call.client.channels;
  const auto leave = [&](std::string_view channel) {
    channels_.unsubscribe(call.client, channel);
    appendSubscription(call.out, "unsubscribe", channel, known.size());
  };
  for (const std::string_view channel : call.args.subspan(1))
    leave(channel);
  if (call.args.size() > 1) return;
  if (known.empty()) return appendSubscription(call.out, "unsubscribe", {}, 0);
  while (!known.empty())
    leave(std::string(*known.begin()));
}

void Commands::answerPsubscribe(Call& call) {
  appendError(call.out, "ERR PSUBSCRIBE is not supported: SUBSCRIBE to each channel by its name");
}

// ---- The connection and the server ----

void Commands::answerPing(Call& call) {
  if (call.args.size() > 2) return refuseArity(call.out, call.lowerName);
  const std::string_view text = call.args.size() == 2 ? call.args[1] : "";
  if (!call.client.channels.empty()) {  // a subscriber tells all it gets by the first element
    appendArray(call.out, 2);
    appendBulk(call.out, "pong");
    return appendBulk(call.out, text);
  }
  if (call.args.size() == 2) return appendBulk(call.out, text);
  call.out += "+PONG\r\n";
}

void Commands::answerEcho(Call& call) {
  appendBulk(call.out, call.args[1]);
}

void Commands::answerSelect(Call& call) {
  const std::optional<std::int64_t> number = integerOf(call.args[1]);
  if (!number) return appendError(call.out, kNotInteger);
  if (*number != 0) return appendError(call.out, "ERR DB index is out of range");
  appendOk(call.out);
}

void Commands::answerDbsize(Call& call) {
  appendInteger(call.out, static_cast<std::int64_t>(store_.size()));
}

void Commands::answerFlushall(Call& call) {
  const bool known = call.args.size() == 1 ||
                     (call.args.size() == 2 &&
                      (equalsLower(call.args[1], "sync") || equalsLower(call.args[1], "async")));
  if (!known) return appendError(call.out, kSyntaxError);
  store_.clear();
  appendOk(call.out);
}

/// For RESP3. A client that wants it goes on in RESP2 after this.
void Commands::answerHello(Call& call) {
  appendError(call.out, "NOPROTO unsupported protocol version");
}

void Commands::answerQuit(Call& call) {
  appendOk(call.out);
  call.after = After::quit;
}

/// redis-cli asks for the help texts of all commands; it does without.
void Commands::answerCommand(Call& call) {
  if (call.args.size() == 1 || equalsLower(call.args[1], "docs")) return appendArray(call.out, 0);
  if (!equalsLower(call.args[1], "count")) return refuseSubcommand(call.out, call.args, "COMMAND");
  appendInteger(call.out, std::end(kCommands) - std::begin(kCommands));
}

/// redis-benchmark asks how the server saves, since that costs time. This one does not.
void Commands::answerConfig(Call& call) {
  if (!equalsLower(call.args[1], "get")) return refuseSubcommand(call.out, call.args, "CONFIG");
  if (call.args.size() < 3) return refuseArity(call.out, "config|get");
  const std::string_view name = call.args[2];
  const bool save = equalsLower(name, "save");
  if (!save && !equalsLower(name, "appendonly")) return appendArray(call.out, 0);
  appendArray(call.out, 2);
  appendBulk(call.out, name);
  appendBulk(call.out, save ? "" : "no");
}

/// A page in a browser can make it send a form to this port, with commands in it.
void Commands::answerBrowser(Call& call) {
  call.after = After::drop;
}

}  // namespace kv
