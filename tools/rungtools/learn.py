"""tools/learn: write the stages yourself, and be judged by their tests.

    tools/learn                    the ladder: what is done, and what is next
    tools/learn start 03 [DIR]     begins a stage, in the workspace DIR (learn/ in the repository);
                                   03/take-tasks begins at that step
    tools/learn check [NAME]       judges: the first red case, its story, and what was expected
    tools/learn watch [NAME]       the same each time you save
    tools/learn hint [NAME]        the next hint of three
    tools/learn show [NAME]        our text, after yours has passed or when you say so
    tools/learn diff [NAME]        yours against ours
    tools/learn reset NAME         as it was; what you wrote is kept
    tools/learn solution NAME      puts our text into your file; what you wrote is kept. Before yours is
                                   green, show, diff and solution want --anyway
    tools/learn bug [03-1]         find the bug: a stage with one fault
    tools/learn test [03-1]        write the test that tells a good stage from a broken one
    tools/learn audit [NAME]       a small server with a fault that is often copied
    tools/learn try 08 --with DIR  your own classes in place of the stage's, judged by its tests
    tools/learn list [03|bug|test|audit]    every exercise
    tools/learn review             what you needed help for, after some days; and the chapters' questions
    tools/learn doctor             what this machine has, and what it lacks
    tools/learn prove [NN...]      for authors: proves the exercises

NAME is 03/take-tasks, bug/03-1, test/03-1 or audit/NAME; without it, the exercise that is open.
--workspace DIR names another workspace. Your progress is in its progress.json; nothing leaves your
machine.
"""

import difflib
import os
import signal
import sys
import time
from pathlib import Path

from . import ROOT, doctor, learnaudit, learnbreaks, learnprove, learnreview, learnsay, learntry, stages
from .learnsteps import LearnError, load_steps
from .learnwork import DEFAULT, Workspace, find_workspace, make_workspace
from .learnwrite import ALL, StageExercises, Write
from .process import BuildFailed
from .text import bold, faint, green, red

POLL = 0.3  # seconds between two looks at the files
KINDS = {'bug': learnbreaks.Bug, 'test': learnbreaks.Test}
STATES = {'done': '✓', 'open': '▶'}


class Learn:
    """All exercises, and the workspace of this learner; that is None before the first start."""

    def __init__(self, workspace):
        self.tree = stages.load_tree(ROOT)
        self.workspace = workspace

    # ---- finding an exercise ----

    def stage(self, text):
        try:
            return self.tree.find(text)
        except stages.TreeError as error:
            raise LearnError(str(error)) from None

    def names(self, kind):
        """The names of all exercises of a kind, or of a stage's steps."""
        if kind in KINDS:
            return [KINDS[kind](self.space(), broken).name for broken in learnbreaks.load_breaks(self.tree)
                    if kind == 'bug' or 'promise' in broken.texts]
        if kind == 'audit':
            return [audit.name for audit in learnaudit.load_audits(ROOT)]
        return [step.name for step in load_steps(self.tree, self.stage(kind))]

    def space(self):
        """The workspace, or a nowhere to make names with."""
        return self.workspace or Workspace(DEFAULT)

    def exercise(self, name):
        """By its name; the open one for ''."""
        name = name or (self.workspace.current if self.workspace else None)
        if name and name.isdigit():  # a stage as a whole
            name = f'{self.stage(name).number}/{ALL}'
        if not name:
            raise LearnError('nothing is begun; tools/learn start 01')
        kind, slash, rest = name.partition('/')
        if not slash:
            raise LearnError(f'"{name}" is no exercise; they are called 03/STEP, bug/03-1, test/03-1, audit/NAME')
        if kind in KINDS:
            for broken in learnbreaks.load_breaks(self.tree):
                found = KINDS[kind](self.space(), broken)
                if name == found.name and (kind == 'bug' or 'promise' in broken.texts) or \
                        rest == broken.patch.name:
                    return found
        elif kind == 'audit':
            for audit in learnaudit.load_audits(ROOT, self.space()):
                if name == audit.name:
                    return audit
        else:
            steps = StageExercises(self.tree, self.stage(kind), self.space())
            return Write(steps, steps.step(rest))
        near = difflib.get_close_matches(name, self.names(kind), 3, 0.5)
        raise LearnError(f'there is no "{name}"; ' + (f'perhaps {", ".join(near)}' if near else
                                                      f'tools/learn list {kind} shows all'))

    def next_of(self, kind):
        """The first exercise of a kind that is not done."""
        names = self.names(kind)
        here = (self.space().current or '').partition('/')[0]
        names.sort(key=lambda name: f'/{here}-' not in name)  # those of the stage that is open first
        return next((name for name in names if self.space().state(name) != 'done'), names[0])

    # ---- commands ----

    def begin(self, name, folder=None):
        self.workspace = make_workspace(Path(folder).resolve() if folder else
                                        self.workspace.folder if self.workspace else DEFAULT)
        exercise = self.exercise(name)
        exercise.start()
        self.tell(exercise)
        return 0

    def start(self, text, folder=None):
        """A stage, at its first step that is not done, or a step."""
        name = text
        if '/' not in text:
            stage = self.stage(text)
            steps = load_steps(self.tree, stage)
            if not steps:
                raise LearnError(f'stage {stage.number} has no exercises of this kind')
            space = make_workspace(Path(folder).resolve()) if folder else self.space()
            left = [step for step in steps if space.state(step.name) != 'done']
            name = left[0].name if left else f'{stage.number}/{ALL}'
        return self.begin(name, folder)

    def tell(self, exercise):
        exercise.describe()
        print(f'\n{faint("tools/learn check judges it, tools/learn hint helps, tools/learn watch judges at each save.")}')

    def check(self, exercise):
        with self.workspace.lock():
            green_one = exercise.check()
        print()
        if not green_one:
            self.after_red(exercise)
            return 1
        print(green(bold(f'{exercise.name} is done.')))
        if isinstance(exercise, Write):
            self.after_step(exercise)
        else:
            print(f'Ours: tools/learn diff {exercise.name}\nNext: tools/learn {exercise.kind}')
        return 0

    def after_red(self, exercise):
        item = self.workspace.item(exercise.name)
        hints = exercise.hints()
        if item['tries'] >= 3 and item['hints'] < len(hints):
            print(faint(f'tools/learn hint has {len(hints) - item["hints"]} more hints.'))

    def after_step(self, exercise):
        if exercise.step is None:
            following = [s for s in self.tree.stages if s.number > exercise.all.stage.number]
            print('All of this stage is yours.' + (f' Next: tools/learn start {following[0].number}'
                                                   if following else ''))
            return
        following = exercise.all.after(exercise.step)
        if following is None:
            print(f'That was the last step of stage {exercise.all.stage.number}. tools/learn check judges the '
                  'whole stage now.')
            return
        print()
        exercise.all.describe(following)
        if sys.stdout.isatty():
            exercise.all.prepare(following)

    def watch(self, exercise):
        print(faint('Judged at each save; Ctrl-C ends.'), flush=True)
        seen = None
        while True:
            now = stamps(exercise.folder)
            if now != seen:
                print('\n' + '─' * 40 if seen else '', flush=True)
                if self.check(exercise) == 0:
                    exercise = self.exercise('')
                    if not isinstance(exercise, Write):
                        return 0
                seen = stamps(exercise.folder)
                sys.stdout.flush()
            time.sleep(POLL)

    def hint(self, exercise):
        hints = exercise.hints()
        item = self.workspace.item(exercise.name)
        if not hints:
            print('There is no hint: each step has its own.')
            return 0
        item['hints'] = min(item['hints'] + 1, len(hints))
        self.workspace.save()
        for number, text in enumerate(hints[:item['hints']], 1):
            print(f'{bold(f"{number} of {len(hints)}")}  {" ".join(text.split())}')
        return 0

    def may_see(self, exercise, anyway):
        """Whether the learner has passed, or wants to see it all the same."""
        if self.workspace.state(exercise.name) == 'done' or anyway:
            return True
        if not sys.stdin.isatty():
            raise LearnError(f'{exercise.name} is not green yet; add --anyway to see our text')
        if input(f'{exercise.name} is not green yet. See our text all the same? [y/N] ').lower()[:1] != 'y':
            return False
        return True

    def note_shown(self, exercise):
        if self.workspace.state(exercise.name) != 'done':
            self.workspace.item(exercise.name)['shown'] = True
            self.workspace.save()

    def show(self, exercise, anyway, lines):
        if self.may_see(exercise, anyway):
            self.note_shown(exercise)
            for line in list(lines()) or ['They are the same.']:
                print(green(line) if line.startswith('+') else red(line) if line.startswith('-') else line)
        return 0

    def reset(self, exercise):
        self.said_kept(exercise.reset())
        print(f'{exercise.name} is as it was at its beginning.')
        return 0

    def solution(self, exercise, anyway):
        if self.may_see(exercise, anyway):
            self.note_shown(exercise)
            self.said_kept(exercise.solution())
            print(f'Our text is in your file. tools/learn check {exercise.name} goes on; the exercise comes back '
                  'with tools/learn review.')
        return 0

    @staticmethod
    def said_kept(kept):
        for path in kept:
            print(f'What you wrote is kept in {path}')

    # ---- the ladder ----

    def ladder(self):
        broken = learnbreaks.load_breaks(self.tree)
        space = self.space()
        where = f'workspace: {space.folder}' if self.workspace else 'not begun'
        print(f'{bold("rung, written by you")}   {faint(where)}\n')
        for stage in self.tree.stages:
            steps = load_steps(self.tree, stage)
            if not steps:
                continue
            done = sum(space.state(step.name) == 'done' for step in steps)
            bugs = [learnbreaks.Bug(space, b).name for b in broken if b.stage is stage]
            tests = [learnbreaks.Test(space, b).name for b in broken if b.stage is stage and 'promise' in b.texts]
            here = '▶' if (space.current or '').startswith(stage.number) else ' '
            print(f'{here} {stage.number} {stage.title:27} {learnsay.bar(done, len(steps))} '
                  f'{done:2} of {len(steps)} steps   {self.tally(bugs, "bug")}   {self.tally(tests, "test")}'.rstrip())
        audits = [audit.name for audit in learnaudit.load_audits(ROOT)]
        print(f'\n  {"servers with a fault":30} {learnsay.bar(*self.counted(audits))} '
              f'{self.counted(audits)[0]:2} of {len(audits)} audits\n')
        self.next()
        return 0

    def counted(self, names):
        return sum(self.space().state(name) == 'done' for name in names), len(names)

    def tally(self, names, word):
        done, total = self.counted(names)
        return f'{done} of {total} {word}s' if total else ''

    def next(self):
        space = self.space()
        if not self.workspace:
            print('Begin: tools/learn start 01')
            return
        due = space.due()
        if due:
            print(f'Due: {len(due)}, with tools/learn review')
        if space.current and space.state(space.current) == 'open':
            exercise = self.exercise(space.current)
            print(f'Open: {bold(exercise.name)}  {exercise.title}\n      tools/learn check')
        else:
            print(f'Next: tools/learn start {self.first_open()}')

    def first_open(self):
        for stage in self.tree.stages:
            if any(self.space().state(step.name) != 'done' for step in load_steps(self.tree, stage)):
                return stage.number
        return self.tree.stages[0].number

    def list(self, what):
        kinds = [what] if what else [*(s.number for s in self.tree.stages), 'bug', 'test', 'audit']
        for kind in kinds:
            if kind.isdigit():
                kind = self.stage(kind).number
            names = self.names(kind)
            if what and kind.isdigit():
                names += [name for other in KINDS for name in self.names(other) if f'/{kind}-' in name]
            for name in names:
                exercise = self.exercise(name)
                print(f'{STATES.get(self.space().state(name), " ")} {name:28} {exercise.title}')
        return 0


def stamps(folder):
    """When each source of a folder was changed."""
    found = {}
    for path in folder.rglob('*.[ch]*'):
        try:
            found[path] = path.stat().st_mtime_ns
        except OSError:
            continue  # an editor is replacing it
    return found


# Command line

def option(words, name, value=False):
    """Takes --name [VALUE] out of the words."""
    if name not in words:
        return None
    at = words.index(name)
    if value and at + 1 == len(words):
        raise LearnError(f'{name} needs a value')
    found = words[at + 1] if value else True
    del words[at:at + (2 if value else 1)]
    return found


def run(words):
    if words[:1] == ['prove']:
        return learnprove.main(words[1:])
    if words[:1] == ['doctor']:
        return doctor.main(words[1:])
    if words[:1] == ['try']:
        return learntry.main(words[1:])
    anyway = option(words, '--anyway')
    place = option(words, '--workspace', True)
    if place and words[:1] and words[0] in ('start', *KINDS, 'audit'):  # these may begin one
        make_workspace(Path(place).resolve())
    learn = Learn(find_workspace(place))
    unknown = [word for word in words if word.startswith('-')]
    if unknown:
        raise LearnError(f'{unknown[0]} means nothing here; tools/learn --help')
    command, names = (words[0], words[1:]) if words else ('', [])
    most = {'': 0, 'start': 2, 'review': 0}.get(command, 1)
    if len(names) > most:
        raise LearnError(f'"{names[most]}" is one word too many for {command or "tools/learn"}')
    name = names[0] if names else ''
    if command == '':
        return learn.ladder()
    if command == 'start':
        return learn.start(*names) if names else learn.start(learn.first_open())
    if command in ('bug', 'test', 'audit'):
        return learn.begin(f'{command}/{name.removeprefix(command + "/")}' if name else learn.next_of(command))
    if command == 'list':
        return learn.list(name)
    if command == 'review':
        return learnreview.review(learn)
    if command in ('check', 'watch', 'hint', 'show', 'diff', 'reset', 'solution'):
        if not learn.workspace:
            raise LearnError('nothing is begun here: this is no workspace, and there is no default one; '
                             'tools/learn start 01')
        if command in ('reset', 'solution') and not name:
            raise LearnError(f'{command} needs a name, as tools/learn {command} '
                             f'{learn.workspace.current or "01/STEP"}')
        exercise = learn.exercise(name)
        if command == 'check':
            return learn.check(exercise)
        if command == 'watch':
            return learn.watch(exercise)
        if command == 'hint':
            return learn.hint(exercise)
        if command == 'show':
            return learn.show(exercise, anyway, exercise.ours)
        if command == 'diff':
            return learn.show(exercise, anyway, exercise.difference)
        return learn.reset(exercise) if command == 'reset' else learn.solution(exercise, anyway)
    commands = ['start', 'check', 'watch', 'hint', 'show', 'diff', 'reset', 'solution', 'bug', 'test', 'audit', 'try',
                'list', 'review', 'doctor', 'prove']
    near = difflib.get_close_matches(command, commands, 1)
    raise LearnError(f'there is no command "{command}"' + (f'; perhaps {near[0]}' if near else '')
                     + '; tools/learn --help lists them')


def main():
    words = sys.argv[1:]
    if words[:1] in (['--help'], ['-h'], ['help']):
        print(__doc__.strip())
        return 0
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        return run(words)
    except (LearnError, BuildFailed, stages.TreeError) as error:
        print(f'tools/learn: {error}', file=sys.stderr)
        return 2
    except EOFError:
        print()
        return 2
    except KeyboardInterrupt:
        print()
        return 130
    except BrokenPipeError:  # tools/learn list | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        print(f'tools/learn: {f"{error.filename}: " if error.filename else ""}{error.strerror}', file=sys.stderr)
        return 2
