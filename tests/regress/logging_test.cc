// A log on a disk that fails: what is in the file must be lines.

#include <doctest/doctest.h>

#include <cerrno>
#include <string>
#include <vector>

#include "rung/base/LogFile.h"

#include "tests/faults/Faults.h"
#include "tests/support/TempDirectory.h"

using namespace rung::testing;
using rung::LogFile;

namespace {

// A line was cut by a full disk. The note that lines are missing, which begins with a newline,
// could not be written either, or only in part; then there was room again, and the next line was
// glued to the torn one. Neither could be read, and only one of them was counted.
TEST_CASE("regress: after an error a line of the log begins a line of the file") {
  constexpr int kShort = FaultPlan::kShort;
  for (const std::vector<int>& writes : {std::vector<int>{kShort, ENOSPC, ENOSPC},
                                         {kShort, ENOSPC, kShort, ENOSPC},
                                         {ENOSPC, kShort, EIO},
                                         {kShort, EIO, 0, kShort, ENOSPC, ENOSPC}}) {
    const TempDirectory directory;
    LogFile file({.baseName = directory / "log"});
    file.open();
    Faults::arm(FaultPlan::scriptOf(Call::write, writes));
    std::vector<std::string> sent;
    for (int i = 0; i < 6; ++i) {
      sent.push_back("@line-" + std::to_string(i) + "-of-some-length");
      file.append(sent.back() + "\n");
    }
    Faults::disarm();
    std::size_t whole = 0;
    for (const std::string& line : linesOf(directory.contents())) {
      CAPTURE(line);
      if (line.find('@') == line.npos) continue;  // its own, on what is missing
      CHECK(line.rfind('@') == 0);
      for (const std::string& each : sent)
        whole += each == line ? 1U : 0U;
    }
    CHECK(whole + file.lostLines() >= sent.size());
    CHECK(whole >= 3);
    CHECK(file.lostLines() <= 3);
  }
}

}  // namespace
