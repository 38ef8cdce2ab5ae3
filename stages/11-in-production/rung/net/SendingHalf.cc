#include "rung/net/SendingHalf.h"

#include <utility>

namespace rung {

void SendingHalf::keep(std::string_view bytes, std::size_t taken, std::size_t promised) {
  output_.append(bytes.substr(taken));
  promise(bytes.size() - taken - promised);  // less than it was, if they are counted
}

void SendingHalf::keep(std::string&& bytes, std::size_t taken, std::size_t promised) {
  const std::size_t size = bytes.size();
  output_.append(std::move(bytes), taken);
  promise(size - taken - promised);
}

void SendingHalf::keep(FileRange&& file, std::size_t taken, std::size_t promised) {
  file.removePrefix(taken);
  const std::size_t weight = file.weight();
  output_.append(std::move(file));
  promise(weight - promised);
}

IoResult SendingHalf::offer(int fd) {
  const std::size_t before = output_.weight();
  const IoResult result = output_.writeTo(fd);
  withdraw(before - output_.weight());
  return result;
}

bool SendingHalf::roseTo(std::size_t mark) {
  if (aboveHighWater_ || output_.weight() < mark) return false;
  aboveHighWater_ = true;
  return true;
}

bool SendingHalf::fellTo(std::size_t mark) {
  if (!aboveHighWater_ || output_.weight() > mark) return false;
  aboveHighWater_ = false;
  return true;
}

}  // namespace rung
