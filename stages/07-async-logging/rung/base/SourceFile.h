#pragma once

#include <cstddef>
#include <string_view>

#include "rung/base/noncopyable.h"  // refuses older standards

namespace rung {

/// The name of a source file without its directories: "File.cc" of "../src/File.cc".
/// The compiler finds it, so a log statement neither searches __FILE__ nor copies it.
/// Thread: any; it is a value.
/// Lifetime: refers to the literal it was made from, which lives as long as the program.
class SourceFile {
 public:
  /// What a file system allows. Of a longer name, which only #line can give, the end is kept.
  static constexpr std::size_t kMaxBytes = 255;

  template <std::size_t N>
  consteval SourceFile(const char (&path)[N])  // NOLINT(google-explicit-constructor): of __FILE__
      : name_(path, N - 1) {
    if (const auto slash = name_.rfind('/'); slash != name_.npos) name_.remove_prefix(slash + 1);
    if (name_.size() > kMaxBytes) name_.remove_prefix(name_.size() - kMaxBytes);
  }

  [[nodiscard]] constexpr std::string_view name() const { return name_; }

 private:
  std::string_view name_;
};

}  // namespace rung
