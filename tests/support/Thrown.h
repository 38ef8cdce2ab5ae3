#pragma once

#include <algorithm>
#include <initializer_list>
#include <string>
#include <string_view>

namespace rung::testing {

/// The what() of the Exception that `call` throws; "" if it throws none, or another one.
template <class Exception, class Call>
std::string thrown(Call call) {
  try {
    call();
  } catch (const Exception& e) {
    return e.what();
  } catch (...) {
  }
  return "";
}

/// Whether `text` has each of these pieces. Messages are written for people, and may be worded in
/// many ways: a test asks for the names and numbers that the header promises, and for no more.
inline bool mentions(std::string_view text, std::initializer_list<std::string_view> pieces) {
  return std::all_of(pieces.begin(), pieces.end(),
                     [&](std::string_view piece) { return text.find(piece) != text.npos; });
}

}  // namespace rung::testing
