"""Code in documents, quoted from the project's files: whole, by symbol, or by range."""

import ast
import re
import textwrap

from . import cppscan
from .docspages import DocsError

STRING = r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\''
CODE = re.compile(rf'(?P<path>\S+)(?: +(?P<symbol>(?!from ).+?))??'
                  rf'(?: +from +(?P<first>{STRING}) +to +(?P<last>{STRING}))?$')
QUERY = re.compile(r'(?:(?P<kind>class|struct|union|enum(?: class)?|macro|function) +)?'
                   r'(?P<name>(?:operator *(?:\(\)|\[\]|[^\s\w(]+| \w+)|[\w:~])+)'
                   r'(?P<overload>\(.*\))?$')
CPP = ('.h', '.cc', '.hpp', '.cpp')
LANGUAGES = {**dict.fromkeys(CPP, 'cpp'), '.py': 'python', '.sh': 'sh', '.build': 'meson',
             '.patch': 'diff'}


def language_of(context, path):
    """For the fence of a new block."""
    source = context.file(path)
    if source.name == 'meson_options.txt':
        return 'meson'
    if not source.suffix and source.read_text().startswith('#!'):
        return 'python' if 'python' in source.read_text().split('\n')[0] else 'sh'
    return LANGUAGES.get(source.suffix, 'text')


def unquoted(text):
    return re.sub(r'\\(.)', r'\1', text[1:-1])


def quoted_code(context, argument):
    """(path, text) of what a `code` mark asks for."""
    match = CODE.match(argument)
    if not match or not (match['symbol'] or match['first']):
        raise DocsError(f'`{argument}` is not PATH SYMBOL, nor PATH [SYMBOL] from "…" to "…"')
    text = context.read(match['path'])
    start, end = 0, len(text)
    if match['symbol']:
        start, end = find_symbol(match['path'], text, match['symbol'])
    lines = whole_lines(text, start, end, bool(match['symbol']))
    if match['first']:
        lines = cut(lines, unquoted(match['first']), unquoted(match['last']), argument)
    return match['path'], textwrap.dedent('\n'.join(lines)).strip('\n') + '\n'


def whole_lines(text, start, end, with_comment):
    """The lines that a span touches, and the comment that stands on top of it."""
    lines = text.split('\n')
    first, last = text.count('\n', 0, start), text.count('\n', 0, max(start, end - 1))
    while with_comment and first and re.match(r'\s*(//|#[^!i])', lines[first - 1]):
        first -= 1
    return lines[first:last + 1]


def cut(lines, first, last, argument):
    """From the one line that holds `first` to the next one that holds `last`."""
    starts = [n for n, line in enumerate(lines) if line.strip() == first] or \
             [n for n, line in enumerate(lines) if first in line]
    if len(starts) != 1:
        raise DocsError(f'{len(starts)} lines hold "{first}", of {argument}')
    ends = [n for n in range(starts[0], len(lines)) if last in lines[n]]
    if not ends:
        raise DocsError(f'no line after "{first}" holds "{last}", of {argument}')
    return lines[starts[0]:ends[0] + 1]


def find_symbol(path, text, symbol):
    """The offsets at which it starts and ends."""
    name = re.fullmatch(STRING, symbol)
    if path.endswith(CPP):
        entries = cppscan.declarations(text)
        if name:
            return find_test(path, entries, unquoted(symbol))
        return find_cpp(path, entries, symbol)
    try:
        module = ast.parse(text)
    except (SyntaxError, ValueError) as error:
        raise DocsError(f'{path} is neither C++ nor Python; quote it by from "…" to "…"') from error
    return find_python(path, text, list(python_entries(module)),
                       unquoted(symbol) if name else symbol)


def find_test(path, entries, name):
    tests = {entry.name: entry for entry in entries if entry.kind == 'test'}
    if name not in tests:
        raise DocsError(f'{path} has no test case "{name}"' + near(name, tests))
    return tests[name].start, tests[name].end


def find_cpp(path, entries, symbol):
    query = QUERY.match(symbol)
    if not query:
        raise DocsError(f'`{symbol}` is not the name of a symbol')
    name = re.sub(r'operator +(?=\W)', 'operator', query['name'].removeprefix('rung::'))
    kind = (query['kind'] or '').split()[:1]
    named = [e for e in entries if e.kind != 'test' and (not kind or e.kind in kind)]
    found = [e for e in named if e.name == name] or \
            [e for e in named if e.name.endswith('::' + name)]
    if not found:
        raise DocsError(f'{path} declares no `{symbol}`' + near(name, [e.name for e in named]))
    if any(e.body for e in found):  # a definition hides its declaration in the same file
        found = [e for e in found if e.body or e.kind != 'function' or not any(
            o.body and o.parameters.split() == e.parameters.split() for o in found)]
    found = overload(path, symbol, query['overload'], found)
    return found.start, found.end


def overload(path, symbol, wanted, found):
    inside = None if wanted is None else ' '.join(wanted[1:-1].split())
    if inside is not None and inside.isdigit():
        if not 0 < int(inside) <= len(found):
            raise DocsError(f'{path} has {len(found)} of `{symbol}`')
        return found[int(inside) - 1]
    if inside is not None:
        found = [e for e in found if (inside in ' '.join(e.parameters.split()) if inside
                                      else not e.parameters.strip())] or found
    if len(found) > 1:
        listed = '; '.join(f'{e.kind} {e.name}({" ".join(e.parameters.split())})' for e in found)
        raise DocsError(f'{path} has several `{symbol}`, add (2) or a parameter: {listed}')
    return found[0]


def python_entries(node, scope=''):
    """(dotted name, first line of the docstring, node) of each def and class."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)):
            title = (ast.get_docstring(child) or '').split('\n')[0]
            yield scope + child.name, title, child
            yield from python_entries(child, f'{scope}{child.name}.')


def find_python(path, text, entries, symbol):
    name = symbol.removeprefix('def ').removeprefix('class ').removesuffix('()')
    found = [e for e in entries if e[0] == name] or \
            [e for e in entries if e[0].endswith('.' + name) or e[1] == name]
    if len(found) != 1:
        raise DocsError(f'{path} has {len(found) or "no"} `{symbol}`' +
                        near(name, [e[0] for e in entries]))
    node = found[0][2]
    first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
    lines = text.split('\n')
    return (sum(len(line) + 1 for line in lines[:first - 1]),
            sum(len(line) + 1 for line in lines[:node.end_lineno]) - 1)


def near(name, names):
    """The candidates, those that share a word with the name first."""
    words = set(re.findall(r'[A-Z]?[a-z]+', name))
    ranked = sorted(set(names), key=lambda n: -len(words & set(re.findall(r'[A-Z]?[a-z]+', n))))
    more = f' and {len(ranked) - 8} more' if len(ranked) > 8 else ''
    return '; it has ' + (', '.join(ranked[:8]) + more if ranked else 'none')


def test_names(context, path):
    """The names of the tests in a file, C++ or Python."""
    text = context.read(path)
    if path.endswith(CPP):
        return set(cppscan.test_names(text))
    try:
        entries = python_entries(ast.parse(text))
    except SyntaxError as error:
        raise DocsError(f'{path} does not parse: {error}') from error
    tests = [(name, title) for name, title, _ in entries
             if name.rpartition('.')[2].startswith('test')]
    return {name for entry in tests for name in (*entry, entry[0].rpartition('.')[2]) if name}
