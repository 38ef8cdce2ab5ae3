"""Breaks stages on purpose, and sees that their tests notice.

    tools/breaks              all patches in docs/tutorial/breaks/
    tools/breaks 03           those of one stage
    tools/breaks 03-no-bell   one of them
    tools/breaks --list       what there is
    tools/breaks --check      only that each patch applies and that its test is there: in no time

A patch is named NN-name.patch, is relative to the tree that `tools/stage export NN` writes (apply it
there with `patch -p1`), and begins with these lines:

    # breaks: what it does wrong, in one line
    # caught by: tests/event_loop_test.cc "EventLoop: name of the case"
    # caught by: tests/event_loop_test.cc "EventLoop: name of the case" (hangs)
    # caught by: the compiler
    # caught by: the compiler, in tests/noncopyable_test.cc
    # sanitize: address

One line `caught by`: the case must pass before, and fail with the patch. With (hangs) it must not
end within 5 s; without, a hang does not count. Code that does not compile is caught by nobody but
the compiler. The last line is optional, for what only a sanitizer sees: address, thread or undefined.

Each stage is exported and built once, in build/breaks/; only the files with the named cases are
compiled. Ends with "N passed, N failed", and exits 1 if one failed.

It shows the assertion that failed. On a terminal it shows each patch too, asks which test will
notice it, and shows its progress. Ctrl-D ends the questions; --no-guess asks none.
"""

import argparse
import re
import sys
import time
from pathlib import Path

from . import ROOT, stages
from .learnbuild import SANITIZERS, Build, runner, write
from .patches import COMPILER, BreakError, changed_paths, check_patch, choices_of, patched, read_patch
from .process import BuildFailed, doctest_filter, run
from .stagefiles import exported_files

RUN_LIMIT = 60.0  # seconds for a case that ends
HANG_LIMIT = 5.0  # and until one that is said to hang is believed
# The first complaint of the compiler, of doctest or of a sanitizer, and the lines right below it.
COMPLAINT = re.compile(r'^.*(?:error: |ERROR: |WARNING: ThreadSanitizer).*(?:\n.*\S.*){0,3}', re.M)


# Building and running.

class Builder:
    """One stage, compiled with one sanitizer or none, a file that a patch changes by itself. `show` is
    given each line of what the compilers say."""

    def __init__(self, files, folder, patches, jobs=None, show=lambda line: None):
        self.files, self.jobs, self.show = files, jobs, show
        self.tree = folder / 'tree'
        self.write(files)
        for path in self.tree.rglob('*'):
            if path.is_file() and path.relative_to(self.tree).as_posix() not in files:
                path.unlink()
        changing = {path for patch in patches for path in changed_paths(patch)}
        sources = sorted(path for path in files if path.startswith('rung/') and path.endswith('.cc'))
        self.build = Build(folder, [self.tree], f'-w {SANITIZERS[patches[0].sanitize]}')
        self.library = self.build.together('library', [self.tree / path for path in sources if path not in changing])
        self.library += [self.build.object(path, self.tree / path) for path in sources if path in changing]
        objects = self.library + self.build.main()
        for test in sorted({patch.test for patch in patches if f'tests/{patch.test}_test.cc' in files}):
            judge = self.build.object(test, self.tree / f'tests/{test}_test.cc')
            self.build.program(f'only-{test}', [judge, *objects])
        self.build.save()

    def write(self, files):
        """What has not changed keeps its time, so that little is compiled again."""
        for name, text in files.items():
            write(self.tree / name, text)

    def compile(self, patch):
        """What the compiler says against it; None if it compiles."""
        try:
            self.build.make([f'only-{patch.test}'] if patch.test else self.library, self.show, self.jobs)
        except BuildFailed as error:
            return str(error)
        return None

    def run_case(self, patch, limit):
        """(exit status or None for a hang, what it said) of the one case."""
        self.show(f'runs "{patch.caught["case"]}"\n')
        return run([*runner(patch.sanitize), self.build.folder / f'only-{patch.test}',
                    doctest_filter(patch.caught['case'])], limit)


def check_before(builder, patch):
    """The case must pass while the stage is whole."""
    fault = builder.compile(patch)
    if fault:
        raise BreakError(f'the stage does not compile without the patch:\n{fault}')
    if patch.caught['compiler']:
        return
    status, said = builder.run_case(patch, RUN_LIMIT)
    if status != 0:
        raise BreakError(f'the case fails without the patch:\n{said}')
    if not re.search(r'test cases:\s+1 \|', said):
        raise BreakError(f'{patch.caught["file"]} has not one case "{patch.caught["case"]}"')


def try_patch(builder, patch):
    """(how the patch was caught, in words; what was said then)."""
    check_before(builder, patch)
    changed = patched(builder.files, patch)
    try:
        builder.write(changed)
        fault = builder.compile(patch)
        if patch.caught['compiler']:
            if not fault:
                raise BreakError('it compiles')
            return 'does not compile', fault
        if fault:
            raise BreakError(f'it does not compile:\n{fault}')
        hangs = bool(patch.caught['hangs'])
        status, said = builder.run_case(patch, HANG_LIMIT if hangs else RUN_LIMIT)
    finally:
        builder.write({path: builder.files[path] for path in changed})
    if hangs != (status is None):
        raise BreakError(f'the case ends, with status {status}' if hangs else
                         f'the case hangs; say (hangs) if it should (limit {RUN_LIMIT:g} s)')
    if status == 0:
        raise BreakError('no one notices: the case passes with the patch')
    return ('hangs', '') if hangs else (f'fails with status {status}', said)


def complaint_in(said):
    """The lines that tell what noticed the fault."""
    found = COMPLAINT.search(said)
    return found[0].splitlines() if found else []


def catches(patches, work):
    """Why each is not caught, or ''; silently."""
    files, builders, faults = {}, {}, []
    tree = stages.load_tree(ROOT)
    for patch in patches:
        key = (patch.stage, patch.sanitize)
        try:
            if patch.stage not in files:
                files[patch.stage] = exported_files(tree, tree.find(patch.stage))
            check_patch(files[patch.stage], patch)
            if key not in builders:
                builders[key] = Builder(files[patch.stage], work / '-'.join(key),
                                        [p for p in patches if (p.stage, p.sanitize) == key])
            try_patch(builders[key], patch)
            faults.append('')
        except (BreakError, BuildFailed) as error:
            faults.append(str(error))
    return faults


# On a terminal.

class Learner:
    """The user of a terminal, who is shown each patch and asked which test will notice it."""

    def __init__(self, asks):
        self.asks = asks

    def show(self, line):
        """Where the build is, on one line."""
        print(f'\r  {line.strip()[:90]:90}', end='', flush=True)

    def guess(self, files, patch):
        """Shows the patch without its head, which names the test. Returns right, wrong or ''."""
        print(f'\n{patch.name}: {patch.breaks}\n\n' + patch.text[patch.text.index('--- '):])
        if not self.asks:
            return ''
        choices = choices_of(files, patch)
        print('Which test will notice it?\n')
        for number, choice in enumerate(choices, 1):
            print(f'  {number}  {choice}')
        try:
            typed = input(f'\n[1 to {len(choices)}; Enter: no guess; Ctrl-D: no more questions] ')
        except EOFError:
            self.asks = False
            typed = ''
        if not re.fullmatch(r'\d+', typed.strip()) or not 0 < int(typed) <= len(choices):
            return ''
        return 'right' if choices[int(typed) - 1] == (patch.caught['case'] or COMPILER) else 'wrong'

    def tell(self, patch, guess, said):
        """What caught it, once that is seen."""
        print('\r' + ' ' * 92, end='\r')
        if patch.caught['hangs']:
            print(f'It is not done after {HANG_LIMIT:g} s.')
        elif lines := complaint_in(said):
            print('\n' + '\n'.join('    ' + line for line in lines) + '\n')
        if guess:
            print('Your guess was right.' if guess == 'right' else
                  f'Not your guess, but: {patch.caught["case"] or COMPILER}')


# Command line

def select(patches, words):
    for word in words:
        if not any(word in (p.stage, p.name) for p in patches):
            raise BreakError(f'no patch or stage "{word}"; there are '
                             + (', '.join(p.name for p in patches) or 'none'))
    return [p for p in patches if not words or p.stage in words or p.name in words]


def run_all(patches, arguments):
    """How many failed."""
    failed, files, builders = 0, {}, {}
    tree = stages.load_tree(ROOT)
    learner = Learner(not arguments.no_guess) if not arguments.check and \
        sys.stdin.isatty() and sys.stdout.isatty() else None
    print(f'1..{len(patches)}', flush=True)
    for number, patch in enumerate(patches, 1):
        key, said, guess = (patch.stage, patch.sanitize), '', ''
        try:
            if patch.stage not in files:
                files[patch.stage] = exported_files(tree, tree.find(patch.stage))
            verdict = check_patch(files[patch.stage], patch)
            if learner:
                guess = learner.guess(files[patch.stage], patch)
            start = time.monotonic()
            if not arguments.check:
                if key not in builders:
                    builders[key] = Builder(
                        files[patch.stage], arguments.work.resolve() / '-'.join(key),
                        [p for p in patches if (p.stage, p.sanitize) == key], arguments.jobs,
                        learner.show if learner else lambda line: None)
                verdict, said = try_patch(builders[key], patch)
            if learner:
                learner.tell(patch, guess, said)
            print(f'ok {number} - {patch.name}: {patch.breaks}: {patch.caught[0]}: {verdict} '
                  f'({time.monotonic() - start:.1f} s)', flush=True)
            if not learner:
                for line in complaint_in(said):
                    print(f'# {line}', flush=True)
        except (BreakError, BuildFailed, stages.TreeError) as error:
            failed += 1
            print(f'not ok {number} - {patch.name}: {patch.breaks}', flush=True)
            print('\n'.join(f'# {line}' for line in str(error).splitlines()), flush=True)
    return failed


def main():
    parser = argparse.ArgumentParser(prog='tools/breaks', description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('names', nargs='*', metavar='NN|NAME', help='a stage or a patch (all)')
    parser.add_argument('--list', action='store_true', help='only say what there is')
    parser.add_argument('--check', action='store_true', help='build nothing')
    parser.add_argument('--work', type=Path, default=ROOT / 'build' / 'breaks', metavar='DIR',
                        help='where to build')
    parser.add_argument('--patches', type=Path, default=ROOT / 'docs' / 'tutorial' / 'breaks',
                        metavar='DIR', help='where the patches are')
    parser.add_argument('-j', type=int, dest='jobs', metavar='N', help='for ninja')
    parser.add_argument('--no-guess', action='store_true', help='ask nothing on a terminal')
    arguments = parser.parse_args()
    try:
        every = [read_patch(path) for path in sorted(arguments.patches.glob('*.patch'))]
        patches = select(every, arguments.names)
    except BreakError as error:
        print(f'tools/breaks: {error}', file=sys.stderr)
        return 2
    if arguments.list:
        for patch in patches:
            print(f'{patch.name}: {patch.breaks}\n    {patch.caught[0]}')
        return 0
    try:
        failed = run_all(patches, arguments)
    except KeyboardInterrupt:
        print()
        return 130
    if not arguments.check:
        print(f'{len(patches) - failed} passed, {failed} failed')
    return 1 if failed or not patches else 0
