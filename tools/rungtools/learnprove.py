"""Proves the steps of docs/tutorial/exercises/, and derives which cases belong to each.

    tools/learn prove              what has changed since it was proved; proved.json remembers it
    tools/learn prove --all        everything
    tools/learn prove 03           the steps of one stage; `audit` or `breaks` for the other kinds
    tools/learn prove 03 --update  writes 03.cases.json anew, and proves

Of each step it shows that

  1. the workspace compiles without a warning, with this step open;
  2. its cases fail at the stub, which says the step's name;
  3. all other cases of the stage pass while it is open;
  4. its cases pass with the stage's own text, each time;
  5. each wrong solution fails, by an assertion of one of its cases.

Of each audit, that its client refuses the faulty server and not the mended one. Of each bug and test,
what tools/breaks shows: its case passes on the whole stage and fails on the broken one.

One build serves: each function of a step notes that it was entered, and asks how it is to behave.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import ROOT, breaks, learnaudit, learnbreaks, learnspace, stages
from .learnbuild import WARNINGS, Build, compiler, shell, write
from .learncases import list_cases, run_case
from .learnsteps import (FOLDER, LearnError, body_of, load_steps, replaced, returns_nothing)
from .process import BuildFailed

MOST_CASES = 20
MOST_TELLING = 10  # of them, that a wrong solution fails
MOST_SECONDS = 3.0  # of the cases of a step together
SLOW_CASE = 1.0  # seconds; slower ones come last
SLOW = 60.0  # the limit where many run at once
WRONG = 5.0  # and of a case with a wrong solution, which may hang
WRONG_TRIES = 3  # on a busy machine a case may miss it once
LEAST = 3  # cases a step


def wrong_mode(number):
    """How a function behaves as its wrong solution of this number: see exercise.h."""
    return chr(ord('1') + number)


class Prover:
    """One stage."""

    def __init__(self, tree, stage, work, jobs):
        self.tree, self.stage, self.jobs = tree, stage, jobs
        self.steps = load_steps(tree, stage)
        self.folder = work / stage.number
        self.numbers = {}  # of each symbol
        for step in self.steps:
            for symbol in step.symbols:
                self.numbers.setdefault(symbol, len(self.numbers) + 1)

    # ---- the build ----

    def hooked(self, path):
        """The text of a file in which each function of a step asks how it is to behave."""
        text, spans = stages.read(self.stage.dir / path), []
        for step in self.steps:
            for symbol in step.symbols:
                if symbol[0] == path:
                    spans.append(self.hook(text, step, symbol))
        return replaced(text, spans)

    def hook(self, text, step, symbol):
        start, _ = body_of(text, *symbol)
        n = self.numbers[symbol]
        lines = f'if (::rung_learn::behaves({n}, \'o\')) RUNG_EXERCISE("{step.name}", "{symbol[1]}");\n'
        end = ' return;' if returns_nothing(text, *symbol) else ''
        for number, body in enumerate(step.wrong.get(symbol, [])):
            lines += f"if (::rung_learn::behaves({n}, '{wrong_mode(number)}')) {{ {body}{end} }}\n"
        line = text.count('\n', 0, start) + 1
        return start, start, f'\n{lines}#line {line} "{symbol[0]}"\n'

    def build(self):
        tree = self.folder / 'tree'
        for path in {symbol[0] for symbol in self.numbers}:
            write(tree / path, self.hooked(path))
        files = stages.overlay(self.tree.upto(self.stage))
        where = {path: tree / path if (tree / path).is_file() else owner.dir / path
                 for path, owner in files.items()}
        header = self.tree.root / FOLDER / 'exercise.h'
        includes = [tree, *(s.dir for s in reversed(self.tree.upto(self.stage))), self.tree.root]
        build = Build(self.folder, includes, f"-w -include {shell(header)}")
        objects = build.together('lib', [p for name, p in where.items() if name.endswith('.cc')])
        tests = [self.stage.test_path(test) for test in self.stage.tests]
        alone = [path for path in tests if path.name.endswith('neighbours_test.cc')]
        objects += build.together('test', [path for path in tests if path not in alone])
        objects += [build.object(path.stem, path) for path in alone]
        self.program = build.program('tests', objects + build.main())
        build.save()
        build.make(['tests'])

    # ---- running ----

    def run_all(self, work):
        """The outcomes of (test, case, limit, modes), in order."""
        with ThreadPoolExecutor(self.jobs) as pool:
            return list(pool.map(lambda row: run_case(self.program, *row), work))

    def modes(self, step, how):
        return {self.numbers[symbol]: how for symbol in step.symbols}

    def matrix(self):
        """{(test, case): (functions that it enters each time, those at some time, seconds)} of the
        cases that pass each time, and are not skipped here."""
        cases, rows = list_cases(self.program), {}
        for _ in range(2):
            outcomes = self.run_all([(*case, SLOW, None) for case in cases])
            for case, outcome in zip(cases, outcomes):
                if not outcome.passed or outcome.skipped:
                    rows[case] = None
                elif case not in rows:
                    rows[case] = (outcome.entered, outcome.entered, outcome.seconds)
                elif rows[case]:
                    always, ever, seconds = rows[case]
                    rows[case] = (always & outcome.entered, ever | outcome.entered,
                                  max(seconds, outcome.seconds))
        for test, case in [case for case in cases if rows[case] is None]:
            print(f'# {test}_test.cc "{case}" fails or is skipped here: it belongs to no step')
        return {case: row for case, row in rows.items() if row}

    # ---- deriving ----

    def cases_of(self, step, rows):
        """Those that a wrong solution fails, the most specific first; then some that the step's functions
        have nearly for themselves."""
        mine = {self.numbers[symbol] for symbol in step.symbols}
        ranked = sorted((case for case, (always, _, _) in rows.items() if always & mine),
                        key=lambda case: (rows[case][2] > SLOW_CASE, len(rows[case][0])))
        chosen, telling = [], []
        for symbol, number, _ in step.wrong_bodies():
            modes = {self.numbers[symbol]: wrong_mode(number)}
            outcomes = self.run_all([(*case, WRONG, modes) for case in ranked])
            asserted = [case for case, outcome in zip(ranked, outcomes) if outcome.failures or outcome.messages]
            telling += [case for case, outcome in zip(ranked, outcomes) if not outcome.passed]
            chosen += [case for case in asserted[:1] if case not in chosen]
        for symbol in step.symbols:  # each function has a case at least
            touched = [case for case in ranked if self.numbers[symbol] in rows[case][0]]
            chosen += touched[:1] if not set(touched) & set(chosen) else []
        chosen += [case for case in ranked if case in telling and case not in chosen][:MOST_TELLING - len(chosen)]
        chosen.sort(key=ranked.index)
        for case in ranked:
            total = sum(rows[c][2] for c in chosen)
            if case not in chosen and len(chosen) < MOST_CASES and \
                    (total + rows[case][2] <= MOST_SECONDS or len(chosen) < LEAST):
                chosen.append(case)
        return [{'test': test, 'case': case, 'seconds': round(rows[test, case][2] + 0.05, 1)}
                for test, case in chosen]

    def catcher(self, symbol, number, cases):
        """The first case by whose assertion the wrong solution of this number fails."""
        modes = {self.numbers[symbol]: wrong_mode(number)}
        for at in [*range(0, len(cases), MOST_TELLING)] * WRONG_TRIES:
            some = cases[at:at + MOST_TELLING]
            for case, outcome in zip(some, self.run_all([(*c, WRONG, modes) for c in some])):
                if outcome.failures or outcome.messages:
                    return case
        return None

    # ---- the five proofs ----

    def prove(self):
        """(step, faults in words) of each."""
        known = set(list_cases(self.program))
        everything = [(*case, SLOW, None) for case in known]
        for step in self.steps:
            yield step, [*self.compiles(step), *self.faults(step, known, everything)]

    def faults(self, step, known, everything):
        cases = [(row['test'], row['case']) for row in step.cases]
        missing = [case for case in cases if case not in known]
        if missing or len(cases) < LEAST:
            yield (f'{missing[0][0]}_test.cc has no case "{missing[0][1]}"' if missing else
                   f'it has {len(cases)} cases, and needs {LEAST}') + ': run it with --update'
            return
        whole = self.run_all([(*case, SLOW, None) for case in cases])
        opened = self.run_all([(*case, SLOW, self.modes(step, 'o')) for case in cases])
        for case, real, stub in zip(cases, whole, opened):
            if real.skipped:
                continue
            if not real.passed:
                yield f'"{case[1]}" fails with the stage\'s own text'
            if not stub.reached:
                yield f'"{case[1]}" does not reach the stub'
        yield from self.others(step, cases, everything)
        for symbol, number, body in step.wrong_bodies():
            if not self.catcher(symbol, number, cases):
                yield f'no case fails by an assertion with the wrong {symbol[1]}: {body}'

    def others(self, step, cases, everything):
        """While it is open, what does not reach it passes."""
        numbers = set(self.modes(step, 'o'))
        rows = [row for row in everything if row[:2] not in cases
                and not numbers & self.entered.get(row[:2], numbers)]
        if not rows:
            return
        for row, outcome in zip(rows, self.run_all([(*r[:3], self.modes(step, 'o')) for r in rows])):
            if not outcome.passed and not outcome.reached:
                yield f'"{row[1]}" fails while the step is open, and does not reach it'

    def compiles(self, step):
        """The file of the workspace, with this step open and those before it written."""
        space = self.folder / 'space'
        for path, text in learnspace.library_files(self.tree, self.stage, self.steps, step).items():
            write(space / path, text)
        for path in sorted({symbol[0] for symbol in step.symbols}):
            command = [*compiler().split(), *f'-std=c++20 -fsyntax-only {WARNINGS} -Werror'.split(),
                       '-x', 'c++', f'-I{space}', *(f'-I{s.dir}' for s in reversed(self.tree.upto(self.stage))),
                       '-include', str(self.tree.root / FOLDER / 'exercise.h'),
                       *(['-Wno-pragma-once-outside-header'] if 'clang' in compiler() else []),
                       str(space / path)]
            done = subprocess.run(command, text=True, capture_output=True)
            said = [line for line in done.stderr.splitlines() if 'error:' in line
                    and '#pragma once in main file' not in line]
            if said:
                yield f'the workspace does not compile: {said[0]}'


class Stamps:
    """docs/tutorial/exercises/proved.json: of each proof the digest of all that it depends on. So a change
    proves anew what it touches, on a clean clone, too."""

    def __init__(self, root, everything):
        self.path = root / FOLDER / 'proved.json'
        self.known = self.read()
        self.everything = everything

    def read(self):
        return json.loads(self.path.read_text()) if self.path.is_file() else {}

    def holds(self, name, now):
        return not self.everything and self.known.get(name) == now

    def set(self, name, now):
        self.known = self.read() | {name: now}  # another prover may have written meanwhile
        write(self.path, json.dumps(dict(sorted(self.known.items())), indent=1) + '\n')


def digest(texts):
    total = hashlib.sha256()
    for text in texts:
        total.update(text if isinstance(text, bytes) else text.encode())
        total.update(b'\0')
    return total.hexdigest()[:16]


def support_texts(tree):
    """Those of the tests' helpers, and of what cuts the functions out and runs the cases."""
    paths = sorted((tree.root / 'tests' / 'support').glob('*.[ch]*'))
    paths += [Path(__file__).with_name(f'{name}.py') for name in ('learncases', 'learnspace', 'learnsteps')]
    return [path.read_bytes() for path in [*paths, tree.root / FOLDER / 'exercise.h']]


def stage_digest(tree, stage):
    """Of all that the proofs of a stage's steps depend on."""
    paths = [owner.dir / path for path, owner in stages.overlay(tree.upto(stage)).items()]
    paths += [stage.test_path(test) for test in stage.tests]
    paths += sorted((tree.root / FOLDER).glob(f'{stage.number}.*'))
    return digest([*(path.read_bytes() for path in paths), *support_texts(tree)])


def prove_breaks(tree, stamps, options):
    """(patches, faults): tools/breaks catches each, with the case that it names."""
    failed, todo = 0, []
    loaded = learnbreaks.load_breaks(tree)
    for broken in loaded:
        patch = broken.patch
        files = {path: owner.dir / path for path, owner in stages.overlay(tree.upto(broken.stage)).items()}
        texts = [text.read_bytes() for text in files.values()] + [patch.text]
        if patch.test:
            owners = {test: owner for owner, test in tree.active_tests(broken.stage)}
            texts.append(owners[patch.test].test_path(patch.test).read_bytes())
        now = digest(texts + support_texts(tree))
        if stamps.holds(patch.name, now):
            print(f'ok - bug and test of {patch.name}: proved, and nothing of it has changed')
        else:
            todo.append((patch, now))
    if todo:
        done = breaks.catches([patch for patch, _ in todo], options.work / 'breaks')
        for (patch, now), fault in zip(todo, done):
            print(f'{"not ok" if fault else "ok"} - bug and test of {patch.name}', flush=True)
            if fault:
                failed += 1
                print('\n'.join(f'#   {line}' for line in fault.splitlines()), flush=True)
            else:
                stamps.set(patch.name, now)
    return len(loaded), failed


def prove_stage(tree, stage, stamps, options):
    """(steps, faults) of a stage."""
    prover = Prover(tree, stage, options.work, options.jobs)
    if not prover.steps:
        return 0, 0
    if not options.update and stamps.holds(stage.number, stage_digest(tree, stage)):
        for step in prover.steps:
            print(f'ok - {step.name}: proved, and nothing of it has changed')
        return len(prover.steps), 0
    start = time.monotonic()
    prover.build()
    print(f'# stage {stage.number}: built in {time.monotonic() - start:.0f} s', flush=True)
    rows = prover.matrix()
    prover.entered = {case: ever for case, (_, ever, _) in rows.items()}
    if options.update:
        cases = {step.id: prover.cases_of(step, rows) for step in prover.steps}
        write(tree.root / FOLDER / f'{stage.number}.cases.json', json.dumps(cases, indent=1) + '\n')
        for step in prover.steps:
            step.cases = cases[step.id]
    failed = 0
    for step, faults in prover.prove():
        failed += bool(faults)
        print(f'{"not ok" if faults else "ok"} - {step.name}: {step.title} ({len(step.cases)} cases)', flush=True)
        for fault in faults:
            print(f'#   {fault}', flush=True)
    print(f'# stage {stage.number}: {time.monotonic() - start:.0f} s', flush=True)
    if not failed:
        stamps.set(stage.number, stage_digest(tree, stage))
    return len(prover.steps), failed


def prove_audits(tree, work):
    """(audits, faults): the client refuses the server and is content with the mended one."""
    audits, failed = learnaudit.load_audits(tree.root), 0
    for audit in audits:
        faults = []
        for name, wanted in (('server.cc', False), ('mended.cc', True)):
            good, lines = audit.judge(audit.source / name, work / audit.name / name)
            if good != wanted:
                faults += [f'the client is {"content" if good else "not content"} with {name}', *lines]
            elif not good and not any(line.startswith('ok ') for line in lines):
                faults.append('no check of the client passes on server.cc, which does serve')
        failed += bool(faults)
        print(f'{"not ok" if faults else "ok"} - {audit.name}: {audit.title}', flush=True)
        for fault in faults:
            print(f'#   {fault}')
    return len(audits), failed


def main(arguments):
    parser = argparse.ArgumentParser(prog='tools/learn prove', description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('what', nargs='*', metavar='NN', help='stages, audit or breaks (all)')
    parser.add_argument('--update', action='store_true', help='derive the cases anew')
    parser.add_argument('--all', action='store_true', help='also what has been proved as it is')
    parser.add_argument('--work', type=lambda d: Path(d).resolve(), default=ROOT / 'build' / 'learn',
                        metavar='DIR', help='where to build')
    parser.add_argument('-j', dest='jobs', type=int, default=4, metavar='N', help='cases at a time')
    parser.add_argument('--root', type=lambda d: Path(d).resolve(), default=ROOT, help='another tree')
    options = parser.parse_args(arguments)
    counts = []
    try:
        tree, stamps = stages.load_tree(options.root), Stamps(options.root, options.all)
        what = options.what or [*(stage.number for stage in tree.stages), 'audit', 'breaks']
        for name in what:
            if name == 'audit':
                counts.append(prove_audits(tree, options.work))
            elif name == 'breaks':
                counts.append(prove_breaks(tree, stamps, options))
            else:
                counts.append(prove_stage(tree, tree.find(name), stamps, options))
    except (LearnError, BuildFailed, stages.TreeError) as error:
        print(f'tools/learn prove: {error}', file=sys.stderr)
        return 2
    total, failed = (sum(column) for column in zip(*counts))
    print(f'{total - failed} passed, {failed} failed')
    return 1 if failed or not total else 0
