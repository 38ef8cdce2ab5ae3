"""Running the cases of a test program one by one, and reading what doctest says of each."""

import html
import os
import re
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from .process import doctest_filter, run

NOT_WRITTEN = 86  # the exit status of an exercise that is open: exercise.h
HOW = 2048  # where in the marks each function's behaviour begins
LEAST_LIMIT = 2.0  # seconds
FAILURE = re.compile(r'<Expression success="false" type="(?P<type>\w+)" filename="(?P<file>[^"]*)" '
                     r'line="(?P<line>\d+)">(?P<inside>.*?)</Expression>', re.S)
PART = re.compile(r'<(Original|Expanded|Exception|ExpectedException|Info)[^>]*>(.*?)</\1>', re.S)
MESSAGE = re.compile(r'<Message type="(\w+)" filename="([^"]*)" line="(\d+)">\s*<Text>(.*?)</Text>', re.S)


@dataclass
class Failure:
    """One assertion that does not hold."""
    file: str
    line: int
    kind: str
    original: str
    expanded: str
    exception: str
    infos: list


@dataclass
class Outcome:
    """How a case ended. A status of None is a hang, of which `hang` tells."""
    status: int | None
    said: str
    seconds: float
    reached: bool = False  # an exercise that is open
    entered: set = field(default_factory=set)
    hang: list = field(default_factory=list)

    @property
    def passed(self):
        return self.status == 0 and not self.reached

    @property
    def skipped(self):
        found = re.search(r'<Text>\s*skipped: (.*?)\s*</Text>', self.said, re.S)
        return found[1] if found and self.status == 0 else ''

    @property
    def failures(self):
        return [read_failure(match) for match in FAILURE.finditer(self.said)]

    @property
    def messages(self):
        return [(Path(file).name, int(line), html.unescape(text).strip())
                for kind, file, line, text in MESSAGE.findall(self.said) if kind != 'WARNING']

    @property
    def printed(self):
        """What it printed besides doctest's XML."""
        text = re.sub(r'<\?xml.*?\?>|</?doctest\b.*?>|</?(?:TestSuite|Options|OverallResults\w*|TestCase|SubCase)\b'
                      r'[^>]*>|<Message.*?</Message>|<Expression.*?</Expression>', '', self.said, flags=re.S)
        return [line.rstrip() for line in text.splitlines() if line.strip()]


def read_failure(match):
    parts = {}
    for name, text in PART.findall(match['inside']):
        parts.setdefault(name, []).append(' '.join(html.unescape(text).split()))

    def first(name):
        return parts.get(name, [''])[0]
    return Failure(match['file'], int(match['line']), match['type'], first('Original'), first('Expanded'),
                   first('Exception'), parts.get('Info', []))


def list_cases(program):
    """(test file without _test.cc, case) of all that a program has, in the order of the source."""
    _, said = run([program, '--list-test-cases', '--reporters=xml'], 30)
    found = re.findall(r'<TestCase name="([^"]*)"[^>]*filename="([^"]*)" line="(\d+)"', said)
    rows = [(Path(file).name.removesuffix('_test.cc'), int(line), html.unescape(name))
            for name, file, line in found]
    return [(test, name) for test, _, name in sorted(rows)]


def run_case(program, test, case, limit, modes=None, at_limit=None, before=()):
    """Runs one, with the words `before` in front. `modes` says of functions, by number, how they behave: {3: 'o'}."""
    with tempfile.NamedTemporaryFile() as marks:
        table = bytearray(4096)
        for number, how in (modes or {}).items():
            table[HOW + number] = ord(how)
        marks.write(table)
        marks.flush()
        hang = []
        start = time.monotonic()
        status, said = run([*before, program, f'--source-file=*/{test}_test.cc', doctest_filter(case),
                            '--reporters=xml', '--no-intro'], limit,
                           at_limit=lambda pid: hang.extend(at_limit(pid) if at_limit else []),
                           env=os.environ | {'RUNG_LEARN_MARKS': marks.name})
        seconds = time.monotonic() - start
        table = Path(marks.name).read_bytes()
    return Outcome(status, said, seconds, table[0] == 1,
                   {n for n in range(1, HOW) if table[n]}, hang)


def limit_of(seconds):
    """The time that a case may take which took `seconds` when it was recorded."""
    return max(LEAST_LIMIT, 5 * seconds)
