"""What a C++ file declares, and where: enough of the grammar for code that clang-format laid out.

Brackets are matched, strings and comments are skipped, and no macro is expanded.
"""

import re
from dataclasses import dataclass

# What is no code. A quote after a letter or digit separates digits: 1'000.
SKIPPED = re.compile(r'''
    //[^\n]* | /\*.*?\*/
  | R"(?P<mark>[^()\\\s]{0,16})\(.*?\)(?P=mark)"
  | "(?:[^"\\\n]|\\.)*"
  | (?<!\w)'(?:[^'\\\n]|\\.)+'
  | ^[ \t]*\#(?:[^\\\n]|\\.)*''', re.X | re.S | re.M)
ACCESS = re.compile(r'(public|private|protected)\s*:(?!:)')
TEST = re.compile(r'TEST_CASE(_FIXTURE|_TEMPLATE)?\s*\(')
TYPE = re.compile(r'(?:template\s+)?(?:requires\b.*\s)?(?P<key>class|struct|union|enum(?:\s+class)?)\s')
OPERATOR = re.compile(r'\boperator\s*(<=>|\(\)|\[\]|->\*?|<<=?|>>=?|[-+*/%^&|=!<>]=|&&|\|\||\+\+|--'
                      r'|[-+*/%^&|~!=<>,])')
CALLABLE = re.compile(r'((?:\w+\s*::\s*)*(?:~\s*\w+|operator\s+\w[\w:\s]*?[&*]*|\w+))\s*\(')
NOT_A_NAME = {'requires', 'decltype', 'alignas', 'noexcept', 'explicit', 'static_assert'}
BASIC = {'void', 'bool', 'char', 'int', 'long'}
LITERAL = re.compile(r'"((?:[^"\\\n]|\\.)*)"')
MACRO = re.compile(r'^#define\s+(\w+)(?:[^\\\n]|\\.)*', re.M | re.S)
PAIRS = {'(': ')', '[': ']', '{': '}'}


@dataclass
class Declaration:
    """One entity; start and end are offsets into the text, comments on top not included."""
    name: str  # qualified by its classes: Mailbox::post
    kind: str  # class, struct, union, enum, function, variable, enumerator, macro, test
    start: int
    end: int
    parameters: str = ''
    body: bool = False


def without_text(text):
    """The code with strings, comments and directives blanked, every line and column in place."""
    return SKIPPED.sub(lambda m: re.sub(r'[^\n]', ' ', m[0]), text)


def declarations(text):
    """Everything that is declared outside functions, in order."""
    code = without_text(text)
    found = list(scan(text, code, 0, len(code), ''))
    found += [Declaration(m[1], 'macro', m.start(), m.end(), body=True)
              for m in MACRO.finditer(text)]
    return found


def test_names(text):
    """The names of all test cases, each with its offset."""
    code = without_text(text)
    return {test_name(text, code, m.start()): m.start() for m in TEST.finditer(code)}


def test_name(text, code, start):
    """The first run of string literals between the parentheses."""
    opening = code.index('(', start)
    inside = text[opening + 1:closing(code, opening)]
    run = re.search(r'"(?:[^"\\\n]|\\.)*"(?:\s*"(?:[^"\\\n]|\\.)*")*', inside)
    joined = ''.join(LITERAL.findall(run[0])) if run else ''
    return re.sub(r'\\(.)', r'\1', joined)


def closing(code, position):
    """The offset of the bracket that closes the one at `position`; the text's end if none does."""
    open_brackets = []
    for match in re.compile(r'[()\[\]{}]').finditer(code, position):
        if match[0] in PAIRS:
            open_brackets.append(PAIRS[match[0]])
        elif match[0] == open_brackets[-1]:
            open_brackets.pop()
            if not open_brackets:
                return match.start()
    return len(code) - 1


def scan(text, code, begin, end, scope):
    """Statement by statement through a namespace or the body of a class."""
    start, i = None, begin
    while i < end:
        if start is None:
            access = ACCESS.match(code, i, end)
            if access or code[i].isspace() or code[i] in ';}':
                i = access.end() if access else i + 1
                continue
            start = i
        if code[i] in '([':
            i = closing(code, i)
        elif code[i] == ';':
            brace = code.find('{', start, i)
            yield from declared(code, start, i if brace < 0 else brace, i + 1, scope)
            start = None
        elif code[i] == '{':
            close = closing(code, i)
            if TEST.match(code, start):
                yield Declaration(test_name(text, code, start), 'test', start, close + 1, body=True)
                start = None
            elif re.match(r'(inline\s+)?namespace\b|extern\s+{', code[start:i + 1]):
                yield from scan(text, code, i + 1, close, scope)
                start = None
            elif TYPE.match(flat(code[start:i])):
                semicolon = code.find(';', close)
                yield from declared_type(text, code, (start, i, close, semicolon + 1), scope)
                start, close = None, semicolon
            elif opens_body(code[start:i]):
                yield from declared(code, start, i, close + 1, scope)
                start = None
            i = close
        i += 1


def flat(header):
    """The header without template arguments and attributes, every column in place."""
    def blank(match):
        return ' ' * len(match[0])
    header = OPERATOR.sub(lambda m: 'operator' + '_' * (len(m[0]) - 8), header)
    header = re.sub(r'\[\[.*?\]\]|->', blank, header, flags=re.S)
    while (new := re.sub(r'<[^<>]*>', blank, header)) != header:
        header = new
    return header


def callable_name(header):
    """The match of the name before its parameters; None if the header is not a function's."""
    header = flat(header)
    assigned = header.find('=')
    position = 0
    while match := CALLABLE.search(header, position):
        if 0 <= assigned < match.start():
            return None
        if match[1] not in NOT_A_NAME and not re.fullmatch(r'[A-Z][A-Z_]+', match[1]):
            return match
        position = closing(header, match.end() - 1)
    return None


def opens_body(header):
    """Whether the brace after this header begins a function, and not an initialiser."""
    name = callable_name(header)
    if not name:
        return False
    after = flat(header)[closing(header, name.end() - 1) + 1:]
    in_initialisers = re.search(r'(?<!:):(?!:)', after)
    last = re.search(r'(\w+)\s*$', after)
    return not (in_initialisers and last)


def declared_type(text, code, span, scope):
    start, opening, close, end = span
    header = flat(code[start:opening])
    match = TYPE.match(header)
    head = re.sub(r'\w+\s*\([^()]*\)', ' ', re.split(r'(?<!:):(?!:)', header[match.end():])[0])
    names = [word for word in re.findall(r'\w+', head) if word != 'final']
    kind = match['key'].split()[0]
    name = scope + names[-1] if names else scope.removesuffix('::')
    if names:
        yield Declaration(name, kind, start, end, body=True)
    if kind == 'enum':
        for entry in re.finditer(r'(?:^|,)\s*(\w+)[^,]*', code[opening + 1:close]):
            at = opening + 1 + entry.start(1)
            yield Declaration(f'{name}::{entry[1]}', 'enumerator', at, opening + 1 + entry.end())
    else:
        yield from scan(text, code, opening + 1, close, name + '::' if name else '')


def declared(code, start, header_end, end, scope):
    """A function, variable or alias. A mere `class X;` or `using a::b;` declares nothing here."""
    header = code[start:header_end]
    if re.match(r'static_assert|(friend\s+)?(class|struct|enum)\b[^=(]*$|using\b[^=]*$', header):
        return
    function = callable_name(header)
    if function:
        opening = function.end() - 1
        name = header[function.start(1):function.end(1)]
        pointer = name in BASIC and re.match(r'\s*\*\s*(\w+)', header[opening + 1:])
        if pointer:  # void (*call)(…);
            yield Declaration(scope + pointer[1], 'variable', start, end)
            return
        operator = OPERATOR.search(header, function.start(1))
        if operator and operator.start() < opening:
            name = header[function.start(1):operator.end()]
        yield Declaration(scope + re.sub(r'\s*(::|~)\s*', r'\1', name), 'function', start, end,
                          header[opening + 1:closing(header, opening)], code[end - 1] == '}')
        return
    head = re.sub(r'\b[A-Z][A-Z_]+\s*\([^()]*\)', ' ', re.split(r'[={]', flat(header))[0])
    names = re.findall(r'\w+', re.sub(r'\[[^\]]*\]', ' ', head))
    if names:
        yield Declaration(scope + names[-1], 'variable', start, end)
