// What any thread may ask of a loop, asked by several at once and against the loop's end.

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <random>
#include <vector>

#include "rung/net/EventLoopThread.h"
#include "rung/net/Mailbox.h"

#include "tests/stress/Crowd.h"
#include "tests/support/ServerThread.h"

using namespace std::chrono_literals;
using namespace rung::testing;
using rung::EventLoop;
using rung::EventLoopThread;
using rung::Mailbox;
using rung::TimerId;

namespace {

TEST_CASE("stress: queueInLoop, runInLoop, wakeup and quit race with the end of the loop") {
  for (int round = 0; round < rounds(150); ++round) {
    std::atomic<int> ran{0};
    std::atomic<int> accepted{0};
    auto thread = std::make_unique<EventLoopThread>();
    EventLoop* const loop = thread->startLoop();
    const std::shared_ptr<Mailbox> mailbox = loop->mailbox();  // the loop may be gone
    {
      Crowd crowd(4);
      for (int i = 0; i < 2; ++i) {
        crowd.add([&] {
          for (int j = 0; j < 50; ++j)
            accepted += mailbox->post([&] { ++ran; }) ? 1 : 0;
        });
      }
      crowd.add([&] {
        for (int j = 0; j < 20; ++j)
          mailbox->wakeup();
        mailbox->requestQuit();
      });
      crowd.add([&] { thread.reset(); });
    }
    // What was taken has run, or went with the loop; nothing has run twice.
    CHECK(ran <= accepted);
    CHECK_FALSE(mailbox->post([] {}));
  }
}

TEST_CASE("stress: timers are added and cancelled on all threads while they expire") {
  for (int round = 0; round < rounds(30); ++round) {
    std::atomic<int> ran{0};
    std::atomic<int> cancelled{0};
    std::atomic<int> added{0};
    {
      EventLoopThread thread;
      EventLoop* const loop = thread.startLoop();
      Crowd crowd(3);
      for (unsigned seed = 1; seed <= 3; ++seed) {
        crowd.add([&, seed] {
          std::minstd_rand random(seed);
          std::vector<TimerId> ids;
          for (int i = 0; i < 200; ++i) {
            ids.push_back(
                loop->runAfter(std::chrono::microseconds(random() % 300), [&] { ++ran; }));
            ++added;
            if (loop->cancel(ids[random() % ids.size()])) ++cancelled;
          }
        });
      }
      crowd.join();
      CHECK(eventually([&] { return ran + cancelled == added; }));
    }
    CHECK(ran + cancelled == added);
  }
}

TEST_CASE("stress: repeating timers are cancelled from another thread while they run") {
  EventLoopThread thread;
  EventLoop* const loop = thread.startLoop();
  for (int round = 0; round < rounds(200); ++round) {
    const auto runs = std::make_shared<std::atomic<int>>(0);
    const TimerId id = loop->runEvery(50us, [runs] { ++*runs; });
    if (round % 2 == 0) CHECK(eventually([&] { return *runs > 0; }));
    CHECK(loop->cancel(id));
    CHECK_FALSE(loop->cancel(id));
    ServerThread::runOn(loop, [] {});  // a run that had begun is over
    const int after = *runs;
    ServerThread::runOn(loop, [] {});
    CHECK(*runs == after);
    CHECK(runs.use_count() == 1);
  }
}

}  // namespace
