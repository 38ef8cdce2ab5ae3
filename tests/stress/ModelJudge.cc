// What is to be said of a round when it is over: which law was broken.

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "tests/stress/ModelRound.h"

namespace rung::testing {

bool Round::endedInOrder(const ModelConnection& model) {
  return model.reason == CloseReason::peer || model.reason == CloseReason::local;
}

/// Whether the model did what this reason says.
bool Round::mayEndFor(CloseReason reason, const ModelConnection& model) const {
  switch (reason) {
    case CloseReason::peer:
    case CloseReason::local:
      // Without a FIN of its own a peer's reset cannot look like an orderly end.
      return model.plan.peer.ending != PeerPlan::Ending::reset || model.peer.halfClosed();
    case CloseReason::reset:
      return model.plan.peer.ending != PeerPlan::Ending::readOn;
    case CloseReason::forced:
      return model.cut;
    case CloseReason::lingerExpired:
      return model.closedSoon;
    case CloseReason::stopped:
      return model.downAt >= cutFrom_;
    case CloseReason::loopGone:
      return plan_.ending == Ending::destroy;
    default:
      return false;
  }
}

std::string Round::judgeReason(const ModelConnection& model) const {
  const std::string reason(nameOf(model.reason));
  if (!mayEndFor(model.reason, model)) return "it ended as \"" + reason + "\", wrongly; ";
  if ((model.error != 0) != (model.reason == CloseReason::reset)) {
    return "it ended as \"" + reason + "\" with error() " + std::to_string(model.error) + "; ";
  }
  if (endedInOrder(model) && model.lostBytes > 0) {
    return "it ended as \"" + reason + "\" with outputBytes() " + std::to_string(model.lostBytes) +
           "; ";
  }
  return "";
}

/// What has arrived of each thread's frames: all, in order; where something cut the connection, the
/// first ones.
std::string Round::judgeFrames(const ModelConnection& model) {
  const bool whole = model.peer.sawEnd() && endedInOrder(model);
  const Frames frames = framesIn(model.peer.received(), static_cast<std::uint16_t>(model.number),
                                 model.actors.size());
  std::string problem = frames.problem;
  if (whole && frames.bytesOfLast > 0) problem += "the last frame is not whole; ";
  std::size_t acceptedBytes = 0;
  for (std::size_t i = 0; i < model.actors.size(); ++i) {
    acceptedBytes += model.actors[i]->acceptedBytes();
    const std::vector<std::uint32_t>& sent = model.actors[i]->accepted();
    const std::vector<std::uint32_t>& came = frames.ofActor[i];
    const bool first =
        came.size() <= sent.size() && std::equal(came.begin(), came.end(), sent.begin());
    if (first && (!whole || came.size() == sent.size())) continue;
    problem += model.actors[i]->name() + ": send() returned true for " +
               std::to_string(sent.size()) + " frames, " + std::to_string(came.size()) + " arrived";
    problem += first ? "; " : ", and they are not the first of these; ";
  }
  if (model.peer.received().size() + model.lostBytes > acceptedBytes) {
    problem += "outputBytes() says that " + std::to_string(model.lostBytes) +
               " bytes were lost, of " + std::to_string(acceptedBytes) + " " +
               std::to_string(model.peer.received().size()) + " arrived; ";
  }
  return problem;
}

/// Nobody has cut it, and its peer read to the end: then the peer's bytes have arrived, too.
std::string Round::judgeEnd(const ModelConnection& model) {
  const ModelPeer& peer = model.peer;
  if (!endedInOrder(model) || model.plan.peer.ending != PeerPlan::Ending::readOn) return "";
  std::string problem;
  if (!peer.sawEnd()) {
    problem += "the peer's read failed, error " + std::to_string(peer.error()) + "; ";
  }
  if (model.inputBytes != peer.sentBytes() && !model.closed) {
    problem += "the peer sent " + std::to_string(peer.sentBytes()) + " bytes, " +
               std::to_string(model.inputBytes) + " arrived; ";
  }
  return problem;
}

/// Who holds a connection may send, unless a call or a deadline ends the sending side.
std::string Round::judgeHold(const ModelConnection& model) const {
  const std::uint32_t refused = model.actors[1]->refusedThoughDue();
  const bool othersEnd = std::any_of(
      model.actors.begin(), model.actors.end(),
      [&](const auto& actor) { return actor != model.actors[1] && actor->hasShutDown(); });
  if (refused == 0 || othersEnd || !endedInOrder(model) || model.downAt >= cutFrom_) return "";
  return "it was held, and send() returned false " + std::to_string(refused) + " times; ";
}

std::string Round::judgeStop() const {
  if (plan_.ending != Ending::stop && plan_.ending != Ending::stopSoon) return "";
  std::size_t stopped = 0;
  std::size_t lost = 0;
  for (const auto& model : connections_) {
    const bool byStop = model->reason == CloseReason::stopped;
    stopped += byStop;
    // One that was being refused when the connection ended may have been counted as unsent.
    const bool refused = std::any_of(
        model->actors.begin() + 1, model->actors.end(),
        [](const auto& worker) { return worker->accepted().size() < worker->attempts(); });
    // Nor does the answer wait for long where a loop goes nowhere: its connections count as cut.
    const bool afterAnswer = model->downAt >= answeredAt_;
    lost += byStop || refused || model->late || afterAnswer || model->lostBytes > 0;
  }
  if (result_.cut >= stopped && result_.cut <= lost &&
      result_.cut + result_.drained <= connections_.size()) {
    return "";
  }
  return "stop() cut " + std::to_string(result_.cut) + " and drained " +
         std::to_string(result_.drained) + ", but " + std::to_string(stopped) +
         " ended as \"stopped\" and " + std::to_string(lost) + " lost bytes; ";
}

std::string Round::judge(std::size_t i) const {
  const ModelConnection& model = *connections_[i];
  std::string problem = i == 0 ? problem_ + judgeStop() : "";
  for (const auto& actor : model.actors) {
    if (!actor->problem().empty()) problem += actor->name() + ": " + actor->problem() + "; ";
  }
  if (model.stays) problem += "it does not end; ";
  if (model.peer.stuck()) problem += "its peer waits for ever; ";
  if (model.ups > 1 || model.downs != model.ups ||
      (model.ups == 0 && plan_.ending == Ending::none)) {
    problem +=
        std::to_string(model.ups) + " times up, " + std::to_string(model.downs) + " times down; ";
  }
  if (model.late) {
    // stop() does not wait for a loop that goes nowhere for long after its deadline.
    return plan_.ending == Ending::stopSoon ? problem : problem + "up when the server had ended; ";
  }
  if (model.ups == 0) return problem;
  return problem + judgeReason(model) + judgeFrames(model) + judgeEnd(model) + judgeHold(model);
}

void Round::count(Figures& figures) const {
  static constexpr std::array kReasons{CloseReason::peer,          CloseReason::local,
                                       CloseReason::reset,         CloseReason::forced,
                                       CloseReason::lingerExpired, CloseReason::stopped};
  for (const auto& model : connections_) {
    const bool clean = model->peer.sawEnd() && endedInOrder(*model);
    ++figures[kConnections];
    figures[kBytes] += model->peer.received().size();
    figures[kCleanEnds] += clean;
    figures[kHalfCloses] += clean && model->peer.halfClosed();
    figures[kClosed] += model->closed;
    figures[kHeld] += model->heldInTime;
    figures[kAtHighWater] += model->calls[static_cast<std::size_t>(On::highWater)] > 0;
    figures[kLeftUnread] += model->timesLeft;
    figures[kStopped] += plan_.ending == Ending::stop || plan_.ending == Ending::stopSoon;
    figures[kAcceptsNoMore] += plan_.ending == Ending::stopAccepting;
    figures[kDestroyed] += plan_.ending == Ending::destroy;
    for (std::size_t i = 0; i < kReasons.size(); ++i)
      figures[kPeer + i] += model->reason == kReasons[i];
    for (const auto& actor : model->actors) {
      figures[kFrames] += actor->accepted().size();
      figures[kRefused] += actor->attempts() - actor->accepted().size();
      figures[kShutdowns] += actor->hasShutDown();
    }
  }
}

}  // namespace rung::testing
