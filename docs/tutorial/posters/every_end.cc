// The poster of docs/tutorial/09-poster.md: ends a connection in every way, and writes down what
// happened. The library is compiled with -finstrument-functions, so that the calls are those that
// really ran.
//
//   every-end PAGE     compares each row with the page
//   every-end          prints the rows

#include <arpa/inet.h>
#include <cxxabi.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <memory>
#include <new>
#include <sstream>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "rung/base/Logging.h"
#include "rung/base/UniqueFd.h"
#include "rung/net/EventLoop.h"
#include "rung/net/TcpConnection.h"
#include "rung/net/TcpServer.h"

#include "tests/support/LoopRounds.h"
#include "tests/support/Sockets.h"

using namespace std::chrono_literals;
using namespace rung;
using rung::testing::runRounds;
using rung::testing::toNobody;

// ---- Private members, by the one door that the language leaves open: access to the names in an
// explicit instantiation is not checked. ----

template <class Tag, auto kMember>
struct Key {
  friend constexpr auto member(Tag) { return kMember; }
};
struct StateTag {
  friend constexpr auto member(StateTag);
};
struct SendingTag {
  friend constexpr auto member(SendingTag);
};
struct ReceivingTag {
  friend constexpr auto member(ReceivingTag);
};
template struct Key<StateTag, &TcpConnection::state_>;
template struct Key<SendingTag, &TcpConnection::sending_>;
template struct Key<ReceivingTag, &TcpConnection::receiving_>;

namespace {

// ---- What is written down of the connection that ends. ----

struct Record {
  const TcpConnection* connection = nullptr;
  int fd = -1;
  int ourPort = 0;  // 0: no TCP
  int peerPort = 0;
  std::vector<void*> stack;  // the library's functions that run now
  bool caused = false;
  bool inTask = false;  // then `posted` is a part of the story
  std::string epoll;
  std::string posted;  // the calls that led to the last task
  std::string calls;   // that led to the cause
  std::string down;    // and those that led to the callback
  std::string state;
  std::string tcp;
};
Record record;
bool watching = false;

/// "handleRead" of a TcpConnection, "ConnectionSet::cut"; empty for all others, and for lambdas.
std::string nameOfFunction(void* function) {
  Dl_info info;
  if (dladdr(function, &info) == 0 || info.dli_sname == nullptr) return "";
  int status = 0;
  char* const text = abi::__cxa_demangle(info.dli_sname, nullptr, nullptr, &status);
  const std::string full = status == 0 ? text : "";
  std::free(text);
  if (full.starts_with("rung::Mailbox::post(")) return "post";
  if (full.find("{lambda") != std::string::npos) return "";
  constexpr std::pair<std::string_view, std::size_t> kOwners[] = {
      {"rung::TcpConnection::", 21}, {"rung::ConnectionSet::", 6}};  // and what of it is left out
  for (const auto& [owner, leftOut] : kOwners) {
    const std::size_t at = full.find(owner);
    if (at == std::string::npos || at > full.find('(')) continue;
    const std::string name = full.substr(at + leftOut);
    return name.substr(0, name.find_first_of("<("));
  }
  return "";
}

std::string callsNow() {
  static constexpr std::string_view kLeftOut[] = {"TcpConnection", "note", "call", "moved", "post"};
  std::string calls;
  for (void* function : record.stack) {
    const std::string name = nameOfFunction(function);
    const auto* const end = std::end(kLeftOut);
    if (name.empty() || std::find(std::begin(kLeftOut), end, name) != end) continue;
    calls += (calls.empty() ? "`" : ", `") + name + "`";
  }
  return calls;
}

/// What the kernel says of the connection between two ports of this machine, also of an end that no
/// process has any more.
std::string tcpState(int port, int otherPort) {
  static constexpr const char* kNames[] = {"?",          "ESTABLISHED", "SYN_SENT",  "SYN_RECV",
                                           "FIN_WAIT1",  "FIN_WAIT2",   "TIME_WAIT", "gone",
                                           "CLOSE_WAIT", "LAST_ACK",    "LISTEN",    "CLOSING"};
  std::ifstream table("/proc/net/tcp");
  for (std::string line; std::getline(table, line);) {
    unsigned local = 0;
    unsigned remote = 0;
    unsigned state = 0;
    if (std::sscanf(line.c_str(), " %*d: %*x:%x %*x:%x %x", &local, &remote, &state) != 3) continue;
    if (static_cast<int>(local) == port && static_cast<int>(remote) == otherPort) {
      return kNames[std::min(state, 11U)];
    }
  }
  return "gone";
}

std::string stateOf(const TcpConnection& connection) {
  static constexpr const char* kStates[] = {"connecting", "connected", "disconnecting",
                                            "disconnected"};
  const auto& receiving = connection.*member(ReceivingTag());
  const auto& sending = connection.*member(SendingTag());
  std::string text = kStates[static_cast<std::size_t>((connection.*member(StateTag())).load())];
  text += receiving.ended ? "; in: ended" : receiving.wanted ? "; in: open" : "; in: stopped";
  if (receiving.discards) text += ", thrown away";
  text += sending.closed() ? "; out: closed" : "; out: open";
  if (sending.unsentBytes() > 0) text += ", bytes wait";
  return text;
}

void atTheCause() {
  record.caused = true;
  record.calls = callsNow();
  record.inTask = record.calls.empty() || record.calls.starts_with("`advance`");
  record.state = stateOf(*record.connection);
  record.tcp = record.ourPort == 0 ? "no TCP"
                                   : tcpState(record.ourPort, record.peerPort) + ", " +
                                         tcpState(record.peerPort, record.ourPort);
}

}  // namespace

extern "C" {
void __cyg_profile_func_enter(void* function, void*) {
  if (!watching) return;
  watching = false;
  record.stack.push_back(function);
  if (!record.caused) {
    const std::string name = nameOfFunction(function);
    const std::string calls = name == "post" ? callsNow() : "";
    if (!calls.empty()) record.posted = calls;
    if (name == "note") atTheCause();
  }
  watching = true;
}
void __cyg_profile_func_exit(void*, void*) {
  if (watching && !record.stack.empty()) record.stack.pop_back();
}
}

namespace {

void connectionCallback(const TcpConnectionPtr& connection) {
  if (connection->connected()) return;
  watching = false;
  record.down = callsNow();
  watching = true;
}

/// A server with one client, all on this thread.
struct Trial {
  explicit Trial(const std::function<void(TcpServer&)>& setUp = {}) {
    server->setConnectionCallback([this](const TcpConnectionPtr& c) {
      if (c->connected()) connection = c;
      connectionCallback(c);
    });
    if (setUp) setUp(*server);
    server->start();
    const InetAddress address = server->listenAddress();
    if (connect(client.get(), address.data(), address.length()) != 0) std::abort();
    while (connection == nullptr)
      runRounds(*loop, 1);
    record = {};
    record.connection = connection.get();
    record.ourPort = connection->localAddress().port();
    record.peerPort = connection->peerAddress().port();
    for (record.fd = 3; peerPortOf(record.fd) != record.peerPort;)
      ++record.fd;
    watching = true;
  }
  ~Trial() { watching = false; }

  static int peerPortOf(int fd) {
    sockaddr_in peer{};
    socklen_t length = sizeof peer;
    const bool known = getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &length) == 0;
    return known && peer.sin_family == AF_INET ? ntohs(peer.sin_port) : -1;
  }
  /// What epoll says of our socket, asked as the library asks.
  void look() {
    watching = false;
    const UniqueFd own(epoll_create1(EPOLL_CLOEXEC));
    epoll_event event{};
    if (connection->isReading()) event.events |= EPOLLIN;
    if (connection->outputBytes() > 0) event.events |= EPOLLOUT;
    epoll_ctl(own.get(), EPOLL_CTL_ADD, record.fd, &event);
    if (epoll_wait(own.get(), &event, 1, 0) != 1) event.events = 0;
    constexpr std::pair<unsigned, const char*> kFlags[] = {
        {EPOLLIN, "IN"}, {EPOLLOUT, "OUT"}, {EPOLLERR, "ERR"}, {EPOLLHUP, "HUP"}};
    for (const auto& [flag, name] : kFlags) {
      if ((event.events & flag) != 0)
        record.epoll += (record.epoll.empty() ? "" : ", ") + std::string(name);
    }
    watching = true;
  }
  void round() { runRounds(*loop, 1); }
  void finish() {
    for (int i = 0; i < 2000 && connection->connected(); ++i) {
      round();
      if (i > 20) std::this_thread::sleep_for(1ms);
    }
  }
  void clientResets() {
    const linger now{1, 0};
    setsockopt(client.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
    client.reset();
  }
  void clientSays(std::string_view text) {
    if (write(client.get(), text.data(), text.size()) < 0) std::abort();
  }
  void clientReads() {
    std::string block(1 << 20, '\0');
    while (recv(client.get(), block.data(), block.size(), MSG_DONTWAIT) > 0) {
    }
  }

  std::unique_ptr<EventLoop> loop = std::make_unique<EventLoop>();
  std::unique_ptr<TcpServer> server =
      std::make_unique<TcpServer>(loop.get(), InetAddress::loopback(0), "poster");
  TcpConnectionPtr connection;
  UniqueFd client{socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
};

// ---- The ways to end. ----

const std::string kMuch(16 << 20, 'x');  // more than the kernel takes

TcpConnectionPtr peerCloses() {
  Trial t;
  t.client.reset();
  t.look();
  t.finish();
  return t.connection;
}

TcpConnectionPtr peerHalfCloses() {
  Trial t([](TcpServer& s) { s.setLimits({.pauseReading = false}); });
  t.connection->send(kMuch);
  shutdown(t.client.get(), SHUT_WR);
  t.look();
  while (t.connection->connected()) {
    t.round();
    t.clientReads();
  }
  return t.connection;
}

TcpConnectionPtr peerHalfClosesWhileHeld() {
  Trial t;
  TcpConnection::Hold hold = t.connection->hold();
  shutdown(t.client.get(), SHUT_WR);
  t.look();
  t.round();
  hold->send("the answer");
  hold.release();
  t.finish();
  return t.connection;
}

TcpConnectionPtr halfCloseCallback() {
  Trial t([](TcpServer& s) { s.setHalfCloseCallback([](const TcpConnectionPtr&) {}); });
  shutdown(t.client.get(), SHUT_WR);
  t.look();
  t.round();
  t.connection->shutdown();
  t.finish();
  return t.connection;
}

TcpConnectionPtr weShutDown() {
  Trial t;
  t.connection->shutdown();
  t.client.reset();
  t.look();
  t.finish();
  return t.connection;
}

TcpConnectionPtr weClose() {
  Trial t;
  t.connection->close(1h);
  t.client.reset();
  t.look();
  t.finish();
  return t.connection;
}

TcpConnectionPtr weCloseAndPeerStays() {
  Trial t;
  t.connection->close(1ms);
  t.look();
  t.finish();
  return t.connection;
}

TcpConnectionPtr weForceClose() {
  Trial t;
  t.connection->forceClose();
  t.look();
  t.finish();
  return t.connection;
}

TcpConnectionPtr peerResets() {
  Trial t;
  t.clientResets();
  t.look();
  t.finish();
  return t.connection;
}

TcpConnectionPtr peerResetsWhileStopped() {
  Trial t;
  t.connection->stopRead();
  t.clientResets();
  t.look();
  t.finish();
  return t.connection;
}

TcpConnectionPtr finThenReset() {
  Trial t;
  t.client.reset();
  t.connection->send("for nobody");
  t.look();
  t.finish();
  return t.connection;
}

TcpConnectionPtr writeToOneThatIsGone() {
  Trial t;
  t.clientResets();
  t.connection->send("for nobody");
  t.look();
  t.finish();
  return t.connection;
}

TcpConnectionPtr bothFinsWhileStopped() {
  Trial t;
  t.connection->stopRead();
  t.connection->shutdown();
  shutdown(t.client.get(), SHUT_WR);
  t.look();
  t.finish();
  return t.connection;
}

TcpConnectionPtr somebodyElseShutsDown() {
  Trial t;
  t.connection->stopRead();
  shutdown(record.fd, SHUT_RDWR);
  t.look();
  t.round();
  t.connection->startRead();
  t.finish();
  return t.connection;
}

TcpConnectionPtr tooMuchInput() {
  Trial t([](TcpServer& s) {
    s.setLimits({.maxInput = 3});
    s.setMessageCallback([](const TcpConnectionPtr&, Buffer&, Timestamp) {});
  });
  t.clientSays("four");
  t.look();
  t.finish();
  return t.connection;
}

TcpConnectionPtr noMemory() {
  Trial t([](TcpServer& s) {
    s.setMessageCallback(
        [](const TcpConnectionPtr&, Buffer&, Timestamp) { throw std::bad_alloc(); });
  });
  t.clientSays("a message");
  t.look();
  t.finish();
  return t.connection;
}

TcpConnectionPtr idle() {
  Trial t([](TcpServer& s) { s.setIdleTimeout(20ms, 10ms); });
  t.look();
  t.finish();
  return t.connection;
}

TcpConnectionPtr serverStops() {
  Trial t;
  t.server->stop(1h);
  t.round();
  t.client.reset();
  t.look();
  t.finish();
  return t.connection;
}

TcpConnectionPtr serverStopsAtDeadline() {
  Trial t;
  t.server->stop(1ms);
  t.look();
  t.finish();
  return t.connection;
}

TcpConnectionPtr serverGone() {
  Trial t;
  t.look();
  t.server.reset();
  return t.connection;
}

TcpConnectionPtr loopGone() {
  Trial t;
  t.look();
  t.loop.reset();
  return t.connection;
}

/// On any socket, without a server.
TcpConnectionPtr alone(UniqueFd socket, const std::function<void(TcpConnection&)>& work = {}) {
  EventLoop loop;
  ConnectionProfile profile;
  profile.loop = &loop;
  profile.mailbox = loop.mailbox();
  profile.callbacks.connection = connectionCallback;
  auto connection =
      std::make_shared<TcpConnection>(std::make_shared<const ConnectionProfile>(std::move(profile)),
                                      1, Socket(std::move(socket)), InetAddress());
  record = {};
  record.connection = connection.get();
  watching = true;
  connection->connectEstablished();
  if (work) work(*connection);
  runRounds(loop, 5);
  watching = false;
  return connection;
}

TcpConnectionPtr readFails() {
  return alone(toNobody(), [](TcpConnection& c) { c.send("x"); });
}
TcpConnectionPtr writeFails() {
  return alone(toNobody(), [](TcpConnection& c) {
    c.send("x");
    c.send("y");
  });
}
TcpConnectionPtr notWatched() {
  return alone(UniqueFd(open("/proc/self/exe", O_RDONLY | O_CLOEXEC)));
}

// ---- The rows. ----

struct Row {
  const char* way;
  TcpConnectionPtr (*run)();
  const char* file;  // of the stage's tests
  const char* test;
};

constexpr Row kRows[] = {
    {"the peer closes", peerCloses, "close_reason",
     "CloseReason: who closed first, the peer or this side"},
    {"the peer half-closes, then reads all that waits for it", peerHalfCloses, "every_end",
     "TcpConnection ends: the peer half-closes with 100 MiB queued, and gets all of it"},
    {"the same, while somebody holds the connection", peerHalfClosesWhileHeld, "connection_hold",
     "TcpConnection hold: two hundred peers half-close before their answers are computed"},
    {"the same, with a half-close callback, and a shutdown() later", halfCloseCallback, "every_end",
     "TcpConnection ends: with a half-close callback it stays open until the user is done"},
    {"shutdown(), then the peer closes", weShutDown, "close_reason",
     "CloseReason: who closed first, the peer or this side"},
    {"close(linger), and the peer closes in time", weClose, "connection_hold",
     "TcpConnection close: no more messages, and the last words arrive while the peer sends"},
    {"close(linger), and the peer stays", weCloseAndPeerStays, "connection_hold",
     "TcpConnection close: one that does not go is cut after the time it was given"},
    {"forceClose()", weForceClose, "close_reason",
     "CloseReason: what this side decided: forced, lingerExpired, stopped"},
    {"the peer resets", peerResets, "close_reason",
     "CloseReason: a reset, read from or written to"},
    {"the peer resets while reading is stopped", peerResetsWhileStopped, "close_reason",
     "CloseReason: a reset is noticed while reading is stopped and nothing waits"},
    {"the peer's FIN, then our bytes, then its RST", finThenReset, "close_reason",
     "CloseReason: the peer's FIN, our bytes, and its RST are a reset, and no orderly end"},
    {"we write to a peer that has reset", writeToOneThatIsGone, "close_reason",
     "CloseReason: the first cause stands"},
    {"a write fails for another reason", writeFails, "close_reason",
     "CloseReason: an error that is no reset, of a read, of a write, and of neither"},
    {"a read fails for another reason", readFails, "close_reason",
     "CloseReason: an error that is no reset, of a read, of a write, and of neither"},
    {"both FINs, while reading is stopped", bothFinsWhileStopped, "every_end",
     "TcpConnection ends: bytes and end that arrive while reading is paused wait for startRead"},
    {"somebody else shuts the socket down while reading is stopped", somebodyElseShutsDown,
     "connection_alone",
     "TcpConnection alone: shut down by somebody else while reading is stopped, it stays"},
    {"more input is left than maxInput", tooMuchInput, "close_reason",
     "CloseReason: more input than one may leave unread"},
    {"a callback finds no memory", noMemory, "close_reason",
     "CloseReason: bad_alloc from any callback ends the connection"},
    {"the kernel will not watch the socket", notWatched, "close_reason",
     "CloseReason: the kernel refuses to watch it, and it was never up"},
    {"no byte moves for the idle timeout", idle, "idle_end",
     "TcpServer idle timeout: a peer that never reads is closed, though one goes on sending"},
    {"stop(), then the peer closes", serverStops, "tcp_server_drain",
     "TcpServer stop: requests that have arrived when it begins are answered"},
    {"stop(), at its deadline", serverStopsAtDeadline, "close_reason",
     "CloseReason: what this side decided: forced, lingerExpired, stopped"},
    {"the server is destroyed", serverGone, "close_reason",
     "CloseReason: what this side decided: forced, lingerExpired, stopped"},
    {"the loop is destroyed first", loopGone, "close_reason",
     "CloseReason: its loop was destroyed first"},
};

std::string rowOf(const Row& row) {
  const TcpConnectionPtr connection = row.run();
  std::string calls = record.calls;
  if (record.down.starts_with(record.calls)) {
    calls = record.down;
  } else if (!record.down.empty()) {
    calls += "; then " + record.down;
  }
  if (record.inTask) calls = record.posted + "; then " + calls;
  const char* const error = connection->error() == 0 ? "0" : strerrorname_np(connection->error());
  std::ostringstream text;
  text << "| " << row.way << " | " << (record.epoll.empty() ? "nothing" : record.epoll) << " | "
       << calls << " | " << record.state << " | " << record.tcp << " | `"
       << nameOf(connection->closeReason()) << "` | " << error << " | [" << row.file
       << "](../../stages/09-every-end/tests/" << row.file << "_test.cc \"" << row.test << "\") |";
  return text.str();
}

}  // namespace

int main(int argc, char** argv) {
  Logger::setLevel(LogLevel::fatal);
  std::vector<std::string> page;
  if (argc > 1) {
    std::ifstream file(argv[1]);
    for (std::string line; std::getline(file, line);)
      page.push_back(line);
    if (page.empty()) std::printf("# %s cannot be read\n", argv[1]);
  }
  int number = 0;
  bool same = true;
  for (const Row& row : kRows) {
    std::string text = rowOf(row);
    if (argc == 1) {
      std::puts(text.c_str());
      continue;
    }
    // Where the machine is busy, a packet may be on its way for longer than a step takes.
    const auto isThere = [&] { return std::find(page.begin(), page.end(), text) != page.end(); };
    for (int tries = 1; !isThere() && tries < 5; ++tries)
      text = rowOf(row);
    std::printf("%s %d - poster: %s\n", isThere() ? "ok" : "not ok", ++number, row.way);
    if (!isThere()) std::printf("# it was: %s\n", text.c_str());
    same &= isThere();
  }
  if (argc > 1) {
    const auto rows = std::count_if(page.begin(), page.end(), [](const std::string& line) {
      return line.starts_with("| ") && !line.starts_with("| what happens");
    });
    const bool noMore = rows == std::ssize(kRows);
    std::printf("%s %d - poster: the page has no other rows\n1..%d\n", noMore ? "ok" : "not ok",
                number + 1, number + 1);
    same &= noMore;
  }
  return same ? 0 : 1;
}
