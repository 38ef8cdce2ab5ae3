#!/usr/bin/env python3
"""Exports a stage of this repository, then builds and tests the result by itself."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

STAGE = "03"  # small; it replaces files, and its own are replaced later
TOOL = Path(__file__).resolve().parents[2] / "tools" / "stage"


def run(*command: str, cwd: Path | None = None) -> subprocess.CompletedProcess:
    return subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True)


class ExportedStageTest(unittest.TestCase):
    def test_builds_and_passes_alone(self):
        if not shutil.which("meson"):
            self.skipTest("meson is not on the PATH")
        with tempfile.TemporaryDirectory(prefix="stage-export-") as folder:
            self.build_and_test(Path(folder) / "tree")

    def build_and_test(self, tree: Path) -> None:
        exported = run(sys.executable, str(TOOL), "export", STAGE, str(tree))
        self.assertEqual(exported.returncode, 0, exported.stdout)
        setup = run("meson", "setup", "--buildtype=plain", "b", cwd=tree)
        if setup.returncode != 0 and 'Dependency "doctest" not found' in setup.stdout:
            self.skipTest("doctest is not installed")
        self.assertEqual(setup.returncode, 0, setup.stdout)
        tested = run("meson", "test", "-C", "b", "--print-errorlogs", cwd=tree)
        self.assertEqual(tested.returncode, 0, tested.stdout)
        self.assertNotIn("warning:", tested.stdout)
        # A test whose name matches no test case would count as skipped.
        passed = re.search(r"^Ok: +(\d+)", tested.stdout, re.MULTILINE)
        self.assertEqual(int(passed.group(1)), len(list((tree / "tests").glob("*_test.cc"))),
                         tested.stdout)


if __name__ == "__main__":
    program = unittest.main(exit=False, verbosity=2)
    if not program.result.wasSuccessful():
        sys.exit(1)
    sys.exit(77 if program.result.skipped else 0)  # 77 is how Meson is told of a skipped test
