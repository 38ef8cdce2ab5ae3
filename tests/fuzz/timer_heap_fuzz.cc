// TimerHeap runs what a sorted map of deadlines would, in the same order, and cancels exactly.

#include <chrono>
#include <map>
#include <utility>
#include <vector>

#include "rung/net/TimerHeap.h"

#include "tests/fuzz/Input.h"

using rung::Task;
using rung::TimerHeap;
using rung::TimerId;
using rung::testing::Input;

namespace {

using Clock = TimerHeap::Clock;
using std::chrono::nanoseconds;

/// Timers of equal deadline run in the order in which they were added, repeating ones included.
struct Model {
  using Key = std::pair<Clock::time_point, int>;
  std::map<Key, Clock::duration> waiting;  // the interval

  bool erase(int number) {
    return std::erase_if(waiting, [&](const auto& e) { return e.first.second == number; }) > 0;
  }
};

class Run {
 public:
  void step(Input& input) {
    switch (input.byte() % 5) {
      case 0:
      case 1:
        add(Clock::time_point(nanoseconds(input.number<std::uint16_t>())),
            nanoseconds(input.byte() % 3 == 0 ? 1 + input.byte() : 0));
        break;
      case 2:
      case 3:
        if (!ids_.empty()) cancel(input.number<std::uint16_t>() % ids_.size());
        break;
      default:
        expire(nanoseconds(input.byte()), input);
    }
    EXPECT(heap_.size() == model_.waiting.size());
    EXPECT(heap_.earliest() == (model_.waiting.empty() ? Clock::time_point::max()
                                                       : model_.waiting.begin()->first.first));
  }

 private:
  void add(Clock::time_point deadline, Clock::duration interval) {
    const int number = static_cast<int>(ids_.size());
    ids_.push_back(heap_.add(deadline, interval, Task([this, number] { ran_.push_back(number); })));
    model_.waiting.insert({{deadline, number}, interval});
  }

  void cancel(std::size_t number) {
    EXPECT(heap_.remove(ids_[number]).has_value() == model_.erase(static_cast<int>(number)));
  }

  void expire(Clock::duration passed, Input& input) {
    now_ += passed;
    std::vector<TimerHeap::Expired> batch;
    heap_.takeExpired(now_, batch);
    std::vector<std::pair<Model::Key, Clock::duration>> due;
    while (!model_.waiting.empty() && model_.waiting.begin()->first.first <= now_) {
      due.emplace_back(*model_.waiting.begin());
      model_.waiting.erase(model_.waiting.begin());
    }
    EXPECT(batch.size() == due.size());
    for (std::size_t i = 0; i < batch.size(); ++i)
      runOne(batch[i], due[i].first, due[i].second, input.byte());
  }

  void runOne(const TimerHeap::Expired& expired, const Model::Key& key, Clock::duration interval,
              std::uint8_t what) {
    auto [deadline, number] = key;
    EXPECT(expired.id == ids_[static_cast<std::size_t>(number)]);
    EXPECT(expired.repeats == (interval.count() > 0));
    if (what % 8 == 1) {  // removed after it was found due, and before it runs
      EXPECT(heap_.remove(expired.id).has_value());
      EXPECT(!heap_.start(expired.id));
      return;
    }
    Task task = heap_.start(expired.id);
    EXPECT(static_cast<bool>(task));
    task();
    EXPECT(ran_.back() == number);
    if (!expired.repeats) {
      EXPECT(!heap_.remove(expired.id).has_value());
      return;
    }
    const bool removed = what % 8 == 2;  // by its own callback
    if (removed) EXPECT(heap_.remove(expired.id).has_value());
    heap_.finish(expired.id, now_, std::move(task));
    if (removed) return;
    // The first moment after now on the grid of its interval.
    while (deadline <= now_)
      deadline += interval;
    model_.waiting.insert({{deadline, number}, interval});
  }

  TimerHeap heap_;
  Model model_;
  std::vector<TimerId> ids_;
  std::vector<int> ran_;
  Clock::time_point now_{};
};

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  Run run;
  for (int step = 0; !input.atEnd() && step < 2000; ++step)
    run.step(input);
  return 0;
}
