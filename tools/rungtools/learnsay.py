"""What tools/learn says of a case that failed, of a build that failed, and of where the learner is."""

import errno
import re
import signal
from pathlib import Path

from . import cppscan
from .learnsteps import comment_above
from .text import bold, faint, green, red

ERROR = re.compile(r'^(?P<file>[^\s:][^:\n]*):(?P<line>\d+):(?:\d+:)? (?:fatal )?(?P<kind>error|warning): '
                   r'(?P<text>.*)$', re.M)
REQUIRED = re.compile(r'^(?P<file>[^\s:][^:\n]*):(?P<line>\d+):\d+:\s+required from here', re.M)
UNDEFINED = re.compile(r'undefined (?:reference to|symbol:) [`\']?(?P<name>[^\n\']*)')
SANITIZER = re.compile(r'^.*(?:ERROR: |WARNING: ThreadSanitizer|runtime error:).*(?:\n.*\S.*){0,6}', re.M)
SHOWN = 6  # lines of what a case printed
LONGEST = 200  # characters of a value


def story(text, case):
    """The comment on top of a case, in lines without the slashes; [] if it has none."""
    at = cppscan.test_names(text).get(case)
    if at is None:
        return []
    begin, end = comment_above(text, at)
    return [re.sub(r'^\s*//+ ?', '', line) for line in text[begin:end].splitlines()]


def with_errno(original, expanded):
    """`11 == 104` becomes `11 (EAGAIN) == 104 (ECONNRESET)` where the assertion is about errors."""
    if not re.search(r'errno|[eE]rror\b|[eE]rror\(\)|\bE[A-Z]{3,}\b', original):
        return expanded
    return re.sub(r'(?<![\w.-])(\d{1,3})(?![\w.])', lambda m: f'{m[1]} ({errno.errorcode[int(m[1])]})'
                  if int(m[1]) in errno.errorcode else m[0], expanded)


def shortened_value(text):
    """Of a value that fills the screen, such as a megabyte of received bytes, its beginning and its end."""
    return text if len(text) <= LONGEST else f'{text[:LONGEST // 2]} … {text[-LONGEST // 2:]}'


def failure_lines(failure):
    """One assertion, as sentences."""
    expected = f'{failure.kind}( {failure.original} )'
    lines = [f'{Path(failure.file).name}:{failure.line}', f'  the test expects  {expected}']
    if failure.exception:
        lines.append(f'  it threw          {failure.exception}')
    elif failure.expanded and failure.expanded != failure.original:
        lines.append(f'  which is here     {with_errno(failure.original, shortened_value(failure.expanded))}')
    return lines + [f'  with              {info}' for info in failure.infos]


def is_green(outcome):
    """Passed, and run to its end: a function that calls exit(0) does not pass."""
    return outcome.passed and '<OverallResultsTestCases ' in outcome.said


def outcome_lines(outcome, limit):
    """Why a case is not green."""
    lines = []
    if outcome.passed:
        lines.append('The process ended, with status 0, before the case did: something calls exit().')
    for failure in outcome.failures[:2]:
        lines += failure_lines(failure)
    if len(outcome.failures) > 2:
        lines.append(f'and {len(outcome.failures) - 2} more assertions of this case')
    for file, line, text in outcome.messages[:2]:
        lines += [f'{file}:{line}', f'  {text}']
    if outcome.status is None:
        lines += [f'It did not end within {limit:g} s.', *outcome.hang]
    found = SANITIZER.search(outcome.said)
    if found:
        lines += found[0].splitlines()
    elif not outcome.failures and not outcome.messages:
        lines += [f'it printed: {line}' for line in outcome.printed[-SHOWN:]]
    if outcome.status is not None and outcome.status < 0:
        lines.append(f'The process was ended by {signal_name(-outcome.status)}.')
    return lines or [f'It ended with status {outcome.status}.']


def signal_name(number):
    try:
        return signal.Signals(number).name
    except ValueError:
        return f'signal {number}'


def build_lines(said, folder):
    """The first error of a build, those in the learner's files before all others."""
    errors = [match for match in ERROR.finditer(said) if match['kind'] == 'error']
    mine = [match for match in errors if within(match['file'], folder)]
    for match in [*mine, *errors][:1]:
        behind = said[match.end():].split('\n')[1:4]
        quoted = [line for line in behind if re.match(r'\s*\d* \|', line)]
        lines = [f'{shortened(match["file"], folder)}:{match["line"]}: {match["text"]}', *quoted]
        wanted = [m for m in REQUIRED.finditer(said) if within(m['file'], folder)]
        if wanted and not mine:
            lines.append(f'It comes from {shortened(wanted[0]["file"], folder)}:{wanted[0]["line"]}.')
        elif not mine:
            lines.append('This is not in a file of yours: is what you declare still as the header has it?')
        return lines
    undefined = UNDEFINED.search(said)
    if undefined:
        return [f'The linker misses {undefined["name"].rstrip("`")}: it is declared and used, and defined nowhere.']
    if 'No space left' in said:
        return ['There is no space left on the disk.']
    return [line for line in said.splitlines() if line.strip()][-SHOWN:]


def warning_lines(said, folder):
    """The warnings in the learner's files, a line each."""
    return [f'{shortened(match["file"], folder)}:{match["line"]}: {match["text"]}'
            for match in ERROR.finditer(said) if match['kind'] == 'warning' and within(match['file'], folder)]


def within(file, folder):
    return str(folder) in file or not Path(file).is_absolute() and '..' not in file


def shortened(file, folder):
    return file.partition(str(folder) + '/')[2] or file


def show(lines, indent='      '):
    for line in lines:
        print(f'{indent}{line}'.rstrip())


def show_green(case):
    print(f'  {green("ok")}    {case}')


def show_red(case):
    print(f'  {red("red")}   {bold(case)}')


def show_story(lines):
    show([faint(line) for line in lines])


def bar(done, total, width=10):
    full = width * done // total if total else 0
    return '█' * full + '░' * (width - full)
