#!/usr/bin/env python3
"""Runs Meson on programs that pass, fail, crash, hang and fall silent, and checks the count.

usage: count_tests_test.py [UNITTEST ARGUMENT...]
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / 'tests' / 'support'), str(ROOT / 'tools')]
sys.dont_write_bytecode = True
import tap  # noqa: E402
from rungtools import count_tests  # noqa: E402

# name: (protocol, what the program does, what counts as passed, failed, skipped)
PROGRAMS = {
    'exit-ok': ('exitcode', 'pass', (1, 0, 0)),
    'exit-fails': ('exitcode', 'sys.exit(3)', (0, 1, 0)),
    'exit-skips': ('exitcode', 'sys.exit(77)', (0, 0, 1)),
    'exit-crashes': ('exitcode', 'crash()', (0, 1, 0)),
    'exit-hangs': ('exitcode', 'time.sleep(60)', (0, 1, 0)),
    'tap-ok': ('tap', 'say("ok 1 - a", "ok 2 - b", "1..2")', (2, 0, 0)),
    'tap-fails': ('tap', 'say("ok 1 - a", "not ok 2 - b", "1..2"); sys.exit(1)', (1, 1, 0)),
    'tap-skips': ('tap', 'say("ok 1 - a # SKIP because", "ok 2", "1..2")', (1, 0, 1)),
    'tap-skips-all': ('tap', 'say("1..0 # SKIP because")', (0, 0, 1)),
    'tap-crashes': ('tap', 'say("ok 1 - a"); crash()', (1, 1, 0)),
    'tap-hangs': ('tap', 'say("ok 1 - a"); time.sleep(60)', (1, 1, 0)),
    'tap-fails-late': ('tap', 'say("ok 1 - a", "1..1"); sys.exit(66)', (1, 1, 0)),
    'tap-leaves-early': ('tap', 'say("ok 1 - a"); sys.exit(0)', (1, 1, 0)),
    'tap-too-few': ('tap', 'say("ok 1 - a", "1..3")', (1, 1, 0)),
    'tap-silent': ('tap', 'pass', (0, 1, 0)),
    'tap-none': ('tap', 'say("1..0")', (0, 1, 0)),
    'tap-comments': (
        'tap', 'say("not ok 1 - a", "# one", "# two", "ok 2 - b", "# three", "1..2")', (1, 1, 0)),
    'tap-complains': (
        'tap', 'sys.stderr.write("seed 7\\n"); say("not ok 1 - a", "1..1"); sys.exit(1)', (0, 1, 0)),
    'tap-coloured': ('tap', 'say("ok 1 - \\x1b[1m<a>\\x1b[0m & \\x01", "1..1")', (1, 0, 0)),
}

PROGRAM = '''
import os, signal, sys, time
def say(*lines):
    print(*lines, sep='\\n', flush=True)
def crash():
    os.kill(os.getpid(), signal.SIGSEGV)
'''


class CountTests(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        directory = tempfile.TemporaryDirectory()
        cls.addClassCleanup(directory.cleanup)
        source = pathlib.Path(directory.name)
        cls.build = source / 'build'
        text = ["project('counted')", "python = find_program('python3')"]
        for name, (protocol, body, _) in PROGRAMS.items():
            (source / f'{name}.py').write_text(PROGRAM + body + '\n', 'utf-8')
            text.append(f"test('{name}', python, args: files('{name}.py'), protocol: '{protocol}',"
                        " suite: 'made', timeout: 1)")
        (source / 'meson.build').write_text('\n'.join(text) + '\n', 'utf-8')
        subprocess.run(['meson', 'setup', cls.build, source], check=True, capture_output=True)

    def run_and_count(self, *arguments):
        for log in (self.build / 'meson-logs').glob('testlog.*'):
            log.unlink()
        done = subprocess.run(['meson', 'test', '-C', self.build, '--no-rebuild', *arguments],
                              check=False, capture_output=True)
        passed, skipped, failed = count_tests.count(self.build / 'meson-logs', done.returncode)
        return passed, skipped, [name for name, _ in failed]

    def test_each(self):
        """each way in which a program can end counts as it should"""
        # Slow machines need longer than a second for a program that does not hang.
        passed, skipped, failed = self.run_and_count('-t', '3')
        blamed = {name: 0 for name in PROGRAMS}
        for line in failed:
            blamed[line.split(' / ')[-1].split(':')[0]] += 1
        self.assertEqual(blamed, {name: expected[1] for name, (*_, expected) in PROGRAMS.items()})
        self.assertEqual(passed, sum(expected[0] for *_, expected in PROGRAMS.values()))
        self.assertEqual(skipped, sum(expected[2] for *_, expected in PROGRAMS.values()))

    def test_alone(self):
        """one program alone is counted alone, and nothing is left over from before"""
        self.assertEqual(self.run_and_count('tap-ok'), (2, 0, []))
        self.assertEqual(self.run_and_count('--suite', 'no-such-suite'), (0, 0, []))

    def test_last_line(self):
        """the last line is the count, and the exit status says whether tests ran and passed"""
        for name, line, status in (('tap-ok', '2 passed, 0 failed', 0),
                                   ('tap-skips', '1 passed, 0 failed, 1 skipped', 0),
                                   ('tap-skips-all', '0 passed, 0 failed, 1 skipped', 1),
                                   ('tap-leaves-early', '1 passed, 1 failed', 1)):
            with self.subTest(program=name):
                self.run_and_count(name)
                done = subprocess.run(
                    [sys.executable, ROOT / 'tools/rungtools/count_tests.py',
                     self.build / 'meson-logs', '0'], check=False, capture_output=True, text=True)
                self.assertEqual(done.stdout.splitlines()[-1], line)
                self.assertEqual(done.returncode, status)

    def test_meson_fails(self):
        """when Meson itself fails, that is one failure"""
        self.run_and_count('tap-ok')
        _, _, failed = count_tests.count(self.build / 'meson-logs', 2)
        self.assertEqual(failed, [('meson test: exit status 2', [])])

    def test_comments(self):
        """what a failed subtest has to say is shown with it, and nothing of the others"""
        self.run_and_count('tap-comments')
        _, _, failed = count_tests.count(self.build / 'meson-logs', 1)
        self.assertEqual([lines for _, lines in failed], [['# one', '# two']])

    def test_last_words(self):
        """without comments, a failed subtest is shown with what the program wrote to stderr"""
        self.run_and_count('tap-complains')
        _, _, failed = count_tests.count(self.build / 'meson-logs', 1)
        self.assertEqual([lines[0] for _, lines in failed], ['seed 7'])

    def test_doctest(self):
        """a doctest case that says why it cannot run is skipped, with its reason"""
        if 'LIB_TESTS' not in os.environ:
            self.skipTest('LIB_TESTS is not set')
        done = subprocess.run(
            ['sh', '-c', 'ulimit -n 64 && "$LIB_TESTS" --reporters=tap "--test-case=Poller: more ready*"'],
            check=True, capture_output=True, text=True)
        self.assertRegex(done.stdout, 'ok 1 - Poller: .* # SKIP this process may not have 450 descriptors')


if __name__ == '__main__':
    tap.Runner.group = 'count_tests'
    unittest.main(testRunner=tap.Runner)
