#pragma once

#include <charconv>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <string_view>
#include <system_error>

namespace bench {

/// The command line of a benchmark: `--name value` pairs, and `--name` alone for its flag, if it
/// has one.
/// Every error is told on stderr with the usage, and ends the process with status 2.
class Arguments {
 public:
  Arguments(int argc, char** argv, std::string_view flag, std::string usage)
      : program_(argv[0]), usage_(std::move(usage)) {
    for (int i = 1; i < argc; ++i) {
      const std::string name = argv[i];
      if (name == "--help") {
        std::fputs(usage_.c_str(), stdout);
        std::exit(0);
      }
      if (name.rfind("--", 0) != 0) refuse("unexpected argument '" + name + "'");
      if (name == flag) {
        given_[name] = "yes";
      } else {
        if (i + 1 == argc) refuse(name + " is unknown, or needs a value");
        given_[name] = argv[++i];
      }
    }
  }

  [[nodiscard]] bool flag(const std::string& name) { return !take(name, "").empty(); }

  [[nodiscard]] std::string text(const std::string& name, const std::string& otherwise) {
    return take(name, otherwise);
  }

  [[nodiscard]] std::uint64_t number(const std::string& name, std::uint64_t otherwise,
                                     std::uint64_t least, std::uint64_t most) {
    return parsed<std::uint64_t>(name, otherwise, least, most);
  }
  [[nodiscard]] double real(const std::string& name, double otherwise, double least, double most) {
    return parsed<double>(name, otherwise, least, most);
  }

  /// To be called when all that is known has been asked for.
  void refuseOthers() {
    if (!given_.empty()) refuse(given_.begin()->first + " is unknown");
  }

  [[noreturn]] void refuse(const std::string& what) const {
    std::fprintf(stderr, "%s: %s\n%s", program_.c_str(), what.c_str(), usage_.c_str());
    std::exit(2);
  }

 private:
  std::string take(const std::string& name, const std::string& otherwise) {
    const auto found = given_.extract(name);
    return found.empty() ? otherwise : found.mapped();
  }

  template <class Number>
  Number parsed(const std::string& name, Number otherwise, Number least, Number most) {
    const std::string text = take(name, "");
    if (text.empty()) return otherwise;
    Number value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || !(value >= least) ||
        value > most) {
      refuse(name + ": '" + text + "' is not a number from " + std::to_string(least) + " to " +
             std::to_string(most));
    }
    return value;
  }

  const std::string program_;
  const std::string usage_;
  std::map<std::string, std::string> given_;
};

}  // namespace bench
