// Answers in capitals, and takes 300 ms for each answer, on a thread of its own.
//
//   late [PORT] [silent]    with `silent`, the thread does not wake the loop

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cctype>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <string>
#include <thread>

#include "sixty.h"

struct Message {
  int client;
  std::string text;
};

std::mutex mutex;  // guards the two queues
std::deque<Message> questions;
std::deque<Message> answers;
std::condition_variable asked;

void work(int bell) {
  while (true) {
    std::unique_lock lock(mutex);
    asked.wait(lock, [] { return !questions.empty(); });
    Message message = std::move(questions.front());
    questions.pop_front();
    lock.unlock();

    std::this_thread::sleep_for(std::chrono::milliseconds(300));  // something hard
    for (char& c : message.text)
      c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));

    lock.lock();
    answers.push_back(std::move(message));
    lock.unlock();
    if (bell < 0) continue;
    const std::uint64_t one = 1;
    (void)!write(bell, &one, sizeof one);  // adds one to the counter: the loop wakes up
  }
}

void sendAnswers(int bell) {
  std::uint64_t rings = 0;
  (void)!read(bell, &rings, sizeof rings);  // sets the counter to 0: EPOLLIN is over
  std::deque<Message> ready;
  {
    const std::lock_guard lock(mutex);
    ready.swap(answers);
  }
  for (const Message& answer : ready)
    send(answer.client, answer.text.data(), answer.text.size(), 0);
}

void ask(int client) {
  char bytes[4096];
  const ssize_t n = recv(client, bytes, sizeof bytes, 0);
  if (n > 0) {
    const std::lock_guard lock(mutex);
    questions.push_back({client, std::string(bytes, static_cast<std::size_t>(n))});
    asked.notify_one();
  } else if (n == 0 || errno != EAGAIN) {
    std::printf("descriptor %d: the end\n", client);
    close(client);
  }
}

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  const int bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  const int listener = listenOn(argc > 1 ? std::atoi(argv[1]) : 9000);
  const int poller = epoll_create1(EPOLL_CLOEXEC);
  watch(poller, listener);
  watch(poller, bell);
  std::thread worker(work, argc > 2 ? -1 : bell);
  while (true) {
    epoll_event ready[64];
    const int count = epoll_wait(poller, ready, 64, -1);
    for (int i = 0; i < count; ++i) {
      const int fd = ready[i].data.fd;
      if (fd == listener) {
        const int client = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK);
        if (client < 0) continue;
        std::printf("descriptor %d: a client\n", client);
        watch(poller, client);
      } else if (fd != bell) {
        ask(fd);
      }
    }
    sendAnswers(bell);  // after each round, for any event
  }
}
