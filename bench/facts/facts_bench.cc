// The costs that the interview pages speak of, each by name: build/release/bench/facts/facts-bench
// --benchmark_filter='^tid'

#include <benchmark/benchmark.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/single_threaded.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <ctime>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "rung/base/CurrentThread.h"
#include "rung/base/LogStream.h"
#include "rung/base/Task.h"
#include "rung/base/Timestamp.h"
#include "rung/base/UniqueFd.h"

namespace {

using benchmark::DoNotOptimize;
using benchmark::State;
using rung::UniqueFd;

// ---- asking the kernel ----

void tidFromKernel(State& state) {
  for (auto _ : state)
    DoNotOptimize(syscall(SYS_gettid));
}
BENCHMARK(tidFromKernel);

void tidCached(State& state) {
  for (auto _ : state)
    DoNotOptimize(rung::CurrentThread::tid());
}
BENCHMARK(tidCached);

/// No system call: the kernel maps code for it into every process (vdso(7)).
void clockNow(State& state) {
  for (auto _ : state)
    DoNotOptimize(rung::Timestamp::now());
}
BENCHMARK(clockNow);

// ---- waking another thread ----

struct Eventfd {
  Eventfd() : reader(eventfd(0, EFD_CLOEXEC)), writer(dup(reader.get())) {}
  UniqueFd reader, writer;
};
struct Pipe {
  Pipe() {
    int ends[2] = {-1, -1};
    if (pipe(ends) != 0) std::abort();
    reader = UniqueFd(ends[0]);
    writer = UniqueFd(ends[1]);
  }
  UniqueFd reader, writer;
};
struct Socketpair {
  Socketpair() {
    int ends[2] = {-1, -1};
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) std::abort();
    reader = UniqueFd(ends[0]);
    writer = UniqueFd(ends[1]);
  }
  UniqueFd reader, writer;
};

void ring(const UniqueFd& fd) {
  const std::uint64_t one = 1;
  if (write(fd.get(), &one, sizeof one) != sizeof one) std::abort();
}
void answer(const UniqueFd& fd) {
  std::uint64_t count = 0;
  if (read(fd.get(), &count, sizeof count) != sizeof count) std::abort();
}

/// One write of eight bytes and one read of them, in one thread: the system calls alone.
template <class Bell>
void ringAndRead(State& state) {
  const Bell bell;
  for (auto _ : state) {
    ring(bell.writer);
    answer(bell.reader);
  }
}
BENCHMARK(ringAndRead<Eventfd>)->Name("ringAndReadEventfd");
BENCHMARK(ringAndRead<Pipe>)->Name("ringAndReadPipe");
BENCHMARK(ringAndRead<Socketpair>)->Name("ringAndReadSocketpair");

/// To a thread that sleeps, and back: two wake-ups.
template <class Bell>
void wakeAndBack(State& state) {
  const Bell there, back;
  std::atomic<bool> end{false};
  std::thread other([&] {
    for (;;) {
      answer(there.reader);
      if (end) return;
      ring(back.writer);
    }
  });
  for (auto _ : state) {
    ring(there.writer);
    answer(back.reader);
  }
  end = true;
  ring(there.writer);
  other.join();
}
BENCHMARK(wakeAndBack<Eventfd>)->Name("wakeAndBackEventfd")->UseRealTime();
BENCHMARK(wakeAndBack<Pipe>)->Name("wakeAndBackPipe")->UseRealTime();
BENCHMARK(wakeAndBack<Socketpair>)->Name("wakeAndBackSocketpair")->UseRealTime();

/// A hundred writes before one wake is taken: an eventfd is emptied by one read of eight bytes.
template <class Bell>
void hundredRings(State& state) {
  const Bell bell;
  std::array<char, 800> all{};
  for (auto _ : state) {
    for (int i = 0; i < 100; ++i)
      ring(bell.writer);
    if (read(bell.reader.get(), all.data(), all.size()) <= 0) std::abort();
  }
}
BENCHMARK(hundredRings<Eventfd>)->Name("hundredRingsEventfd");
BENCHMARK(hundredRings<Pipe>)->Name("hundredRingsPipe");

// ---- level and edge ----

/// One message of 64 bytes: written, waited for, read. With `untilEagain`, read once more.
void oneMessage(State& state, std::uint32_t mode, bool untilEagain) {
  int ends[2] = {-1, -1};
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) != 0) std::abort();
  const UniqueFd here(ends[0]), there(ends[1]), epoll(epoll_create1(EPOLL_CLOEXEC));
  epoll_event event{};
  event.events = EPOLLIN | mode;
  if (epoll_ctl(epoll.get(), EPOLL_CTL_ADD, here.get(), &event) != 0) std::abort();
  char message[64] = {};
  char block[4096];
  for (auto _ : state) {
    if (write(there.get(), message, sizeof message) != sizeof message) std::abort();
    if (epoll_wait(epoll.get(), &event, 1, -1) != 1) std::abort();
    while (read(here.get(), block, sizeof block) > 0 && untilEagain) {
    }
  }
}
BENCHMARK_CAPTURE(oneMessage, level, 0, false);
BENCHMARK_CAPTURE(oneMessage, edge, EPOLLET, false);
BENCHMARK_CAPTURE(oneMessage, edgeUntilEagain, EPOLLET, true);

// ---- many descriptors, one of them ready ----

std::vector<UniqueFd> idleDescriptors(std::size_t count) {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  std::vector<UniqueFd> idle;
  for (std::size_t i = 0; i < count; ++i)
    idle.emplace_back(eventfd(0, EFD_CLOEXEC));
  return idle;
}

void oneReadyAmongEpoll(State& state) {
  const auto idle = idleDescriptors(static_cast<std::size_t>(state.range(0)));
  if (!idle.back().valid()) return state.SkipWithError("too few descriptors");
  const UniqueFd ready(eventfd(1, EFD_CLOEXEC)), epoll(epoll_create1(EPOLL_CLOEXEC));
  epoll_event event{};
  event.events = EPOLLIN;
  for (const UniqueFd& fd : idle)
    epoll_ctl(epoll.get(), EPOLL_CTL_ADD, fd.get(), &event);
  epoll_ctl(epoll.get(), EPOLL_CTL_ADD, ready.get(), &event);
  for (auto _ : state)
    DoNotOptimize(epoll_wait(epoll.get(), &event, 1, -1));
}
BENCHMARK(oneReadyAmongEpoll)->Arg(10)->Arg(1000)->Arg(10000);

void oneReadyAmongPoll(State& state) {
  const auto idle = idleDescriptors(static_cast<std::size_t>(state.range(0)));
  if (!idle.back().valid()) return state.SkipWithError("too few descriptors");
  const UniqueFd ready(eventfd(1, EFD_CLOEXEC));
  std::vector<pollfd> list{{ready.get(), POLLIN, 0}};
  for (const UniqueFd& fd : idle)
    list.push_back({fd.get(), POLLIN, 0});
  for (auto _ : state)
    DoNotOptimize(poll(list.data(), list.size(), -1));
}
BENCHMARK(oneReadyAmongPoll)->Arg(10)->Arg(1000)->Arg(10000);

// ---- callables ----

/// From here on there has been a second thread, as in every server with sub-reactors.
void haveHadThreads() {
  static const bool had = (std::thread([] {}).join(), true);
  DoNotOptimize(had);
}

template <class Holder>
void holdAndCall(State& state) {
  haveHadThreads();
  const auto owner = std::make_shared<long>(1);
  long sum = 0;
  for (auto _ : state) {
    Holder holder([owner, &sum] { sum += *owner; });
    DoNotOptimize(holder);
    holder();
  }
  DoNotOptimize(sum);
}
BENCHMARK(holdAndCall<std::function<void()>>)->Name("holdSharedPtrInFunction");
BENCHMARK(holdAndCall<rung::Task>)->Name("holdSharedPtrInTask");

void holdTwoWordsInFunction(State& state) {
  long sum = 0;
  for (auto _ : state) {
    std::function<void()> holder([a = 1L, &sum] { sum += a; });
    DoNotOptimize(holder);
    holder();
  }
  DoNotOptimize(sum);
}
BENCHMARK(holdTwoWordsInFunction);

struct Base {
  virtual ~Base() = default;
  virtual long next(long value) = 0;
};
struct Derived final : Base {
  long next(long value) override { return value + 1; }
};

// A second one, or the compiler bets on the first and calls it directly.
struct Another final : Base {
  long next(long value) override { return value + 2; }
};

// In both, the compiler must not know any more what it calls.
void callVirtual(State& state) {
  const std::array<std::unique_ptr<Base>, 2> owners{std::make_unique<Derived>(),
                                                    std::make_unique<Another>()};
  Base* object = owners[0].get();
  long value = 0;
  for (auto _ : state) {
    DoNotOptimize(object);
    DoNotOptimize(value = object->next(value));
  }
}
BENCHMARK(callVirtual);

void callFunction(State& state) {
  std::function<long(long)> next = [](long value) { return value + 1; };
  long value = 0;
  for (auto _ : state) {
    DoNotOptimize(next);
    DoNotOptimize(value = next(value));
  }
}
BENCHMARK(callFunction);

// ---- pointers ----

std::shared_ptr<long> sharedByAll = std::make_shared<long>(1);

/// As long as a program has had one thread only, libstdc++ counts without atomics. Run it alone:
/// other benchmarks start threads.
void copySharedPtrBeforeAnyThread(State& state) {
  if (__libc_single_threaded == 0) return state.SkipWithError("a thread has existed: run it alone");
  for (auto _ : state) {
    std::shared_ptr<long> copy = sharedByAll;
    DoNotOptimize(copy);
  }
}
BENCHMARK(copySharedPtrBeforeAnyThread);

/// One or two threads copy the same pointer: its count is one cache line for all.
void copySharedPtr(State& state) {
  haveHadThreads();
  for (auto _ : state) {
    std::shared_ptr<long> copy = sharedByAll;
    DoNotOptimize(copy);
  }
}
BENCHMARK(copySharedPtr)->Threads(1)->Threads(2)->UseRealTime();

void passSharedPtrByReference(State& state) {
  haveHadThreads();
  for (auto _ : state) {
    const std::shared_ptr<long>& reference = sharedByAll;
    DoNotOptimize(*reference);
  }
}
BENCHMARK(passSharedPtrByReference)->Threads(1)->Threads(2)->UseRealTime();

void lockWeakPtr(State& state) {
  haveHadThreads();
  const std::weak_ptr<long> weak = sharedByAll;
  for (auto _ : state)
    DoNotOptimize(weak.lock());
}
BENCHMARK(lockWeakPtr)->Threads(1)->Threads(2)->UseRealTime();

void makeShared(State& state) {
  haveHadThreads();
  for (auto _ : state)
    DoNotOptimize(std::make_shared<long>(1));
}
BENCHMARK(makeShared);

void sharedPtrOfNew(State& state) {
  haveHadThreads();
  for (auto _ : state)
    DoNotOptimize(std::shared_ptr<long>(new long(1)));
}
BENCHMARK(sharedPtrOfNew);

// ---- counting together ----

std::atomic<long> atomicCount{0};
std::mutex countMutex;
long guardedCount = 0;

void countAtomically(State& state) {
  for (auto _ : state)
    atomicCount.fetch_add(1, std::memory_order_relaxed);
}
BENCHMARK(countAtomically)->Threads(1)->Threads(2)->UseRealTime();

/// glibc's mutex, too, is cheaper as long as there has been no second thread.
void countUnderMutex(State& state) {
  haveHadThreads();
  for (auto _ : state) {
    const std::lock_guard lock(countMutex);
    DoNotOptimize(++guardedCount);
  }
}
BENCHMARK(countUnderMutex)->Threads(1)->Threads(2)->UseRealTime();

struct OneLine {
  std::atomic<long> count[2]{};
};
struct TwoLines {
  struct alignas(64) Line {
    std::atomic<long> value{0};
  };
  Line count[2];
};
OneLine oneLine;
TwoLines twoLines;

/// Each thread has a counter of its own; only the cache line is common, or is not.
void countersInOneLine(State& state) {
  std::atomic<long>& own = oneLine.count[state.thread_index()];
  for (auto _ : state)
    own.fetch_add(1, std::memory_order_relaxed);
}
BENCHMARK(countersInOneLine)->Threads(2)->UseRealTime();

void countersInTwoLines(State& state) {
  std::atomic<long>& own = twoLines.count[state.thread_index()].value;
  for (auto _ : state)
    own.fetch_add(1, std::memory_order_relaxed);
}
BENCHMARK(countersInTwoLines)->Threads(2)->UseRealTime();

// ---- text ----

void formatWithOstringstream(State& state) {
  for (auto _ : state) {
    std::ostringstream stream;
    stream << "connection " << 12345 << " took " << 0.25 << " ms";
    DoNotOptimize(stream.str());
  }
}
BENCHMARK(formatWithOstringstream);

void formatWithSnprintf(State& state) {
  char text[128];
  for (auto _ : state) {
    std::snprintf(text, sizeof text, "connection %d took %g ms", 12345, 0.25);
    DoNotOptimize(text);
  }
}
BENCHMARK(formatWithSnprintf);

void formatWithLogStream(State& state) {
  for (auto _ : state) {
    rung::LogStream stream;
    stream << "connection " << 12345 << " took " << 0.25 << " ms";
    DoNotOptimize(stream.view());
  }
}
BENCHMARK(formatWithLogStream);

void dateOfEachLine(State& state) {
  for (auto _ : state)
    DoNotOptimize(rung::Timestamp::now().toString());
}
BENCHMARK(dateOfEachLine);

// ---- memory ----

void vectorResized64K(State& state) {
  for (auto _ : state) {
    std::vector<char> block;
    block.resize(65536);
    DoNotOptimize(block.data());
  }
}
BENCHMARK(vectorResized64K);

void memoryForOverwriting64K(State& state) {
  for (auto _ : state) {
    const auto block = std::make_unique_for_overwrite<char[]>(65536);
    DoNotOptimize(block.get());
  }
}
BENCHMARK(memoryForOverwriting64K);

}  // namespace

BENCHMARK_MAIN();
