#include "chat/Hub.h"

#include <algorithm>
#include <utility>

#include "rung/net/TcpConnection.h"

#include "chat/Frame.h"

namespace chat {

// ---- Room ----

void Room::add(const rung::TcpConnectionPtr& member) {
  flush();  // what was said before is not for the newcomer
  members_.push_back(member);
}

void Room::remove(const rung::TcpConnectionPtr& member) {
  const auto place = std::find(members_.begin(), members_.end(), member);
  if (place == members_.end()) return;
  std::swap(*place, members_.back());
  members_.pop_back();
}

void Room::deliver(std::string_view frames) {
  // Queued tasks run after this round's input, so the batch holds what all members said in it.
  if (batch_.empty()) loop_->queueInLoop([this] { flush(); });
  batch_ += frames;
}

void Room::post(const std::shared_ptr<const std::string>& frames) {
  waitingBytes_ += frames->size();
  loop_->queueInLoop([this, frames] {
    waitingBytes_ -= frames->size();
    deliver(*frames);
  });
}

void Room::flush() {
  if (batch_.empty()) return;
  // As a view and on the members' own thread: what the kernel takes at once is copied nowhere.
  for (const rung::TcpConnectionPtr& member : members_)
    member->send(std::string_view(batch_));
  batch_.clear();
}

// ---- Hub ----

void Hub::addLoop(rung::EventLoop* loop) {
  rooms_.push_back(std::make_unique<Room>(loop));
}

Room& Hub::roomOf(const rung::TcpConnectionPtr& member) const {
  return **std::find_if(rooms_.begin(), rooms_.end(),
                        [&](const auto& room) { return room->loop() == member->loop(); });
}

bool Hub::join(const rung::TcpConnectionPtr& member, const std::string& name) {
  std::string here = "* here:";
  {
    const rung::MutexLock lock(mutex_);
    if (!names_.insert(name).second) return false;
    for (const std::string& each : names_) {
      // As many as fit into a frame that every client understands.
      if (here.size() + each.size() > kMaxFrameBytes - 8) break;
      here += ' ' + each;
    }
  }
  Room& room = roomOf(member);
  room.add(member);
  member->send(frame(here));
  toEverybody(room, frame("* " + name + " joined"));
  return true;
}

void Hub::leave(const rung::TcpConnectionPtr& member, const std::string& name) {
  {
    const rung::MutexLock lock(mutex_);
    names_.erase(name);
  }
  Room& room = roomOf(member);
  room.remove(member);
  toEverybody(room, frame("* " + name + " left"));
}

void Hub::say(const rung::TcpConnectionPtr& member, std::string frames) {
  toEverybody(roomOf(member), std::move(frames));
  for (const auto& room : rooms_) {
    if (room->waitingBytes() < kMaxWaitingBytes) continue;
    // The task runs behind all that waits there: by then that loop has caught up.
    member->stopRead();
    return room->loop()->queueInLoop([member] { member->startRead(); });
  }
}

void Hub::toEverybody(Room& here, std::string frames) {
  here.deliver(frames);
  if (rooms_.size() == 1) return;
  const auto shared = std::make_shared<const std::string>(std::move(frames));
  for (const auto& room : rooms_) {
    if (room.get() != &here) room->post(shared);
  }
}

}  // namespace chat
