"""Patches that break a stage: what they say of themselves, and applying them."""

import random
import re
from dataclasses import dataclass

from . import cppscan

CAUGHT_BY = re.compile(r'(?:(?P<compiler>the compiler)(?:, in tests/(?P<part>\w+)_test\.cc)?'
                       r'|(?P<file>tests/(?P<test>\w+)_test\.cc) '
                       r'"(?P<case>.+)"(?P<hangs> \(hangs\))?)$')
COMPILER = 'the compiler refuses it'
CHOICES = 4  # cases, of which one is to be guessed
HUNK = re.compile(r'@@ -(\d+)(?:,\d+)? \+\d+(?:,\d+)? @@')


class BreakError(Exception):
    """A patch is not what it must be, or does not do what it says: the text says why."""


@dataclass
class Patch:
    name: str
    text: str
    breaks: str
    caught: re.Match
    sanitize: str

    @property
    def stage(self):
        return self.name[:2]

    @property
    def test(self):
        """The test file that must be compiled; None where the library is enough."""
        return self.caught['test'] or self.caught['part']


def read_patch(path):
    text = path.read_text(encoding='utf-8')
    head = dict(re.findall(r'^# ([a-z ]+): (.+)$', text.partition('\n--- ')[0], re.M))
    for key in ('breaks', 'caught by'):
        if key not in head:
            raise BreakError(f'{path.name} has no line "# {key}: …"')
    unknown = set(head) - {'breaks', 'caught by', 'sanitize'}
    if unknown:
        raise BreakError(f'{path.name}: "# {unknown.pop()}:" is not known')
    caught = CAUGHT_BY.match(head['caught by'])
    if not caught:
        raise BreakError(f'{path.name}: "{head["caught by"]}" is neither the compiler nor '
                         'tests/NAME_test.cc "name of the case"')
    sanitize = head.get('sanitize', 'none')
    if sanitize not in ('none', 'address', 'thread', 'undefined'):
        raise BreakError(f'{path.name}: there is no sanitizer "{sanitize}"')
    if not re.match(r'\d\d-[a-z0-9-]+$', path.stem):
        raise BreakError(f'{path.name} is not of the form NN-name.patch')
    return Patch(path.stem, text, head['breaks'], caught, sanitize)


# Applying a patch. Every line of context must be there as it is.

def patched(files, patch):
    """{path: new text} of those of a stage's `files` that the patch changes."""
    changed = {}
    for part in re.split(r'^--- ', patch.text, flags=re.M)[1:]:
        lines = part.splitlines()
        path = lines[1].removeprefix('+++ ').split('\t')[0].removeprefix('b/')
        if path not in files:
            raise BreakError(f'there is no {path} in stage {patch.stage}')
        changed[path] = apply_hunks(files[path], lines[2:], path)
    if not changed:
        raise BreakError('the patch changes no file')
    return changed


def changed_paths(patch):
    """The files that it is about."""
    return re.findall(r'^\+\+\+ (?:b/)?([^\t\n]+)', patch.text, re.M)


def apply_hunks(text, lines, path):
    starts = [n for n, line in enumerate(lines) if HUNK.match(line)]
    for first, end in zip(starts, [*starts[1:], len(lines)]):
        body = [line or ' ' for line in lines[first + 1:end] if not line.startswith('\\')]
        old = ''.join(line[1:] + '\n' for line in body if line[0] in ' -')
        new = ''.join(line[1:] + '\n' for line in body if line[0] in ' +')
        if ('\n' + text).count('\n' + old) != 1:
            raise BreakError(f'the hunk {lines[first]} of {path} does not apply')
        text = ('\n' + text).replace('\n' + old, '\n' + new)[1:]
    return text


def check_patch(files, patch):
    """What can be seen of a patch without a compiler."""
    patched(files, patch)
    source = f'tests/{patch.test}_test.cc'
    if patch.test and source not in files:
        raise BreakError(f'there is no {source} in stage {patch.stage}')
    case = patch.caught['case']
    if case and case not in cppscan.test_names(files[source]):
        raise BreakError(f'{patch.caught["file"]} has no case "{case}"')
    return 'applies'


def choices_of(files, patch):
    """The answer among some cases of the same file, or of all where it is the compiler."""
    case = patch.caught['case']
    sources = [patch.caught['file']] if case else sorted(
        name for name in files if name.endswith('_test.cc'))
    others = [name for source in sources for name in cppscan.test_names(files[source])
              if name != case]
    dice = random.Random(patch.name)
    choices = dice.sample(others, min(len(others), CHOICES - bool(case))) + [case] * bool(case)
    dice.shuffle(choices)
    return [*choices, COMPILER]
