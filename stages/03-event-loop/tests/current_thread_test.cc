#include <doctest/doctest.h>
#include <pthread.h>
#include <unistd.h>

#include <string>
#include <thread>

#include "rung/base/CurrentThread.h"

#include "tests/support/ChildProcess.h"

namespace CurrentThread = rung::CurrentThread;
using rung::testing::runInChild;

namespace {

TEST_CASE("CurrentThread: tid is what the kernel says, first and cached") {
  CHECK(CurrentThread::tid() == gettid());
  CHECK(CurrentThread::tid() == gettid());
}

TEST_CASE("CurrentThread: each thread has a tid of its own") {
  pid_t cached = 0;
  pid_t real = 0;
  std::thread([&] {
    cached = CurrentThread::tid();
    real = gettid();
  }).join();
  CHECK(cached == real);
  CHECK(cached != CurrentThread::tid());
}

// A cached id is a lie in a forked child, whose only thread is a new one.
TEST_CASE("CurrentThread: a forked child does not show its parent's tid") {
  const pid_t parent = CurrentThread::tid();
  const auto child = runInChild([parent] {
    if (CurrentThread::tid() != gettid()) _exit(1);
    if (CurrentThread::tid() == parent) _exit(2);
  });
  CHECK(child.exitedWith(0));
}

TEST_CASE("CurrentThread: names") {
  CHECK(std::string(CurrentThread::name()) == "main");
  std::thread([] {
    CHECK(std::string(CurrentThread::name()) == "unknown");
    CurrentThread::setName("loop-7");
    CHECK(std::string(CurrentThread::name()) == "loop-7");
    char kernels[32] = "";
    pthread_getname_np(pthread_self(), kernels, sizeof kernels);
    CHECK(std::string(kernels) == "loop-7");
  }).join();
}

// "gateway-fronten" three times was all that top showed of "gateway-frontend-1" to "-3".
TEST_CASE("CurrentThread: a long name keeps its beginning and its number") {
  const struct {
    std::string name;
    std::string own;
    std::string kernels;
  } kCases[] = {
      {"gateway-frontend-12", "gateway-frontend-12", "gateway-fron-12"},
      {"sixteen-bytes-xx", "sixteen-bytes-xx", "sixteen-bytes-x"},
      {"fifteen-bytes-1", "fifteen-bytes-1", "fifteen-bytes-1"},
      {"sixteen-bytes--1", "sixteen-bytes--1", "sixteen-bytes-1"},
      {"worker-of-the-frontend7", "worker-of-the-frontend7", "worker-of-the-7"},
      {"a-name-that-is-longer-than-31-bytes", "a-name-that-is-longer-than-31-b", "a-name-that-is-"},
      {"a-name-that-is-longer-than-31-bytes-3", "a-name-that-is-longer-than-31-3",
       "a-name-that-i-3"},
      {"1234567890123456", "1234567890123456", "234567890123456"},
      {"-1234567890123456789012345678901234", "4567890123456789012345678901234",
       "012345678901234"}};
  std::thread([&] {
    for (const auto& [name, own, kernels] : kCases) {
      CurrentThread::setName(name);
      CHECK(std::string(CurrentThread::name()) == own);
      char text[32] = "";
      pthread_getname_np(pthread_self(), text, sizeof text);
      CHECK(std::string(text) == kernels);
    }
  }).join();
}

}  // namespace
