// Included at the top of each test by tools/learn: values that doctest shows as {?} get a text.

#pragma once

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <set>
#include <sstream>
#include <string>
#include <type_traits>
#include <vector>

#if __has_include("rung/net/CloseReason.h")
#include "rung/net/CloseReason.h"
#endif

namespace doctest {

template <typename T>
struct StringMaker<std::atomic<T>> {
  static String convert(const std::atomic<T>& value) { return toString(value.load()); }
};

#if __has_include("rung/net/CloseReason.h")
template <>
struct StringMaker<rung::CloseReason> {
  static String convert(rung::CloseReason value) {
    return std::string(rung::nameOf(value)).c_str();
  }
};
#endif

template <typename Rep, typename Period>
struct StringMaker<std::chrono::duration<Rep, Period>> {
  static String convert(const std::chrono::duration<Rep, Period>& value) {
    std::ostringstream text;
    text << std::chrono::duration<double, std::milli>(value).count() << " ms";
    return text.str().c_str();
  }
};

template <typename Clock, typename Duration>
struct StringMaker<std::chrono::time_point<Clock, Duration>> {
  static String convert(const std::chrono::time_point<Clock, Duration>& value) {
    return StringMaker<Duration>::convert(value.time_since_epoch()) + " of the clock";
  }
};

template <typename Container>
String elementsOf(const Container& values) {
  String text = "{";
  for (const auto& value : values)
    text += (text.size() > 1 ? String(" ") : String("")) + toString(value);
  return text + "}";
}

template <typename T>
struct StringMaker<std::vector<T>> {
  static String convert(const std::vector<T>& values) { return elementsOf(values); }
};

template <typename T>
struct StringMaker<std::set<T>> {
  static String convert(const std::set<T>& values) { return elementsOf(values); }
};

}  // namespace doctest
