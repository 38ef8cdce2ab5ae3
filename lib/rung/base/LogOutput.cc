#include "rung/base/LogOutput.h"

#include <pthread.h>

#include <atomic>
#include <memory>
#include <new>
#include <thread>
#include <utility>

#include "rung/base/Logging.h"
#include "rung/base/Mutex.h"

namespace rung {

namespace {

/// Here a thread notes which output it is in, as long as it is: a hazard pointer. Whoever replaces
/// an output looks at all notes before it destroys the old one. So a line needs no lock.
struct alignas(64) Note {
  std::atomic<const LogOutput*> output{nullptr};
  Note* next = nullptr;
};

constinit Note firstNote;
// As many as threads have been in write() at once.
constinit std::atomic<Note*> allNotes{&firstNote};
constinit thread_local Note* lastNote = &firstNote;  // free again, most likely

constinit std::atomic<LogOutput*> currentOutput{nullptr};

constinit Mutex outputMutex;
/// The current one, and those that were replaced and are in use. Static, and not destroyed with the
/// process, since threads log to the very end.
struct Owner {
  std::shared_ptr<LogOutput> output;
  Owner* next;
};
constinit Owner* allOwners RUNG_GUARDED_BY(outputMutex) = nullptr;

bool isInUse(const LogOutput* output) {
  if (currentOutput.load() == output) return true;
  for (const Note* note = allNotes.load(); note != nullptr; note = note->next) {
    if (note->output.load() == output) return true;
  }
  return false;
}

Note& makeNote(const LogOutput* output) {
  const auto isTaken = [output](Note* note) {
    const LogOutput* none = nullptr;
    return note->output.compare_exchange_strong(none, output);
  };
  if (isTaken(lastNote)) return *lastNote;
  for (;;) {
    for (Note* note = allNotes.load(); note != nullptr; note = note->next) {
      if (isTaken(note)) return *(lastNote = note);
    }
    auto* const note = new (std::nothrow) Note;
    if (note == nullptr) {
      std::this_thread::yield();  // there is always one, and a thread leaves write()
      continue;
    }
    note->output.store(output);
    note->next = allNotes.load();
    while (!allNotes.compare_exchange_weak(note->next, note)) {
    }
    return *(lastNote = note);
  }
}

void destroyUnused() {
  for (;;) {
    std::unique_ptr<Owner> unused;  // destroyed without the lock: a destructor may do anything
    const MutexLock lock(outputMutex);
    Owner** owner = &allOwners;
    while (*owner != nullptr && isInUse((*owner)->output.get()))
      owner = &(*owner)->next;
    if (*owner == nullptr) return;
    unused.reset(*owner);
    *owner = unused->next;
  }
}

// A child of fork() would find the mutex locked for ever if another thread held it.
RUNG_THREAD_ATTRIBUTE(no_thread_safety_analysis)
void lockOutput() {
  outputMutex.lock();
}
RUNG_THREAD_ATTRIBUTE(no_thread_safety_analysis)
void unlockOutput() {
  outputMutex.unlock();
}
// Not at the first call: a child that is forked amid that would wait for its end for ever. Without
// memory for it, only a fork in the middle of setOutput() is not safe.
[[maybe_unused]] const int atFork = pthread_atfork(lockOutput, unlockOutput, unlockOutput);

/// Returns false if there is no object any more.
bool writeToCurrent(std::string_view line) {
  LogOutput* output = currentOutput.load();
  if (output == nullptr) return false;
  Note& note = makeNote(output);
  // One that is current after it was noted stays: who replaces it later sees the note.
  bool isReplaced = false;
  for (LogOutput* now; output != nullptr && (now = currentOutput.load()) != output; output = now) {
    note.output.store(now);
    isReplaced = true;
  }
  if (output != nullptr) {
    output->write(line);
    if (Logger::aborting()) output->flush();
    note.output.store(nullptr);
    isReplaced = isReplaced || currentOutput.load() != output;
  }
  if (isReplaced) destroyUnused();
  return output != nullptr;
}

}  // namespace

constinit std::atomic<Logger::Output> Logger::output_{Logger::writeToStdout};

void Logger::writeToObject(std::string_view line) {
  if (!writeToCurrent(line)) output_.load()(line);
}

void Logger::setOutput(Output newOutput) {
  setOutput(newOutput == nullptr ? writeToStdout : newOutput, nullptr);
}

void Logger::setOutput(std::shared_ptr<LogOutput> newOutput) {
  const Output function = newOutput == nullptr ? writeToStdout : writeToObject;
  setOutput(function, std::move(newOutput));
}

void Logger::setOutput(Output newOutput, std::shared_ptr<LogOutput> object) {
  LogOutput* const newObject = object.get();
  std::unique_ptr<Owner> owner;
  if (newObject != nullptr) owner.reset(new Owner{std::move(object), nullptr});
  {
    const MutexLock lock(outputMutex);
    if (owner != nullptr) {
      owner->next = allOwners;
      allOwners = owner.release();
    } else {
      output_.store(newOutput);  // a thread that finds no object any more finds the function
    }
    currentOutput.store(newObject);
    output_.store(newOutput);
  }
  destroyUnused();
}

void Logger::unsetOutput(Output oldOutput) {
  output_.compare_exchange_strong(oldOutput, writeToStdout);
}

}  // namespace rung
