#include "tests/stress/ModelScript.h"

#include <algorithm>
#include <initializer_list>
#include <random>

namespace rung::testing {

namespace {

/// The same numbers for the same seed with every compiler, which std's distributions are not.
class Dice {
 public:
  explicit Dice(std::uint64_t seed) : random_(seed) {}

  std::uint32_t below(std::uint32_t limit) { return static_cast<std::uint32_t>(random_() % limit); }
  std::uint32_t between(std::uint32_t least, std::uint32_t most) {
    return least + below(most - least + 1);
  }
  bool percent(std::uint32_t chance) { return below(100) < chance; }
  template <class Value>
  Value of(std::initializer_list<Value> values) {
    return values.begin()[below(static_cast<std::uint32_t>(values.size()))];
  }

 private:
  std::mt19937_64 random_;
};

std::uint32_t someSize(Dice& dice, int sendBytes) {
  if (dice.percent(60)) return dice.below(200);
  if (dice.percent(70)) return dice.below(20'000);
  return dice.below(sendBytes == 0 ? 400'000 : 6 * static_cast<std::uint32_t>(sendBytes));
}

Step someSend(Dice& dice, std::uint32_t size, std::uint32_t pauseMicros = 0) {
  return {dice.of({Do::sendView, Do::sendString, Do::sendBuffer}), size, pauseMicros};
}

Step someStep(Dice& dice, int Action::*weight, bool mayCut, int sendBytes) {
  int sum = 0;
  for (const Action& action : kActions)
    sum += action.cuts && !mayCut ? 0 : action.*weight;
  int left = static_cast<int>(dice.below(static_cast<std::uint32_t>(sum)));
  std::size_t chosen = 0;
  for (;; ++chosen) {
    left -= kActions[chosen].cuts && !mayCut ? 0 : kActions[chosen].*weight;
    if (left < 0) break;
  }
  Step step{static_cast<Do>(chosen)};
  step.size = step.what == Do::spin ? dice.below(200) : someSize(dice, sendBytes);
  step.pauseMicros = dice.percent(25) ? dice.below(300) : 0;
  return step;
}

void addSomeCallbacks(Dice& dice, ConnectionPlan& plan, bool mayCut, int sendBytes) {
  for (Script& script : plan.callbacks) {
    if (dice.percent(60)) continue;
    for (std::uint32_t i = dice.between(1, 4); i > 0; --i) {
      script.push_back(someStep(dice, &Action::inCallback, mayCut, sendBytes));
      script.back().pauseMicros = 0;  // no loop sleeps in a callback
    }
  }
}

PeerPlan reader(Dice& dice) {
  PeerPlan peer;
  peer.eager = dice.percent(50);
  if (dice.percent(30)) peer.receiveBytes = dice.of({2048, 8192, 32'768});
  if (dice.percent(50)) {
    peer.readBytes = dice.of({1U, 100U, 5000U, 50'000U});
    peer.slowReads = dice.between(1, 20);
    if (dice.percent(50)) peer.pauseMicros = dice.below(200);
  }
  return peer;
}

/// A thread sends more than the kernel takes, then a little, and shuts down.
ConnectionPlan tailStory(Dice& dice, int sendBytes) {
  ConnectionPlan plan;
  plan.story = "the tail";
  const auto buffer = static_cast<std::uint32_t>(sendBytes == 0 ? 1 << 20 : sendBytes);
  Script script;
  for (std::uint32_t i = dice.between(1, 3); i > 0; --i)
    script.push_back(someSend(dice, dice.between(buffer / 2, 4 * buffer), 0));
  for (std::uint32_t i = dice.between(1, 3); i > 0; --i)
    script.push_back(someSend(dice, dice.below(100), 0));
  script[script.size() - dice.between(1, 2)].pauseMicros = dice.below(400);
  script.push_back({Do::shutdown, 0, dice.percent(20) ? dice.below(100) : 0});
  script.push_back(someSend(dice, 8));
  plan.workers.push_back(script);
  plan.peer = reader(dice);
  return plan;
}

/// A peer asks, half-closes and reads on, while a thread answers.
ConnectionPlan answerStory(Dice& dice, int sendBytes) {
  ConnectionPlan plan;
  plan.story = "the late answers";
  Script script;
  for (std::uint32_t i = dice.between(3, 40); i > 0; --i) {
    const std::uint32_t size = dice.percent(95) ? dice.below(100) : someSize(dice, sendBytes);
    script.push_back(someSend(dice, size, dice.percent(10) ? dice.below(100) : 0));
  }
  plan.workers.push_back(script);
  // A loop that is busy has more in its Mailbox.
  for (std::uint32_t i = dice.below(3); i > 0; --i)
    plan.callbacks[static_cast<std::size_t>(On::message)].push_back({Do::spin, dice.below(100)});
  plan.halfCloseCallback = dice.percent(20);
  plan.peer = reader(dice);
  using What = PeerStep::What;
  if (dice.percent(70)) plan.peer.steps.push_back({What::send, dice.between(1, 1000)});
  if (dice.percent(50)) plan.peer.steps.push_back({What::pause, dice.below(200)});
  plan.peer.steps.push_back({What::halfClose});
  return plan;
}

/// As before, and the connection is held for the thread that answers: now each answer is due.
ConnectionPlan heldStory(Dice& dice, int sendBytes) {
  ConnectionPlan plan = answerStory(dice, sendBytes);
  plan.story = "the held answers";
  plan.holdsAnswers = true;
  plan.halfCloseCallback = false;
  plan.peer.steps = {{PeerStep::What::send, dice.between(1, 1000)}, {PeerStep::What::halfClose}};
  return plan;
}

/// One thread ends what others are sending on.
ConnectionPlan crossfireStory(Dice& dice, int) {
  ConnectionPlan plan;
  plan.story = "the crossfire";
  const Do end = dice.of({Do::shutdown, Do::shutdown, Do::close});
  plan.workers.push_back({someSend(dice, dice.below(100)), {end, 0, dice.below(150)}});
  for (int i = 0; i < 2; ++i) {
    Script script;
    for (std::uint32_t j = dice.between(10, 60); j > 0; --j)
      script.push_back(someSend(dice, dice.below(60)));
    plan.workers.push_back(script);
  }
  plan.peer = reader(dice);
  return plan;
}

/// A callback answers a peer that does not read, and leaves what it must not answer yet.
ConnectionPlan carefulStory(Dice& dice, int) {
  ConnectionPlan plan;
  plan.story = "the careful callback";
  plan.careful = true;
  plan.highWaterMark = dice.between(100, 20'000);
  Script worker;
  for (std::uint32_t i = dice.below(5); i > 0; --i) {
    const Do what = dice.of({Do::look, Do::hold, Do::release, Do::stopRead, Do::startRead});
    worker.push_back({what, 0, dice.below(300)});
  }
  plan.workers.push_back(worker);
  if (dice.percent(50)) {
    Script other;
    for (std::uint32_t i = dice.between(1, 5); i > 0; --i)
      other.push_back(someSend(dice, dice.below(2 * plan.highWaterMark), dice.below(100)));
    if (dice.percent(20)) plan.workers.front().push_back({Do::shutdown, 0, dice.below(300)});
    plan.workers.push_back(other);
  }
  Script& answers = plan.callbacks[static_cast<std::size_t>(On::message)];
  for (std::uint32_t i = dice.between(4, 20); i > 0; --i) {
    answers.push_back(someSend(dice, dice.below(2 * plan.highWaterMark)));
    if (dice.percent(10)) answers.back() = {Do::stopRead};
  }
  plan.peer = reader(dice);
  for (std::uint32_t i = dice.between(1, 4); i > 0; --i) {
    plan.peer.steps.push_back({PeerStep::What::send, dice.between(500, 4000)});
    plan.peer.steps.push_back({PeerStep::What::pause, dice.below(300)});
  }
  if (dice.percent(70)) plan.peer.steps.push_back({PeerStep::What::halfClose});
  return plan;
}

/// Anything at all.
ConnectionPlan wildStory(Dice& dice, int sendBytes) {
  ConnectionPlan plan;
  plan.story = "anything at all";
  const bool mayCut = dice.percent(20);
  for (std::uint32_t i = dice.between(1, 3); i > 0; --i) {
    Script script;
    for (std::uint32_t j = dice.below(12); j > 0; --j)
      script.push_back(someStep(dice, &Action::onWorker, mayCut, sendBytes));
    plan.workers.push_back(script);
  }
  addSomeCallbacks(dice, plan, mayCut, sendBytes);
  if (dice.percent(60)) plan.highWaterMark = dice.between(1, 50'000);
  plan.halfCloseCallback = dice.percent(40);
  plan.peer = reader(dice);
  for (std::uint32_t i = dice.below(6); i > 0; --i) {
    const auto what = static_cast<PeerStep::What>(dice.below(3));
    plan.peer.steps.push_back(
        {what, what == PeerStep::What::pause ? dice.below(300) : dice.below(20'000)});
  }
  if (dice.percent(40)) {
    const auto place = static_cast<std::ptrdiff_t>(
        dice.below(static_cast<std::uint32_t>(plan.peer.steps.size() + 1)));
    plan.peer.steps.insert(plan.peer.steps.begin() + place, {PeerStep::What::halfClose});
  }
  using Ending = PeerPlan::Ending;
  if (dice.percent(25)) plan.peer.ending = dice.of({Ending::reset, Ending::close});
  return plan;
}

std::string describe(const Script& script) {
  std::string text;
  for (const Step& step : script) {
    if (step.pauseMicros > 0) text += " +" + std::to_string(step.pauseMicros) + "us";
    text += std::string(" ") + kActions[static_cast<std::size_t>(step.what)].name;
    if (step.size > 0) text += "(" + std::to_string(step.size) + ")";
  }
  return text + "\n";
}

}  // namespace

bool PeerPlan::halfCloses() const {
  return std::any_of(steps.begin(), steps.end(),
                     [](const PeerStep& step) { return step.what == PeerStep::What::halfClose; });
}

RoundPlan planOf(std::uint64_t seed) {
  Dice dice(seed);
  RoundPlan plan;
  plan.seed = seed;
  plan.threads = static_cast<int>(dice.below(4));
  // With what a socket takes by itself, over 2 MiB, output hardly ever waits.
  plan.sendBytes = dice.of({4096, 16'384, 65'536, 65'536, 131'072, 0});
  using Ending = RoundPlan::Ending;
  if (dice.percent(30)) {
    plan.ending = dice.of(
        {Ending::stop, Ending::stop, Ending::stopSoon, Ending::stopAccepting, Ending::destroy});
  }
  plan.watchesIdle = dice.percent(30);
  plan.drainCallback = dice.percent(30);
  plan.endAfterMicros = dice.below(3000);
  plan.deadlineMicros = dice.below(3000);
  for (std::uint32_t i = dice.of({1U, 2U, 2U, 4U, 8U}); i > 0; --i) {
    const auto story = dice.of({tailStory, tailStory, tailStory, answerStory, answerStory,
                                heldStory, crossfireStory, carefulStory, wildStory, wildStory});
    plan.connections.push_back(story(dice, plan.sendBytes));
  }
  return plan;
}

std::string describe(const RoundPlan& plan) {
  static constexpr std::array kEndings{"all end by themselves", "stop()", "stop() with a deadline",
                                       "stopAccepting()", "the server is destroyed"};
  std::string text = "  of " + std::to_string(plan.connections.size()) + " connections, " +
                     std::to_string(plan.threads) + " I/O threads, SO_SNDBUF " +
                     std::to_string(plan.sendBytes) + ", " +
                     kEndings[static_cast<std::size_t>(plan.ending)];
  if (plan.ending != RoundPlan::Ending::none) {
    text += " after " + std::to_string(plan.endAfterMicros) + " us";
  }
  if (plan.ending == RoundPlan::Ending::stopSoon) {
    text += " of " + std::to_string(plan.deadlineMicros) + " us";
  }
  if (plan.drainCallback) text += ", drain callback";
  return text + "\n";
}

std::string describe(const ConnectionPlan& plan) {
  static constexpr std::array kSteps{"send", "read", "pause", "halfClose"};
  static constexpr std::array kEndings{"reads on", "resets", "closes"};
  std::string text = "  the story of " + std::string(plan.story) + ":\n";
  for (std::size_t i = 0; i < plan.workers.size(); ++i)
    text += "    worker " + std::to_string(i + 1) + ":" + describe(plan.workers[i]);
  for (std::size_t i = 0; i < plan.callbacks.size(); ++i) {
    if (plan.callbacks[i].empty()) continue;
    text += std::string("    ") + kCallbacks[i] + ":" + describe(plan.callbacks[i]);
  }
  text += "    high-water mark " + std::to_string(plan.highWaterMark);
  text += plan.halfCloseCallback ? ", half-close callback" : "";
  text += plan.careful ? ", careful\n    peer:" : "\n    peer:";
  const PeerPlan& peer = plan.peer;
  if (peer.eager) text += " eager";
  if (peer.receiveBytes > 0) text += " SO_RCVBUF " + std::to_string(peer.receiveBytes);
  for (const PeerStep& step : peer.steps) {
    text += std::string(" ") + kSteps[static_cast<std::size_t>(step.what)];
    if (step.amount > 0) text += "(" + std::to_string(step.amount) + ")";
  }
  text += std::string(" ") + kEndings[static_cast<std::size_t>(peer.ending)];
  if (peer.slowReads > 0) {
    text += ", first " + std::to_string(peer.slowReads) + " reads of " +
            std::to_string(peer.readBytes) + " each after " + std::to_string(peer.pauseMicros) +
            " us";
  }
  return text + "\n";
}

}  // namespace rung::testing
