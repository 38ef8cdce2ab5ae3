"""Exercises of the kind `write`: NN/step. The learner fills in bodies; the stage's cases judge them."""

import difflib
import re
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor

from . import ROOT, learnsay, learnspace, stages
from .docspages import DocsError
from .learnbuild import WARNINGS, Build, shell
from .learncases import limit_of, list_cases, run_case
from .learnhang import describe
from .learnsteps import FOLDER, LearnError, body_of, load_steps, replaced
from .process import BuildFailed
from .text import bold, green

ALL = 'all'  # NN/all: the whole stage, at its end


class StageExercises:
    """The steps of one stage in a workspace."""

    def __init__(self, tree, stage, workspace):
        self.tree, self.stage, self.workspace = tree, stage, workspace
        self.steps = load_steps(tree, stage)
        self.folder = workspace.folder / stage.number
        self.build_folder = workspace.folder / '.build' / stage.number

    def step(self, name):
        """By its id; None for `all`."""
        for step in self.steps:
            if step.id == name:
                return step
        if name == ALL:
            return None
        near = difflib.get_close_matches(name, [step.id for step in self.steps], 3, 0.4)
        raise LearnError(f'stage {self.stage.number} has no step "{name}"; '
                         + (f'perhaps {", ".join(f"{self.stage.number}/{n}" for n in near)}' if near else
                            'tools/learn list shows all'))

    def name(self, step):
        return step.name if step else f'{self.stage.number}/{ALL}'

    def done(self):
        return [step for step in self.steps if self.workspace.state(step.name) == 'done']

    # ---- beginning ----

    def start(self, step):
        """Writes the stage's folder unless it is there, and opens a step."""
        if not self.steps:
            raise LearnError(f'stage {self.stage.number} has no steps')
        step = step or next((s for s in self.steps if s not in self.done()), self.steps[0])
        if not self.folder.is_dir():
            new = self.folder.with_name(f'.{self.stage.number}.new')
            shutil.rmtree(new, ignore_errors=True)
            for path, text in learnspace.workspace_files(self.tree, self.stage, self.steps, None).items():
                target = new / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text, encoding='utf-8')
            new.rename(self.folder)
            self.workspace.made[self.stage.number] = learnspace.made_of(self.tree, self.stage)
        self.open(step)
        return step

    def open(self, step):
        if self.workspace.state(step.name) != 'done':
            missing = learnspace.open_step(self.folder, step)
            if missing and self.workspace.state(step.name) != 'open':
                raise LearnError(f'{missing[0][0]} has no hidden body of {missing[0][1]} any more: put it back with '
                                 f'tools/learn reset {step.name}')
        self.workspace.begin(step.name)

    def built(self):
        """The build of the learner's files and the pristine tests; nothing is compiled yet."""
        own = {f'rung/{p.relative_to(self.folder / "rung")}' for p in (self.folder / 'rung').rglob('*.cc')}
        inherited = [path for path in sorted(own) if path not in self.stage.files]
        support = ROOT / FOLDER
        build = Build(self.build_folder, [ROOT, self.folder], f"{WARNINGS} -include {shell(support / 'exercise.h')}")
        library = build.together('inherited', [self.folder / path for path in inherited])
        library += [build.object(path, self.folder / path) for path in sorted(own - set(inherited))]
        library += build.main()
        for test in self.stage.tests:
            judge = build.object(f'{test}_test', self.stage.test_path(test), f"-w -include {shell(support / 'shown.h')}")
            build.program(test, [judge, *library])
        build.save()
        return build

    # ---- judging ----

    def check(self, step):
        """True if it is green. The first red case is shown."""
        if not self.folder.is_dir():
            raise LearnError(f'stage {self.stage.number} is not begun; tools/learn start {self.stage.number}')
        self.check_open(step)
        if self.workspace.made.get(self.stage.number) != learnspace.made_of(self.tree, self.stage):
            print(f'Note: stage {self.stage.number} has changed since this folder was made. If a case is red for no '
                  f'reason of yours,\nmove {self.folder} away and begin it anew.\n')
        item = self.workspace.item(self.name(step))
        item['tries'] += 1
        self.workspace.save()
        rows = step.cases if step else None
        if step and not rows:
            raise LearnError(f'{step.name} has no cases yet; tools/learn prove {self.stage.number} --update')
        tests = sorted({row['test'] for row in rows}) if rows else sorted(self.stage.tests)
        build = self.built()
        try:
            said = build.make(tests, progress())
        except BuildFailed as error:
            print(f'{bold(self.name(step))} does not compile.\n')
            learnsay.show(learnsay.build_lines(str(error), self.folder))
            return False
        learnsay.show([f'warning: {line}' for line in learnsay.warning_lines(said, self.folder)[:3]], '  ')
        if not (self.judge(step, rows) if step else self.judge_all(tests)):
            return False
        self.workspace.passed(self.name(step))
        return True

    def check_open(self, step):
        """A body that is still hidden is ours, and not to be judged."""
        for number, (path, _) in enumerate(step.symbols if step else []):
            file = self.folder / path
            if file.is_file() and learnspace.hidden_body(step, number) in file.read_text(encoding='utf-8'):
                raise LearnError(f'{step.name} is not open; tools/learn start {step.name}')

    def judge(self, step, rows):
        print(f'{bold(step.name)}  {step.title}   {", ".join(f"{p} {f}" for p, f in step.symbols)}\n')
        return all(self.judge_case(step, row['test'], row['case'], limit_of(row['seconds'])) for row in rows)

    def judge_case(self, step, test, case, limit):
        outcome = run_case(self.build_folder / test, test, case, limit, at_limit=describe)
        if learnsay.is_green(outcome):
            learnsay.show_green(case)
            return True
        if outcome.reached and step and self.workspace.current not in (step.name, None):
            print(f'  wait  {case}: it needs {self.workspace.current}, which is open')
            return True
        learnsay.show_red(case)
        if outcome.reached:
            said = re.findall(r'^.*is not written yet$', outcome.said, re.M)
            learnsay.show(said[:1] or [f'{self.name(step)} is not written yet.'])
        else:
            learnsay.show_story(learnsay.story(stages.read(self.stage.test_path(test)), case))
            learnsay.show(learnsay.outcome_lines(outcome, limit))
        return False

    def judge_all(self, tests):
        """Every case of the stage."""
        work = [(test, case) for test in tests for _, case in list_cases(self.build_folder / test)]
        print(f'{bold(self.name(None))}  all {len(work)} cases of the stage\n')
        with ThreadPoolExecutor(2) as pool:
            outcomes = pool.map(lambda row: run_case(self.build_folder / row[0], *row, 30.0), work)
            for (test, case), outcome in zip(work, outcomes):
                if not learnsay.is_green(outcome):
                    return self.judge_case(None, test, case, 30.0)
        print(f'  {green("ok")}    all of them\n')
        return True

    def after(self, step):
        """Opens what comes next; None at the end of the stage."""
        left = [s for s in self.steps if s not in self.done()]
        behind = [s for s in left if step in self.steps and self.steps.index(s) > self.steps.index(step)]
        following = next(iter(behind or left), None)
        if following:
            self.open(following)
        elif step:
            self.workspace.begin(f'{self.stage.number}/{ALL}')
        return following

    def prepare(self, step):
        """Compiles what the step's first verdict would wait for."""
        if not self.build_folder.is_dir():
            print('Compiling, which takes up to a minute the first time.\n', flush=True)
        try:
            self.built().make(sorted({row['test'] for row in step.cases}), progress())
        except BuildFailed:
            pass  # the first check says why

    # ---- looking ----

    def describe(self, step):
        if step is None:
            print(f'{bold(self.name(None))}: all steps are written; now the whole stage is judged.')
            return
        print(f'{bold(step.name)}  {step.title}   (about {step.minutes} minutes)\n')
        for path, symbol in step.symbols:
            print(f'  {self.folder / path}: {symbol}')
        print(f'\n{step.goal.strip()}\n\nTo read: {chapter_of(self.tree, self.stage)}#{step.read}')

    def hints(self, step):
        return step.hints if step else []

    def ours(self, step):
        """[(path, symbol, text)] as the stage has it."""
        return [(path, symbol, function_text(stages.read(self.stage.dir / path), path, symbol))
                for path, symbol in step.symbols]

    def mine(self, step):
        try:
            return [(path, symbol, function_text((self.folder / path).read_text(encoding='utf-8'), path, symbol))
                    for path, symbol in step.symbols]
        except (LearnError, DocsError) as error:
            raise LearnError(f'in your file: {error}') from None

    def put(self, step, body):
        """Replaces the learner's bodies by body(number, its text in the stage); keeps what was there."""
        kept = []
        for number, symbol in enumerate(step.symbols):
            path = self.folder / symbol[0]
            text = path.read_text(encoding='utf-8') if path.is_file() else ''
            original = stages.read(self.stage.dir / symbol[0])
            start, end = body_of(original, *symbol)
            new = body(number, original, start, end)
            try:
                at = body_of(text, *symbol)
                old = text[at[0]:at[1]]
                text = replaced(text, [(*at, new)])
            except (LearnError, DocsError):  # the function is gone: the whole file is written anew
                old = text
                text = learnspace.cut_text(original, self.steps, symbol[0], lambda s: 'hidden' if s in
                                           self.not_begun() else 'written')
                text = replaced(text, [(*body_of(text, *symbol), new)])
            if 'RUNG_EXERCISE' not in old and '#include "learn/solution/' not in old:
                kept.append(self.workspace.keep(step.name, old, path.suffix))
            path.write_text(text, encoding='utf-8')
        return kept

    def not_begun(self):
        return [step for step in self.steps if not self.workspace.state(step.name)]

    def reset(self, step):
        kept = self.put(step, lambda number, text, start, end: learnspace.indented(
            text, start, learnspace.stub_body(step, number)))
        self.workspace.reopen(step.name)
        return kept

    def solution(self, step):
        kept = self.put(step, lambda number, text, start, end: text[start:end])
        return kept


class Write:
    """One step, or the whole stage if `step` is None, as tools/learn sees an exercise."""
    kind = 'write'

    def __init__(self, exercises, step):
        self.all, self.step = exercises, step
        self.workspace, self.folder, self.name = exercises.workspace, exercises.folder, exercises.name(step)

    @property
    def title(self):
        return self.step.title if self.step else 'the whole stage'

    def start(self):
        if self.step:
            self.all.start(self.step)
            self.all.prepare(self.step)
        else:
            self.workspace.begin(self.name)

    def describe(self):
        self.all.describe(self.step)

    def check(self):
        return self.all.check(self.step)

    def hints(self):
        return self.step.hints if self.step else []

    def need_step(self):
        if self.step is None:
            raise LearnError(f'{self.name} is all steps together; name one, as {self.all.steps[0].name}')

    def ours(self):
        self.need_step()
        return [line for path, _, text in self.all.ours(self.step)
                for line in [f'// {path}', *text.splitlines(), '']]

    def difference(self):
        self.need_step()
        pairs = zip(self.all.mine(self.step), self.all.ours(self.step))
        return [line for (path, _, mine), (_, _, ours) in pairs for line in difflib.unified_diff(
            mine.splitlines(), ours.splitlines(), f'yours/{path}', f'ours/{path}', lineterm='')]

    def reset(self):
        self.need_step()
        return self.all.reset(self.step)

    def solution(self):
        self.need_step()
        return self.all.solution(self.step)


def function_text(text, path, symbol):
    start, end = body_of(text, path, symbol)
    begin = text.rfind('\n\n', 0, start) + 2
    return text[begin:end + 1]


def chapter_of(tree, stage):
    found = sorted((tree.root / 'docs' / 'tutorial').glob(f'{stage.number}-*.md'))
    found = [path for path in found if path.stem == stage.name] or found
    return found[0].relative_to(tree.root).as_posix() if found else ''


def progress():
    """Shows on a terminal which file is being compiled."""
    if not sys.stdout.isatty():
        return None

    def show(line):
        print(f'\r  {line.strip()[:70]:70}\r' + ' ' * 72, end='\r', flush=True)
    return show
