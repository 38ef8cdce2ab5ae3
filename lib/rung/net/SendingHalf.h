#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "rung/net/IoResult.h"
#include "rung/net/OutputBuffer.h"

namespace rung {

/// The sending half of a connection: the bytes that wait for the kernel, the water marks, those who
/// hold it open, and its end.
/// It knows neither the socket's events nor the user's callbacks: it keeps the accounts, and says
/// when a mark is crossed.
/// Thread: loop, where nothing else is said.
class SendingHalf {
 public:
  SendingHalf() = default;
  SendingHalf(const SendingHalf&) = delete;
  SendingHalf& operator=(const SendingHalf&) = delete;

  /// Bytes of accepted sends that the kernel has not taken, those on their way from other threads
  /// included; of a file its weight. After drop(): how many were lost.
  /// Thread: any.
  [[nodiscard]] std::size_t unsentBytes() const { return unsent_.load(); }
  /// Counts bytes that this thread is about to post to the loop, or takes them out again. Promise
  /// first, then look at the connection's state: the loop does it the other way round, so either
  /// this thread sees that it is too late, or the loop sees that there is something to wait for.
  /// Thread: any.
  void promise(std::size_t bytes) { unsent_.fetch_add(bytes); }
  void withdraw(std::size_t bytes) { unsent_.fetch_sub(bytes); }
  /// Keeps it open, or no longer. The last one to release gets true.
  /// Thread: any.
  void hold() { holds_.fetch_add(1); }
  bool release() { return holds_.fetch_sub(1) == 1; }
  [[nodiscard]] bool held() const { return holds_.load() > 0; }

  /// Whether nothing waits in the loop: the kernel may be offered new bytes at once.
  [[nodiscard]] bool idle() const { return output_.empty(); }
  /// Keeps the bytes that the kernel did not take: all but the first `taken` ones. `promised` of
  /// the bytes are counted already: all, or none.
  /// Errors: throws std::bad_alloc, and keeps nothing.
  void keep(std::string_view bytes, std::size_t taken, std::size_t promised);
  void keep(std::string&& bytes, std::size_t taken, std::size_t promised);
  void keep(FileRange&& file, std::size_t taken, std::size_t promised);
  /// Hands as many of the waiting bytes as possible to the socket `fd`.
  [[nodiscard]] IoResult offer(int fd);

  /// Whether the waiting bytes have just reached `mark`, or come down to it; a file weighs more
  /// than its bytes, see OutputBuffer::weight(). Each is true once, in turn.
  [[nodiscard]] bool roseTo(std::size_t mark);
  [[nodiscard]] bool fellTo(std::size_t mark);
  [[nodiscard]] bool aboveHighWater() const { return aboveHighWater_; }
  /// What waits in the loop, by weight.
  [[nodiscard]] std::size_t waitingBytes() const { return output_.weight(); }

  /// Our FIN is out, or the peer reads no more.
  [[nodiscard]] bool closed() const { return closed_; }
  void close() { closed_ = true; }
  /// Closes it, and forgets what waits: it stays counted as unsent. Returns whether a file was cut.
  bool drop() {
    close();
    const bool cut = output_.hasFile();
    output_.clear();
    return cut;
  }

 private:
  // Other threads add to it before they look at the connection's state, and the loop looks at it
  // after it has changed that state; so no FIN overtakes what was accepted. This takes the order
  // that sequentially consistent atomics have.
  std::atomic<std::size_t> unsent_ = 0;
  OutputBuffer output_;
  std::atomic<std::uint32_t> holds_ = 0;
  bool aboveHighWater_ = false;
  bool closed_ = false;
};

}  // namespace rung
