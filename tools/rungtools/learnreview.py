"""What comes back after some days: steps that took much help, and the questions of the chapters.

The scheme is Leitner's: what is known moves to the next box, whose interval is longer; what is not
goes back to the first.
"""

import re
import sys
import textwrap

from .learnsteps import load_steps
from .learnwork import BOXES
from .text import bold, wrapped

# A question with its answer folded below it, or folded with it.
QUESTION = re.compile(r'^(\d+)\. ((?:(?!<details>).)*?)\n\s*<details><summary>Answer</summary>\n(.*?)</details>'
                      r'|^<details><summary>(\d+)\. (.*?)</summary>\n(.*?)</details>', re.M | re.S)


def questions(tree, stage):
    """{name: (question, answer)} of the chapter's "Check your understanding"."""
    found = {}
    for path in sorted((tree.root / 'docs' / 'tutorial').glob(f'{stage.number}-*.md')):
        section = re.search(r'^## Check your understanding\n(.*?)(?=^## |\Z)', path.read_text(encoding='utf-8'),
                            re.M | re.S)
        for match in QUESTION.finditer(section[1] if section else ''):
            number, question, answer = [group for group in match.groups() if group is not None]
            found[f'question/{stage.number}-{number}'] = (question, textwrap.dedent(answer))
    return found


def due_questions(learn):
    """Those of the stages of which a step is done: never asked, or due again."""
    space, found = learn.workspace, {}
    due = set(space.due())
    for stage in learn.tree.stages:
        if any(space.state(step.name) == 'done' for step in load_steps(learn.tree, stage)):
            found |= {name: texts for name, texts in questions(learn.tree, stage).items()
                      if name in due or name not in space.items}
    return found


def review(learn):
    space = learn.workspace
    if space is None:
        print('Nothing is begun; tools/learn start 01')
        return 0
    asked = due_questions(learn)
    steps = [name for name in space.due() if not name.startswith('question/')]
    if not asked and not steps:
        print('Nothing is due.')
        return 0
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        print('\n'.join([*(f'due: {name}' for name in steps),
                         *(f'due: {name}: {" ".join(q.split())}' for name, (q, _) in asked.items()),
                         'On a terminal tools/learn review asks them.']))
        return 0
    for name, (question, answer) in asked.items():
        if not ask(space, name, question, answer):
            return 0
    for name in steps:
        if input(f'\nOnce more: {bold(name)}. Begin it anew now? [y/N] ').strip().lower()[:1] == 'y':
            exercise = learn.exercise(name)
            learn.said_kept(exercise.reset())
            learn.tell(exercise)
            return 0
    return 0


def ask(space, name, question, answer):
    """False when the learner wants to end."""
    print(f'\n{bold(wrapped(question))}')
    if input('[Enter: the answer · q: end] ').strip().lower() == 'q':
        return False
    print(wrapped(answer))
    known = input('Did you know it? [y/n · q: end] ').strip().lower()[:1]
    if known == 'q':
        return False
    space.answered(name, known == 'y')
    print(f'It comes back in {BOXES[space.items[name]["box"]]} days.')
    return True
