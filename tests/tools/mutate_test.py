#!/usr/bin/env python3
"""tools/mutate: the committed faults fit the library, and bad data is refused by name."""

import importlib.machinery
import importlib.util
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / 'tests/support'))
sys.dont_write_bytecode = True
import tap  # noqa: E402

SCRIPT = ROOT / 'tools/mutate'


def tool():
    loader = importlib.machinery.SourceFileLoader('mutate', str(SCRIPT))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader('mutate', loader))
    loader.exec_module(module)
    return module


MUTATE = tool()
GOOD = '[a-name] net/X.cc | poller | what it is\n<<<<\nold\n====\nnew\n>>>>\n'


class MutateTest(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.addCleanup(self.directory.cleanup)
        self.tree = pathlib.Path(self.directory.name)
        (self.tree / 'lib/rung/net').mkdir(parents=True)

    def load(self, text):
        path = self.tree / 'data.txt'
        path.write_text(text, 'utf-8')
        return MUTATE.load(path)

    def problems(self, data, source):
        (self.tree / 'lib/rung/net/X.cc').write_text(source, 'utf-8')
        return MUTATE.problems_of(self.load(data), self.tree)

    def test_committed(self):
        """every fault still fits the library"""
        result = subprocess.run([sys.executable, SCRIPT, '--check'], capture_output=True, text=True)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)

    def test_enough(self):
        """there are at least forty-five, each told in a line, on tests that exist"""
        mutations = MUTATE.load(MUTATE.DATA)
        self.assertGreaterEqual(len(mutations), 45)
        tests = {path.name[:-len('_test.cc')] for path in ROOT.glob('stages/*/tests/*_test.cc')}
        tests |= {path.name[:-len('_test.cc')] for path in ROOT.glob('tests/*/*_test.cc')}
        for mutation in mutations:
            self.assertLessEqual(set(mutation.tests), tests | set(MUTATE.TARGETS), mutation.name)

    def test_applies(self):
        """a fault that fits is put in, once"""
        self.assertEqual(self.problems(GOOD, 'an old one'), [])
        self.assertEqual(self.load(GOOD)[0].applied(self.tree), 'an new one')

    def test_missing(self):
        """one that no longer fits is named, with the file"""
        [problem] = self.problems(GOOD, 'nothing')
        self.assertRegex(problem, r'a-name: .* 0 times in net/X.cc')

    def test_ambiguous(self):
        """one that fits in two places is named"""
        [problem] = self.problems(GOOD, 'old old')
        self.assertRegex(problem, r'a-name: .* 2 times in net/X.cc')

    def test_file(self):
        """one for a file that is gone is named"""
        [problem] = MUTATE.problems_of(self.load(GOOD), self.tree)
        self.assertRegex(problem, r'a-name: there is no file net/X.cc')

    def test_data(self):
        """data that cannot be read is refused"""
        for text, message in (('[a b] x\n', 'not "'), (GOOD.replace('>>>>\n', ''), 'without a line'),
                              (GOOD.replace('new', 'old'), 'changes nothing'),
                              (GOOD + GOOD, 'there twice')):
            with self.assertRaisesRegex(MUTATE.BadData, message):
                self.load(text)

    def test_arguments(self):
        """a name that is none is refused"""
        result = subprocess.run([sys.executable, SCRIPT, 'no-such'], capture_output=True, text=True)
        self.assertEqual(result.returncode, 2)
        self.assertIn("'no-such'", result.stderr)

    def test_verdicts(self):
        """what a test says is told in a word"""
        self.assertEqual(MUTATE.failure(1, 'TEST CASE:  one\n\nERROR'), 'one')
        self.assertEqual(MUTATE.failure(1, 'not ok 3 - two\n'), 'two')
        self.assertEqual(MUTATE.failure(-11, ''), 'ended by SIGSEGV')
        self.assertEqual(MUTATE.failure(None, ''), 'hangs')


if __name__ == '__main__':
    tap.Runner.group = 'tools/mutate'
    unittest.main(argv=sys.argv[:1], testRunner=tap.Runner)
