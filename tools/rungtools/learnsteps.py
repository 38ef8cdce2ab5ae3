"""The steps of docs/tutorial/exercises/NN.toml, and where in the source their functions are."""

import json
import re
from dataclasses import dataclass, field

from . import docsquote, stages
from .cppscan import closing, without_text
from .docspages import DocsError

FOLDER = 'docs/tutorial/exercises'
KEYS = {'id': str, 'title': str, 'minutes': int, 'symbols': list, 'read': str, 'goal': str, 'hints': list,
        'wrong': dict}

MOST_WRONG = 9  # wrong bodies of a function


class LearnError(Exception):
    """The text says what is wrong, and names it."""


@dataclass(eq=False)
class Step:
    """One exercise of the kind `write`. A symbol is (path, name); `wrong` has a list of wrong bodies for
    each of some symbols."""
    stage: stages.Stage
    id: str
    title: str
    minutes: int
    symbols: list
    read: str
    goal: str
    hints: list
    wrong: dict
    comment: str | None = None
    cases: list = field(default_factory=list)  # of dictionaries: test, case, seconds

    @property
    def name(self):
        return f'{self.stage.number}/{self.id}'

    def wrong_bodies(self):
        """(symbol, number, body) of each."""
        return [(symbol, number, body) for symbol, bodies in self.wrong.items()
                for number, body in enumerate(bodies)]

    @property
    def functions(self):
        return [symbol_name(symbol) for _, symbol in self.symbols]


def symbol_name(symbol):
    """Without what tells overloads apart."""
    return re.sub(r'\(.*$', '', symbol)


def read_toml(path):
    try:
        import tomllib
    except ImportError:
        raise LearnError('tools/learn needs Python 3.11 or newer') from None
    try:
        return tomllib.loads(path.read_text(encoding='utf-8'))
    except tomllib.TOMLDecodeError as error:
        raise LearnError(f'{path.name}: {error}') from None


def load_steps(tree, stage):
    """The steps of a stage in order; none if it has no file."""
    path = tree.root / FOLDER / f'{stage.number}.toml'
    if not path.is_file():
        return []
    recorded = path.with_suffix('.cases.json')
    cases = json.loads(recorded.read_text()) if recorded.is_file() else {}
    steps = [read_step(stage, path, entry) for entry in read_toml(path).get('step', [])]
    names = [step.id for step in steps]
    for name in names:
        if names.count(name) > 1:
            raise LearnError(f'{path.name}: two steps are called "{name}"')
    for step in steps:
        step.cases = cases.get(step.id, [])
        for symbol in step.symbols:
            body_of(stages.read(stage.dir / symbol[0]), *symbol)
    return steps


def read_step(stage, path, entry):
    name = f'{path.name}: step "{entry.get("id", "?")}"'
    for key, kind in KEYS.items():
        if not isinstance(entry.get(key), kind):
            raise LearnError(f'{name} needs {key} = a {kind.__name__}')
    if unknown := set(entry) - set(KEYS) - {'comment'}:
        raise LearnError(f'{name}: nobody reads {unknown.pop()}')
    if len(entry['hints']) != 3:
        raise LearnError(f'{name} has {len(entry["hints"])} hints and not three')
    if not re.fullmatch(r'[a-z0-9]+(-[a-z0-9]+)*', entry['id']):
        raise LearnError(f'{name}: an id is of small letters, digits and -')
    symbols = [parse_symbol(stage, name, text) for text in entry['symbols']]
    wrong = {parse_symbol(stage, name, text): [body] if isinstance(body, str) else body
             for text, body in entry['wrong'].items()}
    if not symbols or not wrong or set(wrong) - set(symbols):
        raise LearnError(f'{name}: wrong must be of its symbols, and it needs one at least')
    for bodies in wrong.values():
        if not 1 <= len(bodies) <= MOST_WRONG or not all(isinstance(body, str) for body in bodies):
            raise LearnError(f'{name}: a wrong body is a text, or a list of 1 to {MOST_WRONG}')
    return Step(stage, **{k: v for k, v in entry.items() if k not in ('symbols', 'wrong')},
                symbols=symbols, wrong=wrong)


def parse_symbol(stage, name, text):
    path, _, symbol = text.partition(' ')
    if path not in stage.files:
        raise LearnError(f'{name}: stage {stage.number} issues no file {path}')
    return path, symbol.strip()


# Cutting bodies out.

def body_of(text, path, symbol):
    """The offsets of what stands between the braces of a function."""
    try:
        start, end = docsquote.find_symbol(path, text, symbol)
    except DocsError as error:
        raise LearnError(str(error)) from None
    code = without_text(text)
    for match in re.finditer('{', code[start:end]):
        if closing(code, start + match.start()) == end - 1:
            return start + match.end(), end - 1
    raise LearnError(f'{path}: {symbol} has no body here')


def replaced(text, spans):
    """The text with each (start, end, new) in place."""
    for start, end, new in sorted(spans, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def comment_above(text, start):
    """The offsets of the // lines right above a position's line."""
    first = text.rfind('\n', 0, start) + 1
    begin = first
    while begin and re.match(r'\s*//', text[text.rfind('\n', 0, begin - 1) + 1:begin]):
        begin = text.rfind('\n', 0, begin - 1) + 1
    return begin, first


def returns_nothing(text, path, symbol):
    """Whether a bare `return;` may end it: void, a constructor or a destructor."""
    start, _ = docsquote.find_symbol(path, text, symbol)
    name = symbol_name(symbol).split('::')
    head = text[start:body_of(text, path, symbol)[0]]
    return '~' in symbol or len(name) > 1 and name[-1] == name[-2] or \
        re.search(r'\bvoid\s+(\w+::)*' + re.escape(name[-1]) + r'\s*\(', head) is not None
