"""Exercises made of the patches in docs/tutorial/breaks/: find the bug, and write the test.

They are called bug/NN-K and test/NN-K, so that no name tells what is broken.
"""

import difflib
import re
import shutil

from . import ROOT, learnsay, stages
from .cppscan import test_names
from .docsquote import find_symbol, whole_lines
from .learnbuild import SANITIZERS, WARNINGS, Build, runner, shell, write
from .learncases import LEAST_LIMIT, list_cases, run_case
from .learnhang import describe
from .learnsteps import FOLDER, LearnError, read_toml
from .learnwrite import progress
from .patches import patched, read_patch
from .process import BuildFailed
from .stagefiles import exported_files
from .text import bold, green, red

GOOD_RUNS = 20
BROKEN_RUNS = 5
CASE_LIMIT = 20.0  # of a bug's case, which may be slow under a sanitizer
FILE_LIMIT = 60.0
KEYS = {'minutes': int, 'symptom': str, 'hints': list, 'promise': str, 'test_hints': list, 'header': str}


class Broken:
    """One patch, and the texts of docs/tutorial/exercises/breaks.toml."""

    def __init__(self, tree, patch, number, texts):
        self.tree, self.patch, self.number, self.texts = tree, patch, number, texts
        self.stage = tree.find(patch.stage)

    @property
    def good(self):
        return exported_files(self.tree, self.stage)

    @property
    def title(self):
        return self.texts['symptom']


def load_breaks(tree):
    """All patches, with K of bug/NN-K."""
    texts = read_toml(tree.root / FOLDER / 'breaks.toml')
    found, counts = [], {}
    for path in sorted((tree.root / 'docs' / 'tutorial' / 'breaks').glob('*.patch')):
        patch = read_patch(path)
        if patch.name not in texts:
            raise LearnError(f'breaks.toml has nothing of {patch.name}')
        check_texts(patch.name, texts.pop(patch.name), found)
        counts[patch.stage] = counts.get(patch.stage, 0) + 1
        found[-1] = Broken(tree, patch, counts[patch.stage], found[-1])
    if texts:
        raise LearnError(f'breaks.toml has "{next(iter(texts))}", and there is no such patch')
    return found


def check_texts(name, entry, found):
    needed = ['minutes', 'symptom', 'hints'] + (['test_hints', 'header'] if 'promise' in entry else [])
    for key in needed:
        if not isinstance(entry.get(key), KEYS[key]):
            raise LearnError(f'breaks.toml: {name} needs {key} = a {KEYS[key].__name__}')
    if unknown := set(entry) - set(KEYS):
        raise LearnError(f'breaks.toml: {name}: nobody reads {unknown.pop()}')
    for key in ('hints', 'test_hints'):
        if key in entry and len(entry[key]) != 3:
            raise LearnError(f'breaks.toml: {name} has {len(entry[key])} {key} and not three')
    found.append(entry)


def library(build, folder, paths, apart=()):
    """The objects of a stage's sources below `folder`; those of `apart` one by one."""
    together = [folder / path for path in paths if path not in apart]
    return build.together('library', together) + [build.object(path, folder / path) for path in apart]


class Exercise:
    """What bug and test have in common. `folder` is the learner's."""

    def __init__(self, workspace, broken):
        self.workspace, self.broken, self.stage = workspace, broken, broken.stage
        self.patch = broken.patch
        self.name = f'{self.kind}/{self.patch.stage}-{broken.number}'
        self.folder = workspace.folder / self.kind / self.name.partition('/')[2]
        self.build_folder = workspace.folder / '.build' / self.name.replace('/', '-')
        self.sanitize = SANITIZERS[self.patch.sanitize]
        self.before = runner(self.sanitize)

    def start(self):
        if not self.folder.is_dir():
            new = self.folder.with_name(f'.{self.folder.name}.new')
            shutil.rmtree(new, ignore_errors=True)
            for path, text in self.files().items():
                write(new / path, text)
            new.rename(self.folder)
        self.workspace.begin(self.name)

    def count_try(self):
        if self.folder.is_dir() and not self.build_folder.is_dir():
            print('Compiling, which takes up to a minute the first time.\n', flush=True)
        if not self.folder.is_dir():
            raise LearnError(f'{self.name} is not begun; tools/learn {self.kind} {self.name.partition("/")[2]}')
        self.workspace.item(self.name)['tries'] += 1
        self.workspace.save()

    def program(self, build, tests, objects):
        for test in tests:
            source = self.stage_test(test)
            judge = build.object(f'{test}_test', source, f"-w -include {shell(ROOT / FOLDER / 'shown.h')}")
            build.program(test, [judge, *objects])

    def stage_test(self, test):
        owners = {name: owner for owner, name in self.broken.tree.active_tests(self.stage)}
        return owners[test].test_path(test)


class Bug(Exercise):
    """A stage with a fault; the learner mends it."""
    kind = 'bug'

    def files(self):
        return self.broken.good | patched(self.broken.good, self.patch)

    @property
    def title(self):
        return self.broken.texts['symptom'].split('. ')[0].rstrip('.')

    def describe(self):
        print(f'{bold(self.name)}  find the bug   (about {self.broken.texts["minutes"]} minutes)\n')
        print(f'Stage {self.stage.number} is in {self.folder}, with one fault.\n\n'
              f'{self.broken.texts["symptom"].strip()}')
        if self.patch.caught['case']:
            print(f'\nThis case fails: {self.patch.caught["file"]} "{self.patch.caught["case"]}"'
                  + (f', with -fsanitize={self.patch.sanitize}' if self.sanitize else ''))
        print('\nMend it. The tests are not at fault; tools/learn check judges with its own copy of them.')

    def hints(self):
        return self.broken.texts['hints']

    def built(self):
        sources = sorted(str(p.relative_to(self.folder)) for p in (self.folder / 'rung').rglob('*.cc'))
        build = Build(self.build_folder, [ROOT, self.folder], f'{WARNINGS} {self.sanitize}')
        objects = library(build, self.folder, sources, [p for p in sources if p in self.stage.files]) + build.main()
        tests = list(dict.fromkeys([*([self.patch.test] if self.patch.test else []), *self.stage.tests]))
        self.program(build, tests, objects)
        build.save()
        return build, tests

    def check(self):
        self.count_try()
        build, tests = self.built()
        print(f'{bold(self.name)}  {self.title}\n', flush=True)
        try:
            build.make(tests[:1], progress())
        except BuildFailed as error:
            print('It does not compile.\n')
            learnsay.show(learnsay.build_lines(str(error), self.folder))
            return False
        case = self.patch.caught['case']
        if case and not self.judge(tests[0], case, CASE_LIMIT if self.sanitize else LEAST_LIMIT * 2):
            return False
        print('\nNow the other cases of the stage.\n')
        build.make(tests, progress())
        for test in tests:
            for _, name in list_cases(self.build_folder / test):
                if not self.judge(test, name, FILE_LIMIT, quiet=True):
                    return False
        print(f'  {green("ok")}    all of them')
        self.workspace.passed(self.name)
        return True

    def judge(self, test, case, limit, quiet=False):
        outcome = run_case(self.build_folder / test, test, case, limit, at_limit=describe, before=self.before)
        if learnsay.is_green(outcome):
            if not quiet:
                learnsay.show_green(case)
            return True
        learnsay.show_red(case)
        learnsay.show_story(learnsay.story(stages.read(self.stage_test(test)), case))
        learnsay.show(learnsay.outcome_lines(outcome, limit))
        return False

    def difference(self):
        """What the learner changed, and what the patch did, as one diff: hers against ours."""
        return [line for path in patched(self.broken.good, self.patch)
                for line in difflib.unified_diff((self.folder / path).read_text(encoding='utf-8').splitlines(),
                                                 self.broken.good[path].splitlines(), f'yours/{path}',
                                                 f'ours/{path}', lineterm='')]

    def ours(self):
        """The mending: the patch, reversed."""
        return [line for path, text in patched(self.broken.good, self.patch).items()
                for line in difflib.unified_diff(text.splitlines(), self.broken.good[path].splitlines(),
                                                 f'broken/{path}', f'whole/{path}', lineterm='')]

    def put(self, files):
        kept = []
        for path in patched(self.broken.good, self.patch):
            old = (self.folder / path).read_text(encoding='utf-8')
            if old != files[path]:
                kept.append(self.workspace.keep(self.name, old, f'-{path.replace("/", "-")}'))
            (self.folder / path).write_text(files[path], encoding='utf-8')
        return kept

    def reset(self):
        kept = self.put(self.files())
        self.workspace.reopen(self.name)
        return kept

    def solution(self):
        return self.put(self.broken.good)


SKELETON = """\
// {name}: {promise}
//
// A test of yours: it must pass on stage {stage}, each of {good} times, and fail on one that breaks the
// promise. What tests/support has may help: it is in the repository.
{include}
#include <doctest/doctest.h>

TEST_CASE("{name}: say here what must hold") {{
}}
"""


class Test(Exercise):
    """The learner writes a case that tells the good stage from the broken one."""
    kind = 'test'

    def files(self):
        header = self.broken.texts['header']
        return {'my_test.cc': SKELETON.format(
            name=self.name, promise=' '.join(self.broken.texts['promise'].split()), stage=self.stage.number,
            good=GOOD_RUNS, include=f'\n#include "{header}"\n')}

    @property
    def title(self):
        return self.broken.texts['promise'].split('. ')[0].rstrip('.')

    @property
    def file(self):
        return self.folder / 'my_test.cc'

    def describe(self):
        print(f'{bold(self.name)}  write the test   (about {self.broken.texts["minutes"]} minutes)\n')
        print(f'{self.broken.texts["promise"].strip()}\n\nWrite a doctest case in {self.file}.\nIt must pass on '
              f'stage {self.stage.number} and fail on one that breaks this promise'
              + (f'; both run with -fsanitize={self.patch.sanitize}.' if self.sanitize else '.'))

    def hints(self):
        return self.broken.texts['test_hints']

    def built(self, which, files, text):
        """The program of the learner's test on a stage of these files."""
        folder = self.build_folder / which
        for path, content in files.items():
            write(folder / 'tree' / path, content)
        sources = [p for p in files if p.startswith('rung/') and p.endswith('.cc')]
        build = Build(folder, [folder / 'tree'], self.sanitize)
        objects = library(build, folder / 'tree', sorted(sources)) + build.main('-w')
        shown = f"-Wall -Wextra -include {shell(ROOT / FOLDER / 'shown.h')}"
        build.program('mine', [build.object('my_test', self.file, shown), *objects])
        build.save()
        build.make(['mine'], progress())
        return folder / 'mine'

    def check(self):
        self.count_try()
        print(f'{bold(self.name)}  {self.title}\n')
        text = self.file.read_text(encoding='utf-8')
        if not test_names(text):
            return self.refuse('There is no TEST_CASE in my_test.cc.')
        good, files = self.broken.good, self.broken.good | patched(self.broken.good, self.patch)
        try:
            whole, broken = self.built('whole', good, text), self.built('broken', files, text)
        except BuildFailed as error:
            return self.refuse('It does not compile.', learnsay.build_lines(str(error), self.folder))
        for number in range(1, GOOD_RUNS + 1):
            outcome = self.run(whole)
            if not outcome.passed:
                return self.refuse(
                    f'It fails on the whole stage{f", the {number}th time: it is flaky" if number > 1 else ""}.',
                    learnsay.outcome_lines(outcome, LEAST_LIMIT * 5))
            if not asserts(outcome):
                return self.refuse('It asserts nothing: it needs a CHECK or a REQUIRE at least.')
        print(f'  {green("ok")}    on the whole stage it passes, {GOOD_RUNS} times of {GOOD_RUNS}')
        return self.on_broken(broken)

    def run(self, program):
        return run_case(program, 'my', '*', LEAST_LIMIT * 5, at_limit=describe, before=self.before)

    def on_broken(self, program):
        outcomes = [self.run(program) for _ in range(BROKEN_RUNS)]
        unnoticed = sum(outcome.passed for outcome in outcomes)
        if unnoticed:
            return self.refuse(f'On the broken stage it passes, {unnoticed} times of {BROKEN_RUNS}: '
                               'it does not see the fault.')
        first = outcomes[0]
        print(f'  {green("ok")}    on the broken one it fails, {BROKEN_RUNS} times of {BROKEN_RUNS}\n')
        learnsay.show(learnsay.outcome_lines(first, LEAST_LIMIT * 5))
        remark = ''
        if first.status is None:
            remark = 'Only the clock notices it. Let a task, or a second thread, end the loop, and assert then.'
        elif not first.failures and not learnsay.SANITIZER.search(first.said):
            remark = 'It crashes where an assertion would say what is wrong.'
        if remark:
            print(f'\n  Accepted, with a remark: {remark}')
        self.workspace.passed(self.name)
        return True

    def refuse(self, reason, lines=()):
        print(f'  {red("red")}   {reason}\n')
        learnsay.show(lines)
        return False

    def ours(self):
        """The stage's own case."""
        path, case = self.stage_test(self.patch.test), self.patch.caught['case']
        text = stages.read(path)
        start, end = find_symbol(str(path), text, f'"{escaped(case)}"')
        return whole_lines(text, start, end, True)

    def difference(self):
        return difflib.unified_diff(self.file.read_text(encoding='utf-8').splitlines(), list(self.ours()),
                                    'yours', 'ours', lineterm='')

    def reset(self):
        kept = [self.workspace.keep(self.name, self.file.read_text(encoding='utf-8'), '.cc')]
        write(self.file, self.files()['my_test.cc'])
        self.workspace.reopen(self.name)
        return kept

    def solution(self):
        """The stage's whole file, of which one case is the answer."""
        kept = [self.workspace.keep(self.name, self.file.read_text(encoding='utf-8'), '.cc')]
        write(self.file, stages.read(self.stage_test(self.patch.test)))
        return kept


def escaped(case):
    return case.replace('\\', '\\\\').replace('"', '\\"')


def asserts(outcome):
    found = re.search(r'<OverallResultsAsserts successes="(\d+)" failures="(\d+)"', outcome.said)
    return bool(found) and int(found[1]) + int(found[2]) > 0
