"""A stage as a learner gets it: functions of steps to come hidden, that of the open step a stub."""

import hashlib
import re
import textwrap

from . import docsquote, stages
from .learnsteps import FOLDER, body_of, comment_above, replaced
from .stagefiles import exported_files


def hidden_name(step, number):
    """The file with the stage's own body of the step's symbol `number`."""
    return f'learn/solution/{step.id}{f"-{number + 1}" if number else ""}.inc'


def hidden_body(step, number):
    return f'\n#include "{hidden_name(step, number)}"\n'


def stub_body(step, number):
    return f'\n  RUNG_EXERCISE("{step.name}", "{step.functions[number]}");\n'


def of_file(steps, path):
    """(step, number, symbol) of what a file has of the steps."""
    return [(step, number, symbol) for step in steps for number, symbol in enumerate(step.symbols)
            if symbol[0] == path]


def cut_text(text, steps, path, state):
    """A file's text where each body is what `state` makes of its step: written, open or hidden."""
    spans = []
    for step, number, symbol in of_file(steps, path):
        how = state(step)
        if how == 'written':
            continue
        start, end = body_of(text, *symbol)
        if how == 'open':
            spans.append((start, end, indented(text, start, stub_body(step, number))))
        else:
            spans.append((start, end, hidden_body(step, number)))
        if step.comment is not None and not number:
            begin, stop = comment_above(text, docsquote.find_symbol(path, text, symbol[1])[0])
            spans.append((begin, stop, step.comment.strip() + '\n' if step.comment.strip() else ''))
    return replaced(text, spans)


def indented(text, position, body):
    """A body as deep as the line on which it begins."""
    line = text[text.rfind('\n', 0, position) + 1:position]
    depth = len(line) - len(line.lstrip())
    return textwrap.indent(body, ' ' * depth, lambda part: part.strip() != '') + ' ' * depth


def library_files(tree, stage, steps, opened):
    """{path: text} of the stage's files that have steps, and of what they include: the steps before
    `opened` are written, those behind it are hidden. All are hidden if `opened` is None."""
    at = steps.index(opened) if opened else -1

    def state(step):
        number = steps.index(step)
        return 'open' if step is opened else 'written' if number < at else 'hidden'
    files = {}
    for step in steps:
        for number, symbol in enumerate(step.symbols):
            text = stages.read(stage.dir / symbol[0])
            files[symbol[0]] = cut_text(text, steps, symbol[0], state)
            start, end = body_of(text, *symbol)
            files[hidden_name(step, number)] = text[start:end]
    return files


def workspace_files(tree, stage, steps, opened):
    """{path: text} of the folder of a stage in a workspace: a Meson project of its own."""
    files = exported_files(tree, stage) | library_files(tree, stage, steps, opened)
    files['learn/exercise.h'] = stages.read(tree.root / FOLDER / 'exercise.h')
    meson = files['meson.build'].replace(
        'threads_dep = ', "add_project_arguments('-Wno-unused-parameter', '-Wno-unused-function',\n"
        "  '-include', meson.current_source_dir() / 'learn/exercise.h', language: 'cpp')\n\nthreads_dep = ", 1)
    files['meson.build'] = re.sub('^# Written by.*', f'# Stage {stage.number}, for you to write.', meson, count=1)
    files['README.md'] = readme(stage, steps)
    return files


def made_of(tree, stage):
    """A digest of the files from which a stage's folder is made."""
    return hashlib.sha256(b'\0'.join((owner.dir / path).read_bytes() for path, owner
                                     in stages.overlay(tree.upto(stage)).items())).hexdigest()[:16]


def readme(stage, steps):
    rows = ''.join(f'| {step.name} | {step.title} | {step.minutes} min | '
                   f'{", ".join(f"`{name}`" for name in step.functions)} |\n' for step in steps)
    return (f'# Stage {stage.number}: {stage.title}, written by you\n\n'
            'The files of the stage are here, and those of all stages before it. One function after the '
            'other is yours\nto write: it says `RUNG_EXERCISE`. The bodies of later steps are hidden in '
            '`learn/solution/`, so that\neverything else works.\n\n'
            '    ../learn check     # judges the open step; the next one opens when it passes\n'
            '    ../learn hint\n\n'
            'It is an ordinary Meson project, too: `meson setup b && meson test -C b`.\n\n'
            f'| step | | time | function |\n|---|---|---|---|\n{rows}')


# Changing the learner's file.

def find_body(text, symbol):
    """(start, end) of a function's body in the learner's text; LearnError or DocsError if it is gone."""
    return body_of(text, *symbol)


def open_step(folder, step):
    """Puts the stubs of a step into the learner's files where the bodies are hidden. Returns the
    symbols for which the file has no such line."""
    missing = []
    for number, symbol in enumerate(step.symbols):
        path = folder / symbol[0]
        text = path.read_text(encoding='utf-8')
        line = hidden_body(step, number)
        if text.count(line) != 1:
            missing.append(symbol)
            continue
        at = text.index(line)
        path.write_text(text.replace(line, indented(text, at, stub_body(step, number))), encoding='utf-8')
    return missing
