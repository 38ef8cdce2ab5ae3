// The main() of every test executable, and a doctest reporter that speaks TAP, so that Meson's log
// holds a line for each test case and not one for each executable.

#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <iostream>
#include <ostream>
#include <sstream>
#include <string>

namespace {

/// TAP version 12: "ok N - name" for each test case, the plan at the end. A process that ends
/// before it has printed no plan, which tools/test counts as a failure. A test case that cannot be
/// tried here says so, and returns: MESSAGE("skipped: REASON").
class TapReporter : public doctest::IReporter {
 public:
  explicit TapReporter(const doctest::ContextOptions& options) : out_(*options.cout) {}

  void report_query(const doctest::QueryData&) override {}
  void test_run_start() override {}
  void test_run_end(const doctest::TestRunStats&) override { out_ << "1.." << count_ << std::endl; }
  void test_case_start(const doctest::TestCaseData& test) override {
    name_ = test.m_name;
    messages_.str("");
    skipped_.clear();
  }
  void test_case_reenter(const doctest::TestCaseData&) override {}
  void test_case_end(const doctest::CurrentTestCaseStats& stats) override {
    const bool good = stats.failure_flags == 0;
    out_ << (good ? "ok " : "not ok ") << ++count_ << " - " << name_ << (good ? skipped_ : "")
         << "\n"
         << messages_.str() << std::flush;
    // Meson shows a failed test's stderr, not its TAP.
    if (!good) std::cerr << name_ << "\n" << messages_.str() << std::flush;
  }
  void test_case_exception(const doctest::TestCaseException& e) override {
    comment(std::string("exception: ") + e.error_string.c_str());
  }
  void subcase_start(const doctest::SubcaseSignature&) override {}
  void subcase_end() override {}
  void log_assert(const doctest::AssertData& a) override {
    if (!a.m_failed) return;
    std::ostringstream text;
    text << a.m_file << ":" << a.m_line << ": " << a.m_expr;
    if (a.m_threw) {
      text << " threw " << a.m_exception.c_str();
    } else {
      text << " is " << a.m_decomp.c_str();
    }
    comment(text.str());
    for (int i = 0; i < get_num_active_contexts(); ++i) {
      std::ostringstream context;
      get_active_contexts()[i]->stringify(&context);
      comment("  with " + context.str());
    }
  }
  void log_message(const doctest::MessageData& m) override {
    const std::string text = m.m_string.c_str();
    if (text.rfind("skipped: ", 0) == 0) skipped_ = " # SKIP " + text.substr(9);
    comment(std::string(m.m_file) + ":" + std::to_string(m.m_line) + ": " + text);
  }
  void test_case_skipped(const doctest::TestCaseData&) override {}

 private:
  void comment(const std::string& text) {
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);)
      messages_ << "# " << line << "\n";
  }

  std::ostream& out_;
  std::string name_;
  std::string skipped_;
  std::ostringstream messages_;
  int count_ = 0;
};

}  // namespace

DOCTEST_REGISTER_REPORTER("tap", 1, TapReporter);
