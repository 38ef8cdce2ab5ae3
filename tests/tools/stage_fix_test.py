#!/usr/bin/env python3
"""tools/stage fix, flags, and the warnings of check, on a small tree in a repository of git."""

import os
import shlex
import shutil
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'support'))
sys.dont_write_bytecode = True
import stage_tree  # noqa: E402
import tap  # noqa: E402

ONE, TWO = (f'stages/{stage}/rung/base/A.cc' for stage in ('01-first', '02-second'))
COMMON = '''#include "rung/base/A.h"

int same(int n) {
  return n / 2;
}

int between() { return 0; }

int a() {
  return 1;
}
'''
FIXED = ('return n / 2;', 'return (n + 1) / 2;')


@unittest.skipUnless(shutil.which('git'), 'git is not installed')
class Repository(stage_tree.MiniTree):
    """Both stages issue A.cc; their a() differs, and the rest is the same."""

    def setUp(self):
        super().setUp()
        self.write(ONE, COMMON)
        self.write(TWO, COMMON.replace('return 1', 'return 2'))
        self.output('promote')
        self.git('init', '-q')
        self.commit()

    def git(self, *arguments):
        subprocess.run(['git', '-c', 'user.name=x', '-c', 'user.email=x', '-C', self.root, *arguments],
                       check=True, capture_output=True)

    def commit(self):
        self.git('add', '-A')
        self.git('commit', '-qm', 'x')


class Fix(Repository):
    def refuse_and_write_nothing(self, words, *arguments):
        before = {p: p.read_bytes() for p in self.root.rglob('*.*') if p.is_file()}
        self.refuse(words, 'fix', *arguments)
        self.assertEqual({p: p.read_bytes() for p in self.root.rglob('*.*') if p.is_file()}, before)

    def test_either_way(self):
        """a change of the newest or of an older version is made in the others and in lib/"""
        for edited, path in ((TWO, 'rung/base/A.cc'), (ONE, ONE)):
            self.replace(edited, *FIXED)
            said = self.output('fix', path)
            self.assertIn(f'wrote {ONE if edited == TWO else TWO}\n', said)
            for name, own in ((ONE, 'return 1'), (TWO, 'return 2'), ('lib/rung/base/A.cc', 'return 2')):
                self.assertIn(FIXED[1], self.text(name))
                self.assertIn(own, self.text(name))
            self.output('check')
            self.git('checkout', '-q', '.')

    def test_staged(self):
        """a change that is in the index is a change, too"""
        self.replace(ONE, *FIXED)
        self.git('add', '-A')
        self.output('fix', 'rung/base/A.cc')
        self.assertIn(FIXED[1], self.text(TWO))

    def test_unknown_path(self):
        """a path that no stage issues is refused, with those that are alike"""
        self.refuse_and_write_nothing("no stage issues 'rung/base/AA.cc'; do you mean rung/base/A.cc",
                                      'rung/base/AA.cc')
        self.assertNotIn('do you mean', self.stage('fix', 'rung/base/Nothing.h').stderr)

    def test_no_change(self):
        """without a change there is nothing to do, and it says so"""
        self.refuse_and_write_nothing('rung/base/A.cc has no change', 'rung/base/A.cc')

    def test_two_changes(self):
        """changes of two versions are refused by name"""
        self.replace(ONE, *FIXED)
        self.replace(TWO, 'return 2', 'return 3')
        self.refuse_and_write_nothing('has changes in 01-first, 02-second', 'rung/base/A.cc')

    def test_does_not_fit(self):
        """a part that does not fit is refused with the stage and the line, and so is all the rest"""
        self.replace(TWO, *FIXED)
        self.replace(TWO, 'return 2', 'return 2 + 2')
        self.refuse_and_write_nothing(f'{ONE}:10: the change at line 10 of 02-second does not fit',
                                      'rung/base/A.cc')

    def test_does_not_fit_a_shorter_file(self):
        """the line is in the file where that is shorter"""
        self.write(ONE, '#include "rung/base/A.h"\n\nint a() { return 1; }\n')
        self.commit()
        self.replace(TWO, *FIXED)
        self.refuse_and_write_nothing(f'{ONE}:3: the change at line 4 of', 'rung/base/A.cc')

    def test_skip(self):
        """a stage may be left out; not one that has the change or does not issue the file"""
        self.replace(TWO, 'return 2', 'return 2 + 2')
        self.output('fix', 'rung/base/A.cc', '--skip', '01')
        self.assertIn('return 2 + 2', self.text('lib/rung/base/A.cc'))
        self.refuse_and_write_nothing('--skip 02: 02-second has the change', 'rung/base/A.cc',
                                      '--skip', '2')
        self.replace('stages/02-second/rung/net/B.cc', 'a()', 'a() + 1')
        self.refuse_and_write_nothing('--skip 01: 01-first does not issue', 'rung/net/B.cc',
                                      '--skip', '01')

    def test_not_committed(self):
        """a version that git does not know is refused by name"""
        self.git('rm', '-q', '--cached', ONE)
        self.git('commit', '-qm', 'x')
        self.replace(TWO, *FIXED)
        self.refuse_and_write_nothing(f'{ONE} is not committed', 'rung/base/A.cc')

    def test_no_repository(self):
        """without git's history it says what is missing"""
        shutil.rmtree(self.root / '.git')
        self.refuse_and_write_nothing('is no checkout of git', 'rung/base/A.cc')


class Missed(Repository):
    def warnings(self):
        done = self.stage('check')
        return done.returncode, [line for line in done.stderr.splitlines() if ' warning: ' in line]

    def test_one_of_two(self):
        """check warns of a function that is changed in one of two stages, and does not fail"""
        self.replace(TWO, *FIXED)
        self.output('promote')
        status, lines = self.warnings()
        self.assertEqual((status, len(lines)), (0, 1))
        for part in (f'{TWO}:3: warning: same is changed', f'the same in {ONE}'):
            self.assertIn(part, lines[0])

    def test_gone(self):
        """a function that is taken out of one is changed there"""
        self.replace(ONE, 'int between() { return 0; }\n', '')
        self.assertIn(f'{ONE}:7: warning: between is changed', self.warnings()[1][0])

    def test_all(self):
        """no warning where both are changed alike, where they differed before, or for new code"""
        for name in (ONE, TWO):
            self.replace(name, *FIXED)
        self.replace(TWO, 'return 2', 'return 3')
        self.replace(TWO, 'int a()', 'int c() { return 3; }\n\nint a()')
        self.assertEqual(self.warnings()[1], [])


class Flags(stage_tree.MiniTree):
    def test_compiles(self):
        """a program is compiled and linked with what it prints"""
        compiler = shlex.split(os.environ.get('CXX', 'g++'))
        if not shutil.which(compiler[0]) or not shutil.which('ar'):
            self.skipTest('no compiler')
        build = self.root / 'build/02/stages'
        build.mkdir(parents=True)
        for name in ('stages/02-second/rung/base/A.cc', 'stages/02-second/rung/net/B.cc'):
            subprocess.run([*compiler, '-c', '-Istages/02-second', '-Istages/01-first', name, '-o',
                            build / (Path(name).stem + '.o')], cwd=self.root, check=True)
        subprocess.run(['ar', 'rcs', build / 'librung-stage02.a', *build.glob('*.o')], check=True)
        self.write('demo.cc', '#include "rung/net/B.h"\nint main() { return b() == 2 ? 0 : 1; }\n')
        script = (f'"$@" demo.cc $("{sys.executable}" "{stage_tree.TOOL}" --root . flags 02) -o demo && '
                  './demo')
        done = subprocess.run(['sh', '-c', script, 'sh', *compiler], cwd=self.root, text=True,
                              capture_output=True)
        self.assertEqual((done.returncode, done.stderr), (0, ''))

    def test_prints(self):
        """the newest stage comes first, and a build directory may be named"""
        self.write('b/stages/librung-stage02.a', '')
        words = self.output('flags', '02', '--build', str(self.root / 'b')).split()
        self.assertEqual(words[:2], ['-std=c++20', '-pthread'])
        self.assertEqual([word.rpartition('/')[2] for word in words[2:]],
                         ['02-second', '01-first', 'librung-stage02.a'])
        self.write('build/test/stages/librung-stage02.a', '')
        self.assertIn('build/test/stages/librung-stage02.a\n', self.output('flags', '2'))

    def test_refusals(self):
        """an unknown stage, and a build that does not have the stage, are named"""
        self.refuse("no stage '07'", 'flags', '07')
        self.refuse('build/01/stages/librung-stage01.a', 'flags', '01')
        self.refuse(f'stage 01 is not built in {os.path.relpath(self.root / "b")}', 'flags', '01',
                    '--build', str(self.root / 'b'))


if __name__ == '__main__':
    tap.Runner.group = 'tools/stage'
    unittest.main(argv=sys.argv[:1], testRunner=tap.Runner)
