"""What a program prints, in documents: run again where that is cheap, else recorded once."""

import os
import re
import shlex

from . import process
from .docspages import DocsError

TIME_LIMIT = 30.0  # seconds
PINNED_LIMIT = 600.0


class Skipped(Exception):
    """The output cannot be had here; the text says why."""


def parse_options(mark):
    """(pinned, expected exit status) of the words in the parentheses."""
    pinned, status = False, 0
    for option in filter(None, (o.strip() for o in mark.options.split(','))):
        exit_status = re.fullmatch(r'exit (\d+)', option)
        if re.fullmatch(r'pinned( at [0-9a-f]{7,})?', option):
            pinned = True
        elif exit_status:
            status = int(exit_status[1])
        else:
            raise DocsError(f'unknown option "{option}"; known are pinned, pinned at COMMIT and '
                            'exit N')
    return pinned, status


def check(context, document, mark):
    """Raises DocsError where the block is not what the command prints."""
    pinned, status = parse_options(mark)
    command = mark.argument
    check_names(context, command)
    shown, expected = split(mark.block.text)
    line = prompt(document, command)
    if shown is not None and shown != line:
        raise DocsError(f'the block shows `{shown}`, and the mark says `{line}`')
    if pinned:
        if not expected.strip():
            raise DocsError(f'nothing is recorded of `{command}`; run `tools/docs refresh`')
        context.count('outputs pinned')
        return
    try:
        printed = run(context, document, command, status, TIME_LIMIT)
    except Skipped as reason:
        context.say(f'outputs not run: {reason}')
        context.count('outputs not run')
        return
    context.count('outputs run')
    if not matches(expected, printed):
        raise DocsError(f'`{command}` prints something else; run `tools/docs update`, or put … '
                        f'where it may vary. It printed:\n{printed}'.rstrip())


def updated(context, document, mark):
    """The new text of the block; None to leave it."""
    pinned, status = parse_options(mark)
    if pinned and not context.refresh:
        return None
    old = mark.block.text if mark.block else ''
    shown, expected = split(old)
    try:
        printed = run(context, document, mark.argument, status,
                      PINNED_LIMIT if pinned else TIME_LIMIT)
    except Skipped as reason:
        context.say(f'outputs not run: {reason}')
        return None
    line = f'{prompt(document, mark.argument)}\n' if shown is not None or not old else ''
    body = expected if old and matches(expected, printed) else printed
    return line + body


def stamped(context, line):
    """The line of a mark with the commit at which its output is recorded, if it is pinned."""
    return re.sub(r'(?<=[(, ])pinned(?: at [0-9a-f]+)?(?=[),])', f'pinned at {context.commit}', line,
                  count=1)


def prepare(context, documents):
    """Builds what the pinned outputs run, as the chapters say how to."""
    context.commit = process.must('git', 'rev-parse', '--short=7', 'HEAD', cwd=context.root).strip()
    numbers = {number for document in documents for mark in document.marks
               if mark.kind == 'output' and 'pinned' in mark.options
               for number in re.findall(r'\bbuild/(\d\d)\b', mark.argument)}
    for number in sorted(numbers):
        build = context.root / 'build' / number
        print(f'building stage {number} in build/{number}', flush=True)
        process.set_up(build, f'-Dstages={number}', '--buildtype=debug', source=context.root)
        process.ninja(build)


def split(text):
    """(the line `$ COMMAND` or None, the rest)."""
    first, _, rest = text.partition('\n')
    return (first, rest) if first.startswith('$ ') else (None, text)


def shown_build(document):
    """What $BUILD reads as in a block: where the chapter of a stage builds, or tools/test."""
    chapter = re.match(r'docs/tutorial/(?!00)(\d\d)-', document.name)
    return f'build/{chapter[1]}' if chapter else 'build/test'


def prompt(document, command):
    return '$ ' + command.replace('$BUILD', shown_build(document))


def matches(expected, printed):
    """Whether the text is what was printed; `…` in it stands for anything, alone for any lines."""
    pattern = ''
    for line in expected.splitlines():
        if line.strip() == '…':
            pattern += r'(?:[^\n]*\n)*?'
        else:
            pattern += r'[^\n]*'.join(re.escape(part) for part in line.split('…')) + '\n'
    return re.fullmatch(pattern, printed) is not None


def run(context, document, command, status, limit):
    """What the command prints, on both of its outputs, in the root of the tree."""
    # As in a user's shell: `meson test` sets options of the sanitizers and of malloc.
    environment = {name: value for name, value in os.environ.items()
                   if not name.endswith('SAN_OPTIONS') and name != 'MALLOC_PERTURB_'}
    environment |= {'LC_ALL': 'C.UTF-8', 'TZ': 'UTC', 'NO_COLOR': '1', 'COLUMNS': '100'}
    build, script = '', command
    if '$BUILD' in command:
        if context.build is None:
            raise Skipped('--build DIR is not given')
        build = str(context.build.resolve())
        for program in re.findall(r'\$BUILD/([\w./-]+)', command):
            if not (context.build / program).exists():
                raise Skipped(f'{context.build / program} is not built')
        script = command.replace('$BUILD', shlex.quote(build))
    code, printed = process.run(['bash', '-c', script], limit, cwd=context.root, env=environment)
    if code is None:
        raise DocsError(f'`{command}` is not done after {limit:g} s')
    if code % 256 != status:
        raise DocsError(f'`{command}` exits with {code % 256}, not {status}; it says\n{printed}'
                        .rstrip())
    if build:
        printed = printed.replace(build, shown_build(document))
    printed = printed.replace(f'{context.root}/', '')  # nobody else's checkout is there
    return ''.join(line.rstrip() + '\n' for line in printed.splitlines())


def check_names(context, command):
    """Programs and paths of the project that a command names must be there."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise DocsError(f'`{command}`: {error}') from error
    for word in words:
        word = word.rpartition('=')[2] if re.match(r'[-\w]+=', word) else word
        built = re.match(r'\$BUILD/([\w./-]+)', word)
        if built and not is_target(context, built[1].rpartition('/')[2]):
            raise DocsError(f'no meson.build makes {built[1]}, of `{command}`')
        if re.fullmatch(r'(?:\./)?[\w.-]+(?:/[\w.*-]+)+/?', word) and not word.startswith('build/') \
                and not list(context.root.glob(word.removeprefix('./').rstrip('/'))):
            raise DocsError(f'there is no {word}, of `{command}`')


def is_target(context, name):
    """Whether some meson.build names the program; those of the stages are made in a loop."""
    stage = re.fullmatch(r'stage(\d\d)-tests', name)
    if stage:
        return stage[1] in [s.number for s in context.tree.stages]
    return any(re.search(rf"'{re.escape(part)}'", path.read_text())
               for path in meson_files(context.root) for part in (name, name.partition('-')[2]) if part)


def meson_files(root):
    return [path for path in root.glob('**/meson.build')
            if path.relative_to(root).parts[0] not in ('build', '.git')]
