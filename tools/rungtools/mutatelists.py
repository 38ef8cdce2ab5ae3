"""For tools/mutate: what a fault is, the faults with a name, and the list of survivors.

A generated fault is named by its file, function, operator, and the line before and after it:

    net/X.cc X::grow compare: `if (size < limit) return;` becomes `if (size <= limit) return;`

The list, tests/mutations/survivors.txt, has paragraphs: a verdict with its reason, and the faults
that it holds for, which may take several lines each. The text of the line stands for its number.

    = equivalent: Both sides give the same at the limit.
    net/X.cc X::grow compare: `if (size < limit) return;`
      becomes `if (size <= limit) return;`
"""

import collections
import dataclasses
import re
import textwrap

from .branches import BadList, joined

HEAD = re.compile(r'^\[([a-z0-9-]+)\] (\S+) \| ([a-z_ ]+) \| (.+)$')
GENERATED = re.compile(r'^\S+ \S.* [a-z-]+: `.*` becomes `.*`( \(\d+\))?$')
# Only what is equivalent is taken out of the rate: the rest are faults that no test notices.
VERDICTS = {
    'equivalent': 'no program can tell the difference',
    'performance': 'the same is done, but slower or with more memory',
    'log text': 'what a line for people says, or that there is one',
    'beyond tests': 'a test would need a broken kernel, or threads that meet in a few nanoseconds',
}
Verdict = collections.namedtuple('Verdict', 'kind reason')


@dataclasses.dataclass(frozen=True)
class Fault:
    """In a file of lib/rung, `old` becomes `new`."""
    path: str
    name: str
    old: str
    new: str
    what: str = ''
    tests: tuple = ()  # the likely ones, by the name of their file
    start: int = -1  # where `old` is; without it, `old` is there once
    operator: str = ''
    everywhere: bool = True  # in a header: each unit has its own copy of this code

    def applied(self, tree):
        """The text of the file with the fault in it."""
        file = tree / 'lib/rung' / self.path
        if not file.is_file():
            raise BadList(f'{self.name}: there is no file {self.path} in lib/rung')
        text = file.read_text('utf-8')
        count = text.count(self.old)
        if self.start < 0 and count != 1:
            raise BadList(f'{self.name}: its text is {count} times in {self.path}, not once; '
                          f'it begins: {self.old.splitlines()[0].strip()}')
        start = text.index(self.old) if self.start < 0 else self.start
        return text[:start] + self.new + text[start + len(self.old):]


def load_named(text):
    """The faults of tests/mutations/mutations.txt."""
    faults, lines = [], iter(text.splitlines())

    def until(end, name):
        block = []
        for line in lines:
            if line == end:
                return '\n'.join(block)
            block.append(line)
        raise BadList(f'{name}: ends without a line {end}')

    for line in lines:
        if not line or line.startswith('#'):
            continue
        head = HEAD.match(line)
        if not head:
            raise BadList(f'not "[name] file | tests | what": {line}')
        name, path, tests, what = head.groups()
        if until('<<<<', name):
            raise BadList(f'{name}: text before its <<<<')
        old, new = until('====', name), until('>>>>', name)
        if not old or old == new:
            raise BadList(f'{name}: changes nothing')
        if any(name == other.name for other in faults):
            raise BadList(f'{name}: is there twice')
        faults.append(Fault(path, name, old, new, what, tuple(tests.split())))
    return faults


def load_survivors(text):
    """A dictionary: the name of a generated fault, and its Verdict."""
    entries, verdict, used = {}, None, True
    for words in joined(text):
        if words.startswith('= '):
            if not used:
                raise BadList(f'a verdict without a fault: {verdict.reason}')
            kind, _, reason = words[2:].partition(': ')
            if kind not in VERDICTS or not reason:
                raise BadList(f'not "= VERDICT: reason" with one of {", ".join(VERDICTS)}: {words}')
            verdict, used = Verdict(kind, reason), False
            continue
        if not GENERATED.match(words):
            raise BadList(f'not "FILE FUNCTION OPERATOR: `LINE` becomes `LINE`": {words}')
        if verdict is None:
            raise BadList(f'a fault before any verdict: {words}')
        if words in entries:
            raise BadList(f'is there twice: {words}')
        entries[words], used = verdict, True
    if not used:
        raise BadList(f'a verdict without a fault: {verdict.reason}')
    return entries


def as_entry(name):
    """As the list has it."""
    head, _, rest = name.partition(' becomes ')
    return '\n'.join(textwrap.fill(line, 100, initial_indent=indent, subsequent_indent='  ',
                                   break_long_words=False, break_on_hyphens=False)
                     for line, indent in ((head, ''), (f'becomes {rest}', '  ')))
