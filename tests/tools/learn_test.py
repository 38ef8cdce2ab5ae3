#!/usr/bin/env python3
"""tools/learn, as a learner uses it, on stage 01; and that all its exercises can be read."""

import datetime
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from unittest import mock

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / 'tests' / 'support'), str(ROOT / 'tools')]
sys.dont_write_bytecode = True
import tap  # noqa: E402
import terminal  # noqa: E402
from rungtools import (docspages, learnaudit, learnbreaks, learnhang, learnreview, learnsay,  # noqa: E402
                       learnsteps, learnwork, stages)

TOOL = ROOT / 'tools' / 'learn'
STUB = '  RUNG_EXERCISE("01/now", "Timestamp::now");\n'


class Workspace(unittest.TestCase):
    """One workspace, in a folder with a space in its name."""

    @classmethod
    def setUpClass(cls):
        temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(temporary.cleanup)
        cls.folder = pathlib.Path(temporary.name) / 'my work'
        cls.started = cls.tool('start', '01', cls.folder, workspace=False)
        cls.source = cls.folder / '01/rung/base/Timestamp.cc'

    @classmethod
    def tool(cls, *words, workspace=True, **more):
        place = ['--workspace', cls.folder] if workspace else []
        return subprocess.run([TOOL, *words, *place], text=True, capture_output=True, stdin=subprocess.DEVNULL,
                              **more)

    def setUp(self):
        """Step 01/now is open, and its stub is in place."""
        self.tool('reset', '01/now')

    def write(self, body):
        text = self.source.read_text()
        self.assertIn(STUB, text)
        self.source.write_text(text.replace(STUB, body))

    def assert_says(self, done, status, *texts):
        for text in texts:
            self.assertIn(text, done.stdout + done.stderr)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)

    # ---- steps ----

    def test_start(self):
        """start writes a Meson project with the first function open, and says what to do"""
        self.assert_says(self.started, 0, '01/now', 'Timestamp::now', 'docs/tutorial/01-')
        for name in ('01/meson.build', '01/README.md', 'progress.json', 'learn'):
            self.assertTrue((self.folder / name).is_file(), name)
        self.assertIn('#include "learn/solution/', (self.folder / '01/rung/base/Logging.cc').read_text())

    def test_again(self):
        """a second start keeps what is there"""
        self.write('  return Timestamp(1);\n')
        self.assert_says(self.tool('start', '01'), 0, '01/now')
        self.assertIn('return Timestamp(1);', self.source.read_text())

    def test_stub(self):
        """a function that is not written says so, by the step's name"""
        self.assert_says(self.tool('check'), 1, '01/now: Timestamp::now is not written yet')

    def test_green(self):
        """what is right is green, and the next step opens"""
        self.write('  return Timestamp(std::chrono::duration_cast<std::chrono::microseconds>(\n'
                   '      std::chrono::system_clock::now().time_since_epoch()).count());\n')
        self.assert_says(self.tool('check'), 0, '01/now is done.', '01/round-down')
        self.assertIn('RUNG_EXERCISE("01/round-down"', self.source.read_text())
        self.assert_says(self.tool(), 0, '1 of ', 'Open: 01/round-down')

    def test_wrong(self):
        """what is wrong is told by the assertion: what the test expects, and what is here"""
        self.write('  return Timestamp{};\n')
        self.assert_says(self.tool('check'), 1, 'red', 'timestamp_test.cc:', 'the test expects  CHECK(',
                         'which is here     0 >= ')

    def test_no_compile(self):
        """of a build that fails, the first error in the learner's file is shown, and no other"""
        self.write('  return nothing;\n  return nobody;\n')
        done = self.tool('check')
        self.assert_says(done, 1, 'does not compile', 'rung/base/Timestamp.cc:', 'nothing')
        self.assertNotIn('nobody', done.stdout)

    def test_not_defined(self):
        """a function that is gone is named"""
        text = self.source.read_text()
        start = text.index('Timestamp Timestamp::now() {')
        self.source.write_text(text[:start] + text[text.index('}', start) + 2:])
        self.addCleanup(shutil.copy, ROOT / 'stages/01-foundations/rung/base/Timestamp.cc', self.source)
        self.assert_says(self.tool('check'), 1, 'The linker misses', 'Timestamp::now()')

    def test_exit(self):
        """a function that ends the process, with status 0, does not pass"""
        self.write('  std::exit(0);\n')
        self.assert_says(self.tool('check'), 1, 'before the case did: something calls exit()')

    def test_hang(self):
        """a function without an end is told from one that waits"""
        self.write('  for (;;) {}\n')
        self.assert_says(self.tool('check'), 1, 'It did not end within 2 s', 'without an end')

    def test_control_c(self):
        """Ctrl-C in a check ends it with 130, and leaves nothing running"""
        mark = f'learner-{os.getpid()}'
        self.write(f'  static const char* mark = "{mark}";\n  (void)mark;\n  for (;;) {{}}\n')
        process = subprocess.Popen([TOOL, 'check', '--workspace', self.folder], stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, start_new_session=True,
                                   preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
        self.assertTrue(eventually(lambda: running(self.folder / '.build/01/timestamp')))
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=10)
        self.assertEqual(process.returncode, 130)
        self.assertTrue(eventually(lambda: not running(self.folder / '.build/01/timestamp')))

    def test_hints(self):
        """hint gives one more each time, and keeps the last"""
        texts = [self.tool('hint', '01/escape-one').stdout.count(' of 3') for _ in range(4)]
        self.assertEqual(texts, [1, 2, 3, 3])

    def test_our_text(self):
        """show and solution wait for a yes; then the learner's text is kept"""
        self.write('  return Timestamp{};\n')
        self.assert_says(self.tool('show'), 2, 'not green yet')
        self.assert_says(self.tool('solution', '01/now'), 2, 'not green yet')
        self.assert_says(self.tool('show', '--anyway'), 0, 'system_clock')
        self.assert_says(self.tool('diff', '--anyway'), 0, '-  return Timestamp{};')
        done = self.tool('solution', '01/now', '--anyway')
        self.assert_says(done, 0, 'is kept in')
        kept = pathlib.Path(re.search(r'is kept in (.*)', done.stdout)[1])
        self.assertIn('return Timestamp{};', kept.read_text())
        self.assert_says(self.tool('check'), 0, '01/now is done.')
        self.assertIn('due', json.loads((self.folder / 'progress.json').read_text())['items']['01/now'])

    def test_asks(self):
        """on a terminal our text is shown to who says y, and to nobody else"""
        words = [str(TOOL), 'show', '--workspace', str(self.folder)]
        self.assertIn('system_clock', terminal.run(self, words, b'y\n', b'[y/N]')[1])
        self.tool('reset', '01/now')
        self.assertNotIn('system_clock', terminal.run(self, words, b'\n', b'[y/N]')[1])

    def test_watch(self):
        """watch judges at once, and again when a file is saved"""
        process = subprocess.Popen([TOOL, 'watch', '01/now', '--workspace', self.folder], stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, text=True,
                                   preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        for line in process.stdout:
            if 'is not written yet' in line:
                break
        self.write('  return Timestamp{};\n')
        self.assertTrue(any('the test expects' in line for line in process.stdout))
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=10)
        self.assertEqual(process.returncode, 130)

    def test_meson(self):
        """the folder is an ordinary Meson project"""
        build = self.folder / 'b'
        self.addCleanup(shutil.rmtree, build, True)
        done = subprocess.run(['meson', 'setup', build, self.folder / '01'], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout)
        ninja = shutil.which('ninja') or 'ninja-build'
        done = subprocess.run([ninja, '-C', build], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout[-2000:])
        self.assertNotIn('warning', done.stdout)

    # ---- bad input ----

    def test_names(self):
        """what does not exist is named, with what comes near"""
        self.assert_says(self.tool('check', '01/nou'), 2, 'no step "nou"; perhaps 01/now')
        self.assert_says(self.tool('check', '77/now'), 2, "no stage '77'")
        self.assert_says(self.tool('check', 'now'), 2, '"now" is no exercise')
        self.assert_says(self.tool('bug', '01-9'), 2, 'no "bug/01-9"; perhaps bug/01-')
        self.assert_says(self.tool('chek'), 2, 'no command "chek"; perhaps check')
        self.assert_says(self.tool('check', '01/now', 'more'), 2, '"more" is one word too many')
        self.assert_says(self.tool('--colour'), 2, '--colour means nothing here')
        self.assert_says(self.tool('reset'), 2, 'reset needs a name')

    def test_no_workspace(self):
        """a folder that is no workspace is refused, by name; so is one that holds other things"""
        with tempfile.TemporaryDirectory() as folder:
            done = self.tool('check', '--workspace', folder, workspace=False)
            self.assert_says(done, 2, f'{folder} is not a workspace')
            (pathlib.Path(folder) / 'mine.txt').write_text('mine')
            done = self.tool('start', '01', folder, workspace=False)
            self.assert_says(done, 2, f'{folder} is not empty, and no workspace')
            (pathlib.Path(folder) / 'progress.json').write_text('{"of": 1')
            done = self.tool('check', '--workspace', folder, workspace=False)
            self.assert_says(done, 2, 'progress.json is not what tools/learn has written')

    def test_no_compiler(self):
        """without a compiler the check says so"""
        done = self.tool('check', env=os.environ | {'CXX': '/nowhere/g++'})
        self.assertEqual(done.returncode, 1)
        self.assertIn('/nowhere/g++', done.stdout)

    def test_not_writable(self):
        """what cannot be written is named"""
        done = self.tool('start', '01', '/proc/learn', workspace=False)
        self.assertEqual(done.returncode, 2)
        self.assertIn('/proc/learn', done.stderr)

    # ---- other kinds ----

    def test_bug(self):
        """a bug is red by its case, and green when mended; its path does not tell what it is"""
        done = self.tool('bug', '01-errno-lost')
        self.assert_says(done, 0, 'bug/01-', 'This case fails', 'logging_test.cc')
        name = re.search(r'bug/01-\d', done.stdout)[0]
        self.assertNotIn('errno-lost', done.stdout)
        self.assert_says(self.tool('check'), 1, 'red', 'leaves errno as it was')
        source = self.folder / name / 'rung/base/Logging.cc'
        shutil.copy(ROOT / 'stages/01-foundations/rung/base/Logging.cc', source)
        self.assert_says(self.tool('check'), 0, 'all of them', f'{name} is done.')

    def test_test(self):
        """a test of one's own is refused without a case, without an assertion, and where it does not see
        the fault; it passes when it tells good from broken"""
        done = self.tool('test', '01-errno-lost')
        self.assert_says(done, 0, 'test/01-', 'my_test.cc')
        mine = self.folder / re.search(r'test/01-\d', done.stdout)[0] / 'my_test.cc'
        head = '#include "rung/base/Logging.h"\n#include <doctest/doctest.h>\n#include <cerrno>\n'
        for body, status, says in (
                ('', 1, 'There is no TEST_CASE'),
                ('TEST_CASE("mine") {}\n', 1, 'It asserts nothing'),
                ('TEST_CASE("mine") { CHECK(1 == 2); }\n', 1, 'fails on the whole stage'),
                ('TEST_CASE("mine") { CHECK(1 == 1); }\n', 1, 'does not see the fault'),
                ('TEST_CASE("mine") { CHECK(one); }\n', 1, 'does not compile'),
                ('TEST_CASE("mine") {\n  rung::Logger::setOutput([](std::string_view) { errno = 5; });\n'
                 '  errno = 7;\n  LOG_INFO << 1;\n  CHECK(errno == 7);\n}\n', 0, 'is done.')):
            mine.write_text(head + body)
            self.assert_says(self.tool('check'), status, says)

    def test_try(self):
        """try judges one's own class by the stage's tests"""
        with tempfile.TemporaryDirectory() as folder:
            done = self.tool('try', '01', '--with', folder, workspace=False)
            self.assert_says(done, 2, 'holds no rung/')
            theirs = pathlib.Path(folder) / 'rung/base/Timestamp.cc'
            theirs.parent.mkdir(parents=True)
            text = (ROOT / 'stages/01-foundations/rung/base/Timestamp.cc').read_text()
            theirs.write_text(text)
            done = self.tool('try', '01', '--with', folder, workspace=False)
            self.assert_says(done, 0, 'in place of', 'cases pass')
            theirs.write_text(text.replace('Timestamp Timestamp::now() {', 'Timestamp Timestamp::now() {\n  return {};'))
            done = self.tool('try', '01', '--with', folder, workspace=False)
            self.assert_says(done, 1, 'red', 'timestamp_test.cc:')


class Texts(unittest.TestCase):
    def test_all(self):
        """every exercise can be read, has cases, and names a heading of its chapter; 60 steps at least, a
        bug for each patch, 30 tests"""
        tree = stages.load_tree(ROOT)
        total = 0
        for stage in tree.stages:
            chapter = docspages.Document(ROOT, ROOT / f'docs/tutorial/{stage.name}.md')
            for step in learnsteps.load_steps(tree, stage):
                total += 1
                self.assertIn(step.read, chapter.anchors, step.name)
                self.assertGreaterEqual(len(step.cases), 3, step.name)
                self.assertIn(step.minutes, range(10, 41), step.name)
        self.assertGreaterEqual(total, 60)
        broken = learnbreaks.load_breaks(tree)
        self.assertEqual(len(broken), len(list((ROOT / 'docs/tutorial/breaks').glob('*.patch'))))
        self.assertGreaterEqual(sum('promise' in b.texts for b in broken), 30)
        self.assertGreaterEqual(len(learnaudit.load_audits(ROOT)), 5)

    def test_faults(self):
        """what is wrong with a step's record is named"""
        tree = stages.load_tree(ROOT)
        stage = tree.find('01')
        good = {'id': 'now', 'title': 't', 'minutes': 10, 'read': 'r', 'goal': 'g', 'hints': ['a', 'b', 'c'],
                'symbols': ['rung/base/Timestamp.cc Timestamp::now'],
                'wrong': {'rung/base/Timestamp.cc Timestamp::now': 'return {};'}}
        for change, says in (({'hints': ['a']}, 'has 1 hints'), ({'minutes': 'ten'}, 'needs minutes = a int'),
                             ({'extra': 1}, 'nobody reads extra'), ({'id': 'A b'}, 'an id is of'),
                             ({'symbols': ['rung/net/Gone.cc f']}, 'issues no file rung/net/Gone.cc'),
                             ({'wrong': {}}, 'wrong must be of its symbols'),
                             ({'wrong': {good['symbols'][0]: []}}, 'a list of 1 to 9')):
            with self.assertRaisesRegex(learnsteps.LearnError, says):
                learnsteps.read_step(stage, pathlib.Path('01.toml'), good | change)
        text = stages.read(stage.dir / 'rung/base/Timestamp.cc')
        with self.assertRaisesRegex(learnsteps.LearnError, 'declares no `Timestamp::gone`'):
            learnsteps.body_of(text, 'rung/base/Timestamp.cc', 'Timestamp::gone')

    def test_errno(self):
        """numbers of errors get their names where the assertion is about errors, and only there"""
        self.assertEqual(learnsay.with_errno('errno == 104', '11 == 104'), '11 (EAGAIN) == 104 (ECONNRESET)')
        self.assertEqual(learnsay.with_errno('size() == 4', '3 == 4'), '3 == 4')

    def test_hang(self):
        """who sleeps in epoll_wait(2), who waits for whom, and who spins is told"""
        def state(call):
            return learnhang.ThreadState(1, 'S', call, 0)
        for states, spinning, says in (
                ({1: state('epoll_wait(2)')}, [], 'never returned from epoll_wait'),
                ({1: state('futex(2)'), 2: state('futex(2)')}, [], '2 threads waited .* a deadlock'),
                ({1: state('')}, [1], 'One thread never slept'),
                ({1: state('read(2)')}, [], 'waited in read')):
            self.assertRegex(' '.join(learnhang.sentences(states, spinning)), says)

    def test_review(self):
        """what took much help comes back: after 1 day, then 3, 7 and 21; what did not, does not"""
        with tempfile.TemporaryDirectory() as folder:
            space = learnwork.make_workspace(pathlib.Path(folder) / 'w')
            day = datetime.date(2026, 1, 1)
            with mock.patch.object(learnwork, 'today', lambda: day):
                space.passed('01/easy')
                space.item('01/hard').update(tries=9)
                space.passed('01/hard')
                seen = []
                for _ in range(40):
                    day += datetime.timedelta(1)
                    if space.due():
                        seen.append((day.day if day.month == 1 else 31 + day.day, space.due()))
                        space.passed('01/hard')
            self.assertEqual(seen, [(2, ['01/hard']), (5, ['01/hard']), (12, ['01/hard']), (33, ['01/hard'])])

    def test_questions(self):
        """the questions of each chapter are found, with their answers"""
        tree = stages.load_tree(ROOT)
        for stage in tree.stages:
            found = learnreview.questions(tree, stage)
            self.assertTrue(found, stage.name)
            self.assertTrue(all(question and answer.strip() for question, answer in found.values()))


def running(program):
    """Whether a process runs this program."""
    for entry in pathlib.Path('/proc').iterdir():
        try:
            if entry.name.isdigit() and os.readlink(entry / 'exe') == str(program):
                return True
        except OSError:
            continue
    return False


def eventually(holds, seconds=30):
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


if __name__ == '__main__':
    tap.Runner.group = 'tools/learn'
    unittest.main(argv=sys.argv[:1], testRunner=tap.Runner)
