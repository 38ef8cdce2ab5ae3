#!/usr/bin/env python3
"""tools/fuzz: knows its targets, and refuses what is none. Nothing is built here."""

import pathlib
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / 'tests/support'))
sys.dont_write_bytecode = True
import tap  # noqa: E402


def fuzz(*arguments):
    return subprocess.run([sys.executable, ROOT / 'tools/fuzz', *arguments], capture_output=True,
                          text=True)


class FuzzTest(unittest.TestCase):
    def test_list(self):
        """--list shows each target with what it is for, and each has inputs"""
        lines = fuzz('--list').stdout.splitlines()
        self.assertGreaterEqual(len(lines), 5)
        for line in lines:
            name, what = line.split(maxsplit=1)
            self.assertTrue(what)
            self.assertTrue(list((ROOT / 'tests/fuzz/corpus' / name).iterdir()), name)

    def test_name(self):
        """a wrong name is refused, and the right ones are shown"""
        result = fuzz('nonsense')
        self.assertEqual(result.returncode, 2)
        self.assertIn("'nonsense'", result.stderr)
        self.assertIn('buffer', result.stderr)

    def test_no_name(self):
        """without a name it says what is missing"""
        result = fuzz()
        self.assertEqual(result.returncode, 2)
        self.assertIn('--list', result.stderr)

    def test_seconds(self):
        """a time that is none is refused"""
        for seconds in ('0', '-3', 'x'):
            result = fuzz('buffer', seconds)
            self.assertEqual(result.returncode, 2)
            self.assertIn('SECONDS', result.stderr)


if __name__ == '__main__':
    tap.Runner.group = 'tools/fuzz'
    unittest.main(argv=sys.argv[:1], testRunner=tap.Runner)
