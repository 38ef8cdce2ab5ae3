"""For tools/coverage: the branches that llvm-cov counts, and the list of those that no test takes.

A branch is one side of a condition of the source. The list, tests/coverage/untaken.txt, has
paragraphs, each a reason and the branches it holds for:

    = Only a kernel without memory refuses this call, and
      the tests have a kernel with enough.
    net/X.cc: `open(path) < 0` is never true
      in `if (open(path) < 0 || size == 0) return;`

The text of the line stands for its number, which changes with each edit of the file. Where a file
has the same line twice, each of the two has its record. "seldom" instead of "never" is for what
depends on how threads meet: a run that takes it does not make the reason stale.
"""

import collections
import json
import os
import re
import textwrap

RECORD = re.compile(r'^(\S+): `([^`]+)` is (never|seldom) (true|false) in `([^`]+)`$')


class BadList(Exception):
    pass


class Branch(collections.namedtuple('Branch', 'file condition side line')):
    def __str__(self):
        return f'{self.file}: `{self.condition}` is never {self.side}\n  in `{self.line}`'


Entry = collections.namedtuple('Entry', 'branch reason seldom')


def parse(text):
    """The entries of a list."""
    entries, reason, used = [], None, True
    for words in joined(text):
        if words.startswith('= '):
            if not used:
                raise BadList(f'a reason without a branch: {reason}')
            reason, used = words[2:], False
            continue
        match = RECORD.match(words)
        if not match:
            raise BadList(f'not "FILE: `CONDITION` is never|seldom true|false in `LINE`": {words}')
        if reason is None:
            raise BadList(f'a branch before any reason: {words}')
        file, condition, how_often, side, line = match.groups()
        entries.append(Entry(Branch(file, condition, side, line), reason, how_often == 'seldom'))
        used = True
    if not used:
        raise BadList(f'a reason without a branch: {reason}')
    return entries


def joined(text):
    """Its lines without comments, each with the indented ones that follow it."""
    result = []
    for line in text.splitlines():
        if not line.strip() or line.startswith('#'):
            continue
        if line[0].isspace():
            if not result:
                raise BadList(f'begins in the middle: {line.strip()}')
            result[-1] += ' ' + line.strip()
        else:
            result.append(line.strip())
    return result


def compare(known, untaken, entries):
    """(entries that hold, branches without a reason, entries that do not hold): `known` are all
    branches of the source, and `untaken` those of them that no test took.
    """
    left = collections.defaultdict(list)
    for entry in entries:
        left[entry.branch].append(entry)
    explained, unexplained = [], []
    for branch in untaken:
        if left[branch]:
            explained.append(left[branch].pop(0))
        else:
            unexplained.append(branch)
    exist = set(known)
    stale = [entry for rest in left.values() for entry in rest
             if not entry.seldom or entry.branch not in exist]
    return explained, unexplained, stale


def table(explained):
    """The branches under their reasons, as the list has them."""
    groups = collections.defaultdict(list)
    for entry in explained:
        how_often = 'seldom' if entry.seldom else 'never'
        groups[entry.reason].append(str(entry.branch).replace('is never', f'is {how_often}', 1))
    return '\n'.join(textwrap.fill(f'= {reason}', 100, subsequent_indent='  ') + '\n' +
                     ''.join(f'{branch}\n' for branch in branches)
                     for reason, branches in groups.items())


# ---- what llvm-cov says ----

CODE = 0  # of its kinds of regions


def read_export(text, directory):
    """(all branches, those that were not taken), in the order of the source, of the files in
    `directory`. All instantiations of a template, and all expansions of a macro such as LOG_INFO,
    are one piece of source: what one of them takes is taken.
    """
    counts = collections.Counter()
    for function in json.loads(text)['data'][0]['functions']:
        names = [os.path.realpath(name) for name in function['filenames']]
        regions = [region for region in function['regions'] if region[7] == CODE]
        for *place, yes, no, file, _, _ in function.get('branches', []):
            if not names[file].startswith(f'{directory}/'):
                continue
            if yes == no == 0 and is_constant(place, file, regions):
                continue
            counts[names[file], *place, 'true'] += yes
            counts[names[file], *place, 'false'] += no
    branches = {place: branch_at(*place, directory) for place in sorted(counts)}
    # What a comparison does that is defaulted is not in the source.
    branches = {place: branch for place, branch in branches.items()
                if not branch.line.endswith('= default;')}
    return (list(branches.values()),
            [branch for place, branch in branches.items() if counts[place] == 0])


def is_constant(place, file, regions):
    """Whether a condition that was neither true nor false stands where the program came by: the
    compiler knows its value, and counts nothing.
    """
    begin = tuple(place[:2])
    around = [region for region in regions
              if region[5] == file and tuple(region[:2]) <= begin < tuple(region[2:4])]
    return bool(around) and max(around, key=lambda region: region[:2])[4] > 0


SOURCES = {}


def branch_at(path, line, column, last_line, last_column, side, directory):
    if path not in SOURCES:
        with open(path, encoding='utf-8') as file:
            SOURCES[path] = file.read().split('\n')
    lines = SOURCES[path][line - 1:last_line]
    lines[-1] = lines[-1][:last_column - 1]
    whole = SOURCES[path][line - 1]
    condition = ' '.join('\n'.join([lines[0][column - 1:], *lines[1:]]).split())
    return Branch(path[len(str(directory)) + 1:], condition, side, ' '.join(whole.split()))
