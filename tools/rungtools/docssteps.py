"""The exercises of tools/learn in a chapter: what stands below a mark `step`, and that none is missing."""

import re

from .docspages import DocsError, Problem
from .learnsteps import LearnError, load_steps

SHOWN = 8  # cases of a step
END = '<!-- end of step -->'
CHAPTER = re.compile(r'docs/tutorial/(\d\d)-')


def steps_of(context, number):
    """{name: step} of a stage; the tree may have no such stage."""
    if number not in [stage.number for stage in context.tree.stages]:
        return {}
    try:
        return {step.name: step for step in load_steps(context.tree, context.tree.find(number))}
    except LearnError as error:
        raise DocsError(str(error)) from error


def lines_of(context, name):
    """What a chapter says of a step."""
    step = steps_of(context, name.partition('/')[0]).get(name)
    if step is None:
        raise DocsError(f'there is no step {name}')
    link = f'../../stages/{step.stage.name}/'
    files = {}
    for path, symbol in step.symbols:
        files.setdefault(path, []).append(f'`{symbol.partition("(")[0]}`')
    places = '; '.join(f'{", ".join(names)} in [{path}]({link}{path})' for path, names in files.items())
    lines = [f'**To do: {step.name}**, {step.title[0].lower()}{step.title[1:]}, about {step.minutes} minutes: {places}.',
             '', *step.goal.strip().splitlines(), '',
             f'<details><summary>The {len(step.cases)} cases that turn green</summary>', '']
    for row in step.cases[:SHOWN]:
        case = re.sub(r'<\w[\w ]*>$', '', row['case'])  # of a template, the type for which it ran
        title = case.replace('\\', '\\\\').replace('"', '\\"')
        text = re.sub(r'([\[\]<>*_])', r'\\\1', case)
        line = f'- [{text}]({link}tests/{row["test"]}_test.cc "{title}")'
        lines += [line] * (line not in lines)
    if len(step.cases) > SHOWN:
        lines.append(f'- and {len(step.cases) - SHOWN} more')
    lines += ['', '</details>', '']
    for number, hint in enumerate(step.hints, 1):
        lines += [f'<details><summary>Hint {number}</summary>', '', *hint.strip().splitlines(), '', '</details>', '']
    return [*lines, END]


def span_below(document, mark):
    """The indices of what stands below a mark, the end included; nothing if it has no end."""
    first = mark.index + 1
    for last in range(first, len(document.lines)):
        if document.lines[last] == END:
            return first, last + 1
        if document.lines[last].startswith(('#', '<!-- step:')):
            break
    return first, first


def check(context, document):
    """Each step of the stage stands in its chapter, once."""
    number = CHAPTER.match(document.name)
    marked = [mark.argument for mark in document.marks if mark.kind == 'step']
    if not number or not marked:
        return
    for name in steps_of(context, number[1]):
        if marked.count(name) != 1:
            yield Problem(document.name, 1, 'step', f'{name} has {marked.count(name)} marks <!-- step: {name} -->')
