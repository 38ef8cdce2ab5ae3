"""A small tree with two stages, for the tests of tools/docs; not one of them is a test itself."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

TOOL = pathlib.Path(__file__).resolve().parents[2] / 'tools' / 'docs'

FILES = {
    'stages/meson.build': "stage_names = [\n  '01-one',\n  '02-two',\n]\n",
    'stages/01-one/meson.build': """stage = {
  'title': 'One', 'adds': 'a tap', 'headers': ['rung/net/Tap.h'],
  'sources': ['rung/net/Tap.cc'], 'tests': ['tap'], 'retires': {},
}
""",
    'stages/02-two/meson.build': """stage = {
  'title': 'Two', 'adds': 'a sink', 'headers': ['rung/net/Sink.h'],
  'sources': ['rung/net/Tap.cc'], 'tests': [], 'retires': {},
}
""",
    'stages/01-one/rung/net/Tap.h': """#pragma once
namespace rung {
/// Lets water flow.
class Tap {
 public:
  enum class Turn { left, right };
  /// Opens it.
  /// Thread: any.
  void open(int turns);
  void open(Turn turn) { turn_ = turn; }
  [[nodiscard]] bool isOpen() const { return open_; }

 private:
  bool open_{false};
  Turn turn_ = Turn::left;
};
}  // namespace rung
#define LOG_DRIP(text) \\
  drip(text)
""",
    'stages/01-one/rung/net/Tap.cc': """#include "rung/net/Tap.h"
namespace rung {
namespace {
constexpr char kBrace = '{';  // } is not the end
}
// Rust keeps it shut: one "}" too many.
void Tap::open(int turns) {
  const char* text = "}{";
  for (int i = 0; i < turns; ++i) {
    open_ = i > 1'0 || text[0] == kBrace;
  }
}
}  // namespace rung
""",
    'stages/01-one/tests/tap_test.cc': """// It dripped.
TEST_CASE("Tap: opens \\"wide\\"") {
  CHECK(true);
}
TEST_CASE_FIXTURE(Fixture,
                  "Tap: a name that goes on "
                  "in the next line") {}
""",
    'stages/02-two/rung/net/Tap.cc': '#include "rung/net/Tap.h"\nint oldTap();\n',
    'stages/02-two/rung/net/Sink.h': '#pragma once\nstruct Sink {\n  int drainAll();\n};\n',
    'tools/count.py': '''def count(words):
    """Counts them."""
    return len(words)


class CountTest:
    def test_none(self):
        """nothing counts as none"""
''',
}


class DocsCase(unittest.TestCase):
    """Each test gets a tree of its own, and a page to write to."""

    page_path = 'docs/page.md'

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        for path, text in FILES.items():
            self.write(path, text)
        self.page = self.root / self.page_path
        self.page.parent.mkdir(parents=True, exist_ok=True)

    def write(self, path, text):
        where = self.root / path
        where.parent.mkdir(parents=True, exist_ok=True)
        where.write_text(text, encoding='utf-8')

    def run_tool(self, *arguments):
        return subprocess.run([sys.executable, TOOL, '--root', self.root, *arguments], text=True,
                              capture_output=True, check=False)

    def update(self, text, *options):
        """The page after `update`, which was given this text."""
        self.page.write_text(text, encoding='utf-8')
        self.run_tool(*options, 'update')
        return self.page.read_text(encoding='utf-8')

    def assert_good(self, text=None, *options):
        if text is not None:
            self.page.write_text(text, encoding='utf-8')
        done = self.run_tool(*options, 'check')
        self.assertEqual((done.returncode, done.stderr), (0, ''))
        return done.stdout

    def assert_refused(self, text, *words, options=()):
        """check names the page and says each of these words."""
        if text is not None:
            self.page.write_text(text, encoding='utf-8')
        done = self.run_tool(*options, 'check')
        self.assertEqual(done.returncode, 1, done.stdout)
        for word in words:
            self.assertIn(word, done.stderr)
