#!/usr/bin/env python3
"""tools/coverage: the list of untaken branches, and what is read from llvm-cov. No compiler needed.
"""

import json
import os
import pathlib
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / 'tests/support'))
sys.path.insert(0, str(ROOT / 'tools'))
sys.dont_write_bytecode = True
import tap  # noqa: E402
from rungtools import branches  # noqa: E402

Branch = branches.Branch
OPEN = Branch('net/X.cc', 'fd < 0', 'true', 'if (fd < 0 || n == 0) return;')
EMPTY = Branch('net/X.cc', 'n == 0', 'false', 'if (fd < 0 || n == 0) return;')
LIST = """# A comment.

= Only a kernel without memory refuses it,
  and there is enough.
net/X.cc: `fd < 0` is never true
  in `if (fd < 0 || n == 0) return;`

= Two threads would have to meet.
net/X.cc: `n == 0` is seldom false
  in `if (fd < 0 || n == 0) return;`
"""
SOURCE = """int f(int fd, int n) {
  if (fd < 0 ||
      n == 0) return 1;
  return 0;
}
bool operator==(const X&, const X&) = default;
"""


def function(path, branches, regions=()):
    return {'filenames': [path], 'branches': [[*place, yes, no, 0, 0, 4]
                                              for *place, yes, no in branches],
            'regions': [[*place, count, 0, 0, 0] for *place, count in regions]}


class ListTest(unittest.TestCase):
    def test_committed(self):
        """the committed list can be read, and each of its lines is in the file it names"""
        entries = branches.parse((ROOT / 'tests/coverage/untaken.txt').read_text('utf-8'))
        self.assertGreater(len(entries), 0)
        for branch, reason, _ in entries:
            lines = (ROOT / 'lib/rung' / branch.file).read_text('utf-8').splitlines()
            self.assertIn(branch.line, [' '.join(line.split()) for line in lines])
            self.assertGreater(len(reason.split()), 4, branch)

    def test_parse(self):
        """a reason holds for the branches under it, and may take several lines"""
        first, second = branches.parse(LIST)
        self.assertEqual(first.branch, OPEN)
        self.assertEqual(first.reason,
                         'Only a kernel without memory refuses it, and there is enough.')
        self.assertEqual((second.branch, second.seldom), (EMPTY, True))

    def test_bad(self):
        """a list that cannot be read is refused"""
        record = LIST.split('\n\n')[1].split('enough.\n')[1]
        for text, message in ((record, 'before any reason'), ('= Why.\n', 'without a branch'),
                              ('= Why.\n= Why else.\n' + record, 'without a branch: Why'),
                              ('= Why.\nnet/X.cc: fd is never true\n', 'not "FILE'),
                              ('  in the middle\n', 'begins in the middle')):
            with self.assertRaisesRegex(branches.BadList, message):
                branches.parse(text)

    def test_round_trip(self):
        """what is printed can be read again"""
        entries = branches.parse(LIST)
        self.assertEqual(branches.parse(branches.table(entries)), entries)


class CompareTest(unittest.TestCase):
    def compare(self, untaken, text=LIST, known=(OPEN, EMPTY)):
        explained, unexplained, stale = branches.compare(known, untaken, branches.parse(text))
        return [entry.branch for entry in explained], unexplained, [entry.branch for entry in stale]

    def test_all(self):
        """each untaken branch has its reason"""
        self.assertEqual(self.compare([OPEN, EMPTY]), ([OPEN, EMPTY], [], []))

    def test_missing(self):
        """an untaken branch without a reason is told, its other side's does not count"""
        other = OPEN._replace(side='false')
        self.assertEqual(self.compare([OPEN, other]), ([OPEN], [other], []))

    def test_stale(self):
        """a reason whose branch is taken is told, but not if it is seldom taken"""
        self.assertEqual(self.compare([]), ([], [], [OPEN]))

    def test_gone(self):
        """a reason whose branch is not in the source any more is told, seldom or not"""
        self.assertEqual(self.compare([], known=[]), ([], [], [OPEN, EMPTY]))

    def test_twice(self):
        """a line that is in the file twice needs two records, and no third"""
        self.assertEqual(self.compare([OPEN, OPEN, EMPTY]), ([OPEN, EMPTY], [OPEN], []))
        doubled = LIST.replace('\n\n= Two', '\n' + str(OPEN) + '\n\n= Two')
        self.assertEqual(self.compare([OPEN, OPEN, EMPTY], doubled), ([OPEN, OPEN, EMPTY], [], []))
        self.assertEqual(self.compare([OPEN, EMPTY], doubled), ([OPEN, EMPTY], [], [OPEN]))


class ExportTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.tree = pathlib.Path(os.path.realpath(directory.name))
        self.path = str(self.tree / 'X.cc')
        pathlib.Path(self.path).write_text(SOURCE, 'utf-8')

    def read(self, *functions):
        known, untaken = branches.read_export(
            json.dumps({'data': [{'functions': list(functions)}]}), self.tree)
        return len(known), [(b.condition, b.side, b.line) for b in untaken]

    def test_untaken(self):
        """a side that was never taken is named with its condition and the first line of that"""
        self.assertEqual(self.read(function(self.path, [(2, 7, 2, 13, 0, 5), (3, 7, 3, 13, 1, 4)])),
                         (4, [('fd < 0', 'true', 'if (fd < 0 ||')]))
        self.assertEqual(self.read(function(self.path, [(2, 7, 3, 13, 1, 0)])),
                         (2, [('fd < 0 || n == 0', 'false', 'if (fd < 0 ||')]))

    def test_instances(self):
        """what one instance of a template takes is taken"""
        self.assertEqual(self.read(function(self.path, [(2, 7, 2, 13, 0, 5)]),
                                   function(self.path, [(2, 7, 2, 13, 1, 0)])), (2, []))

    def test_elsewhere(self):
        """other directories and defaulted comparisons do not count"""
        self.assertEqual(self.read(function('/usr/include/x.h', [(2, 7, 2, 13, 0, 5)]),
                                   function(self.path, [(6, 1, 6, 2, 1, 0)])), (0, []))

    def test_constants(self):
        """a condition that the compiler knows does not count, one that was not reached does"""
        branch = [(2, 7, 2, 13, 0, 0)]
        reached = function(self.path, branch, [(1, 22, 5, 2, 3)])
        self.assertEqual(self.read(reached), (0, []))
        inner = function(self.path, branch, [(1, 22, 5, 2, 3), (2, 7, 2, 13, 0)])
        self.assertEqual(self.read(inner)[0], 2)


if __name__ == '__main__':
    tap.Runner.group = 'tools/coverage'
    unittest.main(argv=sys.argv[:1], testRunner=tap.Runner)
