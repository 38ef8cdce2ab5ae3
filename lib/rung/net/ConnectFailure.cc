#include "rung/net/ConnectFailure.h"

#include <netdb.h>

namespace rung {

namespace {

class ResolverCategory final : public std::error_category {
 public:
  [[nodiscard]] const char* name() const noexcept override { return "resolver"; }
  [[nodiscard]] std::string message(int code) const override { return ::gai_strerror(code); }
};

}  // namespace

std::string_view nameOf(ConnectStep step) {
  constexpr std::string_view kNames[] = {"resolve", "socket",   "connect",
                                         "watch",   "deadline", "cancelled"};
  return kNames[static_cast<std::size_t>(step)];
}

std::string ConnectFailure::toText() const {
  std::string text = "connect to " + target + ":";
  // Of a single address that is the target, the error says all.
  const bool one = tried.size() == 1 && tried[0].address == target;
  const bool all =
      step == ConnectStep::socket || step == ConnectStep::connect || step == ConnectStep::watch;
  if (one || !all || tried.empty()) {
    if (step == ConnectStep::resolve) text += " lookup:";
    if (step == ConnectStep::socket) text += " socket:";
    text += " " + error.message();
    if (one || tried.empty()) return text;
    text += ", after";
  }
  const char* between = " ";
  for (const Tried& each : tried) {
    text += between + each.address + ": " + each.error.message();
    between = "; ";
  }
  return text;
}

const std::error_category& resolverCategory() {
  // Never destroyed: a lookup may still run while static objects go.
  static const auto* const category = new ResolverCategory;
  return *category;
}

}  // namespace rung
