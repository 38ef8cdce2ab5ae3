// Locks, latches, semaphores, condition variables, and what goes wrong without them.

#include <doctest/doctest.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/personality.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <condition_variable>
#include <ctime>
#include <latch>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <vector>

#include "tests/facts/Kernel.h"
#include "tests/facts/Threads.h"

#ifndef DATA_RACE_PROGRAM
#define DATA_RACE_PROGRAM ""
#endif

using namespace facts;

namespace {

constexpr std::string_view kRaceProgram = DATA_RACE_PROGRAM;

/// A pthread mutex of a kind that std::mutex does not offer.
struct KindOfMutex {
  explicit KindOfMutex(int kind) {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, kind);
    pthread_mutex_init(&mutex, &attributes);
    pthread_mutexattr_destroy(&attributes);
  }
  ~KindOfMutex() { pthread_mutex_destroy(&mutex); }
  pthread_mutex_t mutex;
};

template <class Work>
auto onAnotherThread(Work work) {
  decltype(work()) result{};
  std::thread([&] { result = work(); }).join();
  return result;
}

struct Ended {
  int status;
  std::string output;
};

/// Runs tests/facts/data_race.cc. Newer kernels spread addresses too widely for this TSan, so the
/// child does without.
Ended runRace(const char* program) {
  int ends[2];
  must(pipe2(ends, O_CLOEXEC), "pipe2");
  const pid_t child = must(fork(), "fork");
  if (child == 0) {
    personality(ADDR_NO_RANDOMIZE);
    unsetenv("TSAN_OPTIONS");
    dup2(ends[1], STDOUT_FILENO);
    dup2(ends[1], STDERR_FILENO);
    execl(kRaceProgram.data(), kRaceProgram.data(), program, static_cast<char*>(nullptr));
    _exit(127);
  }
  ::close(ends[1]);
  Fd readEnd(ends[0]);
  Ended ended{};
  char text[4096];
  for (ssize_t n; (n = read(readEnd, text, sizeof text)) > 0;)
    ended.output.append(text, static_cast<std::size_t>(n));
  waitpid(child, &ended.status, 0);
  return ended;
}

/// Whether these programs can be run here; says why if not.
bool canRunRaces() {
  if (kRaceProgram.empty()) {
    MESSAGE("skipped: no -fsanitize=thread with this compiler, or another sanitizer is on");
    return false;
  }
  if (access(kRaceProgram.data(), X_OK) != 0) {
    MESSAGE("skipped: this user may not run ", kRaceProgram);
    return false;
  }
  if (runRace("mutex").output.find("unexpected memory mapping") == std::string::npos) return true;
  MESSAGE("skipped: this kernel's address space does not suit this ThreadSanitizer");
  return false;
}

std::chrono::nanoseconds cpuTime(pthread_t thread) {
  clockid_t clock{};
  timespec time{};
  pthread_getcpuclockid(thread, &clock);
  clock_gettime(clock, &time);
  return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

}  // namespace

TEST_CASE("threads: a mutex has an owner and only that may unlock it") {
#ifdef __SANITIZE_THREAD__
  MESSAGE("skipped: ThreadSanitizer ends a program that unlocks the mutex of another thread");
  return;
#endif
  KindOfMutex checked(PTHREAD_MUTEX_ERRORCHECK);
  REQUIRE(pthread_mutex_lock(&checked.mutex) == 0);
  CHECK(onAnotherThread([&] { return pthread_mutex_unlock(&checked.mutex); }) == EPERM);
  CHECK(pthread_mutex_lock(&checked.mutex) == EDEADLK);  // std::mutex would wait for itself
  CHECK(pthread_mutex_unlock(&checked.mutex) == 0);
}

TEST_CASE("threads: a semaphore has no owner and any thread may post") {
  sem_t semaphore;
  sem_init(&semaphore, 0, 0);
  CHECK(sem_trywait(&semaphore) == -1);
  CHECK(errno == EAGAIN);
  CHECK(onAnotherThread([&] { return sem_post(&semaphore); }) == 0);
  CHECK(sem_wait(&semaphore) == 0);
  // And it counts beyond one: nothing makes it a lock but the discipline of its users.
  sem_post(&semaphore);
  sem_post(&semaphore);
  int value = 0;
  sem_getvalue(&semaphore, &value);
  CHECK(value == 2);
  sem_destroy(&semaphore);
}

TEST_CASE(
    "threads: a latch opens once for all and a semaphore lets through as many as were posted") {
  constexpr int kThreads = 4;
  std::latch latch(1);
  sem_t semaphore;
  sem_init(&semaphore, 0, 0);
  std::atomic<int> pastLatch{0}, pastSemaphore{0};
  {
    std::vector<std::unique_ptr<Watched>> threads;
    for (int i = 0; i < kThreads; ++i) {
      threads.push_back(std::make_unique<Watched>([&] {
        latch.wait();
        ++pastLatch;
        sem_wait(&semaphore);
        ++pastSemaphore;
      }));
    }
    latch.count_down();
    CHECK(eventually([&] { return pastLatch == kThreads; }));
    for (const auto& thread : threads)
      REQUIRE(thread->fallsAsleep());
    sem_post(&semaphore);
    CHECK(eventually([&] { return pastSemaphore == 1; }));
    int asleep = 0;
    for (const auto& thread : threads)
      asleep += thread->isAsleep() ? 1 : 0;
    CHECK(asleep == kThreads - 1);
    for (int i = 1; i < kThreads; ++i)
      sem_post(&semaphore);
  }
  CHECK(pastSemaphore == kThreads);
  latch.wait();  // open for good
  sem_destroy(&semaphore);
}

TEST_CASE("threads: a condition variable forgets a notification that nobody waits for") {
  std::mutex mutex;
  std::condition_variable condition;
  condition.notify_one();
  std::unique_lock lock(mutex);
  // So what is waited for must be a fact under the mutex, and the wait a loop that tests it.
  CHECK(condition.wait_for(lock, 20ms) == std::cv_status::timeout);
  bool happened = true;
  CHECK(condition.wait_for(lock, 0ms, [&] { return happened; }));

  sem_t semaphore;
  sem_init(&semaphore, 0, 0);
  sem_post(&semaphore);
  CHECK(sem_wait(&semaphore) == 0);  // a semaphore remembers
  sem_destroy(&semaphore);
}

TEST_CASE("threads: two that read and then write one number lose an update") {
  // What ++n of a plain int does, with the moment in between held open. Atomic loads and stores
  // alone do not help: it takes one step that does both.
  std::atomic<int> number{0};
  std::latch bothHaveRead(2);
  const auto increment = [&] {
    const int seen = number.load();
    bothHaveRead.arrive_and_wait();
    number.store(seen + 1);
  };
  std::thread other(increment);
  increment();
  other.join();
  CHECK(number == 1);

  number = 0;
  const auto incrementAtOnce = [&] {
    for (int i = 0; i < 100'000; ++i)
      number.fetch_add(1, std::memory_order_relaxed);
  };
  std::thread another(incrementAtOnce);
  incrementAtOnce();
  another.join();
  CHECK(number == 200'000);
}

TEST_CASE("threads: ThreadSanitizer reports a plain int that two threads write") {
  if (!canRunRaces()) return;
  for (const char* right : {"atomic-int", "mutex"}) {
    CAPTURE(right);
    const Ended ended = runRace(right);
    CHECK(ended.status == 0);
    CHECK(ended.output == "");
  }
  const Ended plain = runRace("plain-int");
  CHECK(plain.output.find("WARNING: ThreadSanitizer: data race") != std::string::npos);
  CHECK(WIFEXITED(plain.status));
  CHECK(WEXITSTATUS(plain.status) == 66);
}

TEST_CASE("threads: a relaxed flag hands nothing over and release with acquire does") {
  if (!canRunRaces()) return;
  const Ended good = runRace("release-acquire-flag");
  CHECK(good.status == 0);
  CHECK(good.output == "42\n");
  const Ended relaxed = runRace("relaxed-flag");
  CHECK(relaxed.output.find("WARNING: ThreadSanitizer: data race") != std::string::npos);
}

TEST_CASE("threads: who waits for a mutex sleeps and who spins burns the processor") {
  std::mutex mutex;
  mutex.lock();
  std::chrono::nanoseconds used{};
  Watched sleeper([&] {
    const std::lock_guard lock(mutex);
    used = cpuTime(pthread_self());
  });
  CHECK(sleeper.fallsAsleep());
  mutex.unlock();
  sleeper.join();
  MESSAGE("processor time of the one that waited: " << used.count() / 1000 << " us");

  std::atomic_flag spinLock;
  spinLock.test_and_set();
  std::thread spinner([&] {
    while (spinLock.test_and_set()) {
    }
  });
  // It has the lock to wait for until it has burnt 20 ms.
  CHECK(eventually([&] { return cpuTime(spinner.native_handle()) >= 20ms; }));
  spinLock.clear();
  spinner.join();
}

TEST_CASE("threads: a read-write lock lets readers share and writers not") {
  std::shared_mutex lock;
  lock.lock_shared();
  CHECK(onAnotherThread([&] {
    const bool shared = lock.try_lock_shared();
    if (shared) lock.unlock_shared();
    return shared;
  }));
  CHECK_FALSE(onAnotherThread([&] { return lock.try_lock(); }));
  lock.unlock_shared();
  lock.lock();
  CHECK_FALSE(onAnotherThread([&] { return lock.try_lock_shared(); }));
  lock.unlock();
}

TEST_CASE("threads: a recursive mutex is free after as many unlocks as locks") {
  std::recursive_mutex mutex;
  const auto freeForOthers = [&] {
    const bool got = mutex.try_lock();
    if (got) mutex.unlock();
    return got;
  };
  mutex.lock();
  mutex.lock();
  mutex.unlock();
  CHECK_FALSE(onAnotherThread(freeForOthers));
  mutex.unlock();
  CHECK(onAnotherThread(freeForOthers));
}

TEST_CASE("threads: lock_guard adopts and unique_lock defers and gives back early") {
  std::mutex mutex;
  const auto freeForOthers = [&] {
    const bool got = mutex.try_lock();
    if (got) mutex.unlock();
    return got;
  };
  {
    mutex.lock();
    const std::lock_guard adopted(mutex, std::adopt_lock);  // does not lock, will unlock
    CHECK_FALSE(onAnotherThread(freeForOthers));
  }
  CHECK(onAnotherThread(freeForOthers));
  std::unique_lock deferred(mutex, std::defer_lock);
  CHECK_FALSE(deferred.owns_lock());
  deferred.lock();
  CHECK_FALSE(onAnotherThread(freeForOthers));
  deferred.unlock();
  CHECK(onAnotherThread(freeForOthers));
  const std::unique_lock tried(mutex, std::try_to_lock);
  CHECK(tried.owns_lock());
}

TEST_CASE("threads: scoped_lock takes two mutexes in either order without a deadlock") {
  std::mutex a, b;
  int turns = 0;
  const auto work = [&](std::mutex& first, std::mutex& second) {
    for (int i = 0; i < 20'000; ++i) {
      const std::scoped_lock lock(first, second);
      ++turns;
    }
  };
  std::thread other([&] { work(b, a); });
  work(a, b);
  other.join();
  CHECK(turns == 40'000);
}

TEST_CASE("threads: a thread-local variable is one for each thread") {
  static thread_local int number = 1;
  number = 2;
  CHECK(onAnotherThread([] { return number++; }) == 1);
  CHECK(number == 2);
}

TEST_CASE("threads: a forked child has the thread that forked and no other") {
  std::atomic<bool> end{false};
  std::thread other([&] {
    while (!end)
      std::this_thread::yield();
  });
  const pid_t child = must(fork(), "fork");
  if (child == 0) {
    Fd tasks(open("/proc/self/task/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    struct stat about {};
    // "." and ".." and one for each thread: the link count of the directory.
    const bool alone = fstat(tasks, &about) == 0 && about.st_nlink == 3;
    _exit(alone ? 0 : 1);
  }
  int status = -1;
  waitpid(child, &status, 0);
  end = true;
  other.join();
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}
