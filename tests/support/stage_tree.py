"""A small tree with two stages, for the tests of tools/stage; not one of them is a test itself."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

TOOL = Path(__file__).resolve().parents[2] / "tools" / "stage"

ROOT_MESON = """\
project('mini', 'cpp',
  default_options: ['cpp_std=c++20', 'warning_level=3'])
cxx = meson.get_compiler('cpp')
add_project_arguments(
  cxx.get_supported_arguments('-Wshadow'),
  language: 'cpp')
"""
SUPPORT_MESON = """\
if cxx.has_header('doctest/doctest.h')
  doctest_dep = declare_dependency()
else
  doctest_dep = dependency('doctest')
endif
"""
STAGES_MESON = """\
stage_names = [
  '01-first',
  '02-second',  # a comment
]
foreach name : stage_names
endforeach
"""
FIRST_MESON = """\
stage = {
  'title': 'First things',
  'adds': 'the letter A',
  'headers': ['rung/base/A.h'],
  'sources': ['rung/base/A.cc'],
  'tests': ['a', 'old'],
  'retires': {},
  'timeout': 7,
}
"""
SECOND_MESON = """\
# A comment before the declaration.
stage = {
  'title': 'Second things',
  'adds': 'the letter B',
  'headers': ['rung/net/B.h'],
  'sources': ['rung/base/A.cc', 'rung/net/B.cc'],
  'tests': ['b'],
  'retires': {
    '01-first/tests/old_test.cc': 'A is no longer what it was',
  },
}
"""
TEST_TEXT = '#include <doctest/doctest.h>\n\n#include "{}"\n\nTEST_CASE("one") {{}}\n'

FILES = {
    "meson.build": ROOT_MESON,
    "tests/support/meson.build": SUPPORT_MESON,
    "tests/support/main.cc": "#include <doctest/doctest.h>\n",
    "tests/support/Help.h": "#pragma once\n",
    "examples/demo.cc": "#include <rung/base/A.h>\n#include \"examples/demo.h\"\n",
    "stages/meson.build": STAGES_MESON,
    "stages/01-first/meson.build": FIRST_MESON,
    "stages/01-first/rung/base/A.h": "#pragma once\nint a();\n",
    "stages/01-first/rung/base/A.cc": '#include "rung/base/A.h"\n\nint a() { return 1; }\n',
    "stages/01-first/tests/a_test.cc": TEST_TEXT.format("rung/base/A.h"),
    "stages/01-first/tests/old_test.cc": TEST_TEXT.format("tests/support/Help.h"),
    "stages/02-second/meson.build": SECOND_MESON,
    "stages/02-second/rung/base/A.cc": '#include "rung/base/A.h"\n\nint a() { return 2; }\n',
    "stages/02-second/rung/net/B.h": '#pragma once\n#include "rung/base/A.h"\nint b();\n',
    "stages/02-second/rung/net/B.cc": '#include "rung/net/B.h"\n\nint b() { return a(); }\n',
    "stages/02-second/tests/b_test.cc": TEST_TEXT.format("rung/net/B.h"),
}


class MiniTree(unittest.TestCase):
    """Builds the tree, promoted and without a violation, before each test."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="stage-test-")
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name).resolve() / "tree"
        for name, text in FILES.items():
            self.write(name, text)
        self.assertEqual(self.stage("promote").returncode, 0)

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def replace(self, name: str, old: str, new: str) -> None:
        text = (self.root / name).read_text(encoding="utf-8")
        self.assertIn(old, text)
        self.write(name, text.replace(old, new))

    def text(self, name: str) -> str:
        return (self.root / name).read_text(encoding="utf-8")

    def stage(self, *arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run([sys.executable, str(TOOL), "--root", str(self.root), *arguments],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def output(self, *arguments: str) -> str:
        """What a command that must succeed prints."""
        result = self.stage(*arguments)
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        return result.stdout

    def refuse(self, text: str, *arguments: str) -> None:
        """Expects exit code 2 and a message that holds `text`."""
        result = self.stage(*arguments)
        self.assertEqual(result.returncode, 2, result.stdout)
        self.assertIn(text, result.stderr)
        self.assertNotIn("Traceback", result.stderr)
