#!/usr/bin/env python3
"""tools/breaks on patches of stage 01 made for the purpose, and docs/tutorial/failures/misbehaves.py
on scripts."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / 'tests' / 'support'), str(ROOT / 'tools')]
sys.dont_write_bytecode = True
import tap  # noqa: E402
import terminal  # noqa: E402
from rungtools import patches, stagefiles, stages  # noqa: E402

ERRNO = 'tests/logging_test.cc "Logging: a log statement leaves errno as it was"'
COMMA = 'tests/timestamp_test.cc "Timestamp: times before 1970 round down, not toward zero"'


def patch(caught, old, new, path='rung/base/Logging.cc'):
    return (f'# breaks: something\n# caught by: {caught}\n--- a/{path}\n+++ b/{path}\n'
            f'@@ -1,1 +1,1 @@\n-{old}\n+{new}\n')


RESTORE = '  errno = callersErrno_;'
PATCHES = {
    'caught': patch(ERRNO, RESTORE, '  errno = 0;'),
    'comma': patch(COMMA, '  if (s.microseconds < 0) {', '  if (false) {',
                   'rung/base/Timestamp.cc'),
    'hangs': patch(ERRNO + ' (hangs)', RESTORE, '  for (;;) errno = 0;'),
    'unnoticed': patch(ERRNO, '  return slash == nullptr ? path : slash + 1;', '  return path;'),
    'no-compile': patch(ERRNO, RESTORE, '  errno = callersErrno;'),
    'compiler': patch('the compiler', RESTORE, '  errno = callersErrno;'),
    'compiles': patch('the compiler', RESTORE, '  errno = 0;'),
    'no-hunk': patch(ERRNO, '  errno = gone;', ''),
    'no-hang': patch(ERRNO + ' (hangs)', RESTORE, '  errno = 0;'),
}


class Breaks(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.work = tempfile.TemporaryDirectory()  # where the stage is compiled once
        cls.addClassCleanup(cls.work.cleanup)

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def command(self, patches, *arguments):
        for name, text in patches.items():
            (self.folder / f'01-{name}.patch').write_text(text)
        return [ROOT / 'tools' / 'breaks', '--patches', self.folder, '--work', self.work.name,
                '-j1', *arguments]

    def run_tool(self, patches, *arguments):
        return subprocess.run(self.command(patches, *arguments), text=True, capture_output=True,
                              check=False)

    def test_verdicts(self):
        """a patch passes when its test fails, hangs as announced, or the compiler refuses it"""
        done = self.run_tool(PATCHES)
        self.assertEqual(done.returncode, 1, done.stderr)
        lines = done.stdout.splitlines()
        verdicts = {line.partition('- 01-')[2].partition(':')[0]: line.startswith('ok')
                    for line in lines if ' - 01-' in line}
        self.assertEqual(verdicts, {'caught': True, 'comma': True, 'hangs': True, 'compiler': True,
                                    'unnoticed': False, 'no-compile': False, 'compiles': False,
                                    'no-hunk': False, 'no-hang': False}, done.stdout)
        for words in ('no one notices', 'it does not compile', 'it compiles', 'does not apply',
                      'the case ends, with status 1'):
            self.assertIn(words, done.stdout)
        self.assertEqual(lines[-1], '4 passed, 5 failed')
        self.assertIn('ERROR: CHECK( ', lines[lines.index(next(
            line for line in lines if line.startswith('ok ') and '- 01-caught:' in line)) + 1])
        self.assertNotIn('Which test', done.stdout)

    def test_terminal(self):
        """on a terminal it shows the patch, asks who notices, and shows the assertion that did"""
        command = self.command({'caught': PATCHES['caught']})
        tree = stages.load_tree(ROOT)
        choices = patches.choices_of(stagefiles.exported_files(tree, tree.find('01')),
                                    patches.read_patch(self.folder / '01-caught.patch'))
        right = choices.index('Logging: a log statement leaves errno as it was') + 1
        self.assertEqual(len(choices), 5)
        for typed, words in ((right, 'Your guess was right.'),
                             (right % 5 + 1, 'Not your guess, but: Logging: a log statement leaves')):
            status, shown = terminal.run(self, command, f'{typed}\n'.encode())
            self.assertEqual(status, 0, shown)
            question, _, answer = shown.partition('Which test will notice it?')
            self.assertIn(f'-{RESTORE}', question)
            self.assertNotIn('leaves errno', question)
            for part in (words, 'runs "Logging: ', 'ERROR: CHECK(', '1 passed, 0 failed'):
                self.assertIn(part, answer)
        status, shown = terminal.run(self, command, b'\x04')
        self.assertEqual(status, 0, shown)
        self.assertNotIn('guess was', shown)
        self.assertEqual(terminal.run(self, command, b'\x03')[0], 130)

    def test_check(self):
        """--check builds nothing, and refuses what does not apply and cases that are not there"""
        done = self.run_tool({'a': PATCHES['caught']}, '--check', '--work', self.folder / 'b')
        self.assertEqual((done.returncode, done.stderr), (0, ''))
        self.assertFalse((self.folder / 'b').exists())
        done = self.run_tool({'b': PATCHES['no-hunk'],
                              'c': patch('tests/logging_test.cc "gone"', RESTORE, ''),
                              'd': patch('tests/gone_test.cc "gone"', RESTORE, ''),
                              'e': patch(ERRNO, RESTORE, '', 'rung/base/Gone.cc')}, '--check')
        self.assertEqual(done.returncode, 1)
        for words in ('of rung/base/Logging.cc does not apply', 'has no case "gone"',
                      'there is no tests/gone_test.cc', 'there is no rung/base/Gone.cc'):
            self.assertIn(words, done.stdout)

    def test_heads(self):
        """a patch without its head lines, or with wrong ones, is refused by name"""
        good = PATCHES['caught']
        for text, words in ((good.replace('# breaks', '# brakes'), 'has no line "# breaks: …"'),
                            (good.replace(ERRNO, 'someone'), '"someone" is neither'),
                            ('# sanitize: all\n' + good, 'no sanitizer "all"'),
                            ('# why: so\n' + good, '"# why:" is not known')):
            done = self.run_tool({'x': text}, '--list')
            self.assertEqual(done.returncode, 2)
            self.assertIn('01-x.patch', done.stderr)
            self.assertIn(words, done.stderr)

    def test_names(self):
        """a stage or a patch without a patch is refused"""
        done = self.run_tool({'a': PATCHES['caught']}, '07', '--list')
        self.assertEqual(done.returncode, 2)
        self.assertIn('no patch or stage "07"; there are 01-a', done.stderr)


class Misbehaves(unittest.TestCase):
    def assert_verdict(self, good, script, *arguments, given=(), says=''):
        with tempfile.TemporaryDirectory() as folder:
            program = pathlib.Path(folder, 'program')
            program.write_text(f'#!/bin/sh\n{script}\n')
            program.chmod(0o700)
            done = subprocess.run([sys.executable, ROOT / 'docs/tutorial/failures/misbehaves.py',
                                   *arguments, program, *given], text=True, capture_output=True,
                                  check=False)
        self.assertEqual(done.returncode, 0 if good else 1, done.stdout + done.stderr)
        self.assertIn(says, done.stdout)

    def test_exit(self):
        """an exit status is held against the expected one"""
        self.assert_verdict(True, 'exit 3', '--exit', '3', says='ok 1 - program: exits with 3')
        self.assert_verdict(False, 'exit 3', says='not ok 1 - program: exits with 0: it exits with 3')

    def test_signal(self):
        """so is a signal"""
        self.assert_verdict(True, 'kill -ABRT $$', '--signal', 'SIGABRT')
        self.assert_verdict(False, 'exit 1', '--signal', 'SIGABRT', says='it exits with 1')

    def test_hangs(self):
        """a program that must hang is ended; one that ends is refused"""
        self.assert_verdict(True, 'echo here; sleep 100', '--hangs', '0.3', '--says', 'here')
        self.assert_verdict(False, 'true', '--hangs', '5', says='it exits with 0')

    def test_says(self):
        """what it must say is looked for in both outputs, and shown where it is not"""
        self.assert_verdict(True, 'echo one; echo two >&2', '--says=one', '--says', 't.o')
        self.assert_verdict(False, 'echo one', '--says=two', says="not ok 2 - program: says 'two'")
        self.assert_verdict(False, 'echo one', '--says=two', says='# one')

    def test_arguments(self):
        """the program is given its arguments, and the name of the test holds them"""
        self.assert_verdict(True, 'echo "$2 $1"', '--says=two one', given=('one', 'two'),
                            says='ok 1 - program one two: exits with 0')

    def test_cannot_run(self):
        """a program that exits with 77 is skipped with what it says, unless 77 is what it must do"""
        self.assert_verdict(True, 'echo no nc; exit 77', '--says=two', says='1..0 # SKIP program: no nc')
        self.assert_verdict(True, 'exit 77', '--exit', '77', says='ok 1 - program: exits with 77')


if __name__ == '__main__':
    tap.Runner.group = 'tools/breaks'
    unittest.main(argv=sys.argv[:1], testRunner=tap.Runner)
