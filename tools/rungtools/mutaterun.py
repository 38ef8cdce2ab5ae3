"""For tools/mutate: one build without a fault, and trials that compile only what a fault changes.

Nothing is written into the build. A unit with a fault is compiled into the trial's directory, and
the test programs are linked there, with its object before the library's. What is inline in a
header, and no template, is compiled once, in a unit with all of it: without optimisation each call
of such a function is a call, and the linker takes the first definition.
"""

import collections
import json
import os
import re
import shlex
import shutil
import signal
import time

from .process import ninja, run, set_up

FAILED_CASE = re.compile(r'^TEST CASE:\s+(.+)$', re.MULTILINE)
FAILED_TAP = re.compile(r'^not ok \d* ?-? ?(.+)$', re.MULTILINE)
DOCTEST = ['--no-colors', '--abort-after=1']
# The test programs, by the word that says which they are, in the order in which they are asked.
GROUPS = {
    'lib': ('stages/lib-tests', DOCTEST),
    'regress': ('tests/regress/regress-tests', DOCTEST),
    'scripted': ('tests/faults/scripted-tests', DOCTEST),
    'stress': ('tests/stress/stress-tests', DOCTEST),
    'faults': ('tests/faults/fault-schedules', ['--seeds', '60', '--time-limit', '3']),
}
FIRST_LIMIT = 300  # seconds, for a test without a fault
SLACK = 8  # seconds after its usual time, then it hangs
FAST_LINKER = ['-fuse-ld=lld'] if shutil.which('ld.lld') else []
# A fault may fill memory or a disk: 3 GiB of data, files of 1 GiB, no core.
CONFINED = ['prlimit', f'--data={3 << 30}', f'--fsize={1 << 30}', '--core=0']


class Stillborn(Exception):
    """A fault does not compile."""


Result = collections.namedtuple('Result', 'verdict seconds by')  # killed, survived, stillborn


class Test:
    """A file of tests, or a program that is no doctest."""

    def __init__(self, group, root=None, source=None):
        self.group, self.source, self.seconds = group, source, 0.0
        self.arguments, self.name, self.text = list(GROUPS[group][1]), group, ''
        if source is not None:
            path = root / source
            self.name = path.name.removesuffix('_test.cc')
            self.text = path.read_text('utf-8')
            self.arguments.append(f'--source-file=*{source}')

    def likely(self, fault):
        """How likely it is to notice a fault, by the names of the files."""
        stem = fault.path.rpartition('.')[0]
        snake = re.sub(r'(?<=[a-z])(?=[A-Z])', '_', stem.rpartition('/')[2]).lower()
        if self.name in fault.tests or self.group in fault.tests:
            return 100
        if self.source is not None and self.name.startswith(snake):
            return 10
        return 1 if f'"rung/{stem}.h"' in self.text else 0.02


def failure(status, output):
    """Which test noticed."""
    cases = FAILED_TAP.findall(output) or FAILED_CASE.findall(output)
    case = cases[-1].strip() if cases else ''
    if status is None:
        return 'hangs' + (f': {case}' if case else '')
    if status < 0 and not case:
        return f'ended by {signal.Signals(-status).name}'
    return case or f'exit status {status}'


class Build:
    """The test programs without a fault, and how they are made."""

    def __init__(self, root, directory, jobs):
        self.root, self.directory = root, directory
        set_up(directory, '-Dstages=final', '-Dexamples=false', '-Ddocs=false', '--buildtype=debug',
               # As newer versions of Meson do: an index out of range is noticed.
               '-Doptimization=0', '-Ddebug=false', '-Dcpp_args=-D_GLIBCXX_ASSERTIONS',
               source=root, compiler='ccache g++' if shutil.which('ccache') else 'g++')
        ninja(directory, *(exe for exe, _ in GROUPS.values()), jobs=jobs)
        self.commands, self.objects = {}, {}  # by the path of the source, from the root
        for unit in json.loads((directory / 'compile_commands.json').read_text('utf-8')):
            source = os.path.relpath(directory / unit['file'], root)
            self.commands.setdefault(source, shlex.split(unit['command']))
            self.objects[unit['output']] = source
        self.links = {group: shlex.split(ninja(directory, '-t', 'commands', exe).splitlines()[-1])
                      for group, (exe, _) in GROUPS.items()}
        self.tests = [test for group in GROUPS for test in self.tests_of(group)]
        self.kills = collections.Counter()  # by file of the library, and test

    def tests_of(self, group):
        if GROUPS[group][1] is not DOCTEST:
            return [Test(group)]
        return [Test(group, self.root, self.objects[word]) for word in self.links[group]
                if word.endswith('_test.cc.o')]

    def includers(self, header):
        """The sources that include a header of lib/rung."""
        found, path = set(), os.path.relpath(self.root / 'lib/rung' / header, self.directory)
        for block in ninja(self.directory, '-t', 'deps').split('\n\n'):
            lines = block.split('\n    ')
            if path in lines:
                found.add(self.objects.get(lines[0].partition(':')[0], ''))
        return found

    def order(self, fault):
        """The tests, such that who notices is soon asked."""
        return sorted(self.tests, reverse=True,
                      key=lambda test: (test.likely(fault) + self.kills[fault.path, test]) /
                      (test.seconds + 0.05))


class Bench:
    """A directory in which one fault at a time is tried."""

    def __init__(self, build, directory):
        self.build, self.directory = build, directory
        self.overlay, self.temporary = directory / 'overlay', directory / 'tmp'

    def clear(self):
        shutil.rmtree(self.directory, ignore_errors=True)
        self.temporary.mkdir(parents=True)
        self.compiled, self.linked = {}, {}

    def run_test(self, test, limit):
        exe = self.linked.get(test.group, self.build.directory / GROUPS[test.group][0])
        return run([*CONFINED, str(exe), *test.arguments], limit, cwd=self.temporary,
                   env=os.environ | {'TMPDIR': str(self.temporary), 'MALLOC_PERTURB_': '165'})

    def measure(self, test):
        """The failure of a test without any fault, or None; notes how long it takes."""
        self.clear()
        start = time.monotonic()
        status, output = self.run_test(test, FIRST_LIMIT)
        test.seconds = time.monotonic() - start
        return f'{test.name}: {failure(status, output)}' if status != 0 else None

    # ---- one fault ----

    def attempt(self, fault):
        start = time.monotonic()
        try:
            verdict, by = self.judge(fault)
        except Stillborn as error:
            verdict, by = 'stillborn', str(error)
        return Result(verdict, time.monotonic() - start, by)

    def judge(self, fault):
        self.clear()
        build, header = self.build, fault.path.endswith('.h')
        source = self.overlay / 'rung' / fault.path
        source.parent.mkdir(parents=True)
        source.write_text(fault.applied(build.root), 'utf-8')
        if header:
            source = self.directory / 'all_inline.cc'
            source.write_text(f'#include "rung/{fault.path}"\n', 'utf-8')
        if fault.operator == 'lock' and self.clang_refuses(source):
            return 'killed', 'clang++ -Wthread-safety'
        if header:
            like = next(path for path in build.commands if path.startswith('lib/rung/'))
            self.own = [self.compile(like, source, ['-fkeep-inline-functions'])]
        else:
            self.own = [self.compile(f'lib/rung/{fault.path}', source)]
        tests = build.order(fault)
        if header and fault.everywhere:
            # Its users are many: first those alone that are likely to notice.
            includers = build.includers(fault.path)
            likely = [test for test in tests if test.likely(fault) >= 1 and test.source]
            if by := self.noticed(fault, likely, includers & {test.source for test in likely}):
                return 'killed', by
            self.linked = {}
        else:
            includers = ()
        by = self.noticed(fault, tests, includers)
        return ('killed', by) if by else ('survived', '')

    def clang_refuses(self, source):
        status, _ = run(['clang++', '-std=c++20', '-fsyntax-only', '-Wthread-safety',
                         '-Werror=thread-safety', f'-I{self.overlay}', f'-I{self.build.root}/lib',
                         str(source)]) if shutil.which('clang++') else (0, '')
        return status != 0

    def compile(self, like, source, more=()):
        """The object of a source, made as that of `like` is."""
        if source not in self.compiled:
            words = iter(self.build.commands[like][:-1])
            made = [word for word in words if word not in ('-MD', '-c')
                    and not (word in ('-MQ', '-MF', '-o') and next(words))]
            first = next(i for i, word in enumerate(made) if word.startswith('-'))
            made[first:first] = [f'-I{self.overlay}', '-w', *more]
            made.append('-fdiagnostics-color=never')
            target = str(self.directory / f'{len(self.compiled)}.o')
            status, output = run([*made, '-c', '-o', target, str(source)], cwd=self.build.directory,
                                 env=os.environ | {'CCACHE_DISABLE': '1'})
            if status != 0:
                raise Stillborn(next((line.strip() for line in output.splitlines()
                                      if 'error' in line), 'unknown error'))
            self.compiled[source] = target
        return self.compiled[source]

    def link(self, group, sources):
        """The program of a group, with the fault, and with new objects of these sources."""
        build = self.build
        own = self.own + [self.compile(source, build.root / source) for source in sources
                          if source.startswith('lib/rung/')]
        words = [self.compile(build.objects[word], build.root / build.objects[word])
                 if build.objects.get(word) in sources else word for word in build.links[group]]
        exe = words.index('-o') + 1
        words[exe:exe + 1] = [str(self.directory / group), *FAST_LINKER, *own]
        status, output = run(words, cwd=build.directory)
        if status != 0:
            raise Stillborn('does not link: ' + output[-300:])
        self.linked[group] = self.directory / group

    def noticed(self, fault, tests, sources):
        for test in tests:
            if test.group not in self.linked:
                self.link(test.group, sources)
            limit = test.seconds * 3 + SLACK
            status, output = self.run_test(test, limit)
            # One that has little to do with the file may have failed for want of time: once more.
            if status != 0 and test.likely(fault) < 1:
                status, output = self.run_test(test, limit)
            if status != 0:
                self.build.kills[fault.path, test] += 1
                return f'{test.name}: {failure(status, output)}'
        return None
