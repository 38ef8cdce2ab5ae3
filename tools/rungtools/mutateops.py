"""For tools/mutate: faults made from the syntax tree of lib/, as clang's Python module shows it.

Each operator is one of OPERATORS. A line for the log is a statement to drop, not one to look into.
Only functions count: a limit or a size that a constant states is no fault if it is one more.
"""

import collections
import re
import sys

from .mutatelists import Fault

OPERATORS = {
    'drop': 'a statement is gone',
    'lock': 'a mutex is not taken',
    'early': 'a function returns at its beginning',
    'compare': 'a comparison is shifted or turned round',
    'negate': 'a condition is turned round',
    'not': 'a ! is gone',
    'logic': '&& and || change places',
    'sign': '+ and - change places',
    'constant': 'a whole number is one more or one less',
    'bool': 'true and false change places, or what is returned is one of them',
}
COMPARE = {'<': ('<=', '>='), '<=': ('<', '>'), '>': ('>=', '<='), '>=': ('>', '<'),
           '==': ('!=',), '!=': ('==',)}
OTHER = {'&&': ('logic', '||'), '||': ('logic', '&&'), '+': ('sign', '-'), '-': ('sign', '+'),
         '+=': ('sign', '-='), '-=': ('sign', '+='), '++': ('sign', '--'), '--': ('sign', '++')}
# Comments, strings and characters: what is in them is no code.
NO_CODE = re.compile(r"""//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|'(?:\\[^\n']+|\\'|[^'\\\n])'""",
                     re.DOTALL)
LOG = re.compile(r'(RUNG_)?LOG_[A-Z]+\b')
NUMBER = re.compile(r"(\d[\d']*)([uUlL]*)$")
LONGEST = 200  # characters of a line in a name


class Missing(Exception):
    pass


def module():
    """clang.cindex. Debian's is found by a python3 that is not Debian's, too: it is Python only."""
    path = list(sys.path)
    sys.path.append('/usr/lib/python3/dist-packages')
    try:
        from clang import cindex
        cindex.Index.create()  # loads libclang
        return cindex
    except Exception as error:  # ImportError, or its own where libclang is not there
        raise Missing('faults are made with clang\'s Python module (Debian: python3-clang): '
                      f'{error}') from error
    finally:
        sys.path[:] = path


class Generator:
    """The faults of one file, of which `cursors` are at the top."""

    def __init__(self, cindex, tree, path, cursors):
        self.kinds = cindex.CursorKind
        self.types = cindex.TypeKind
        self.internal = cindex.LinkageKind.INTERNAL
        self.path = path
        file = tree / 'lib/rung' / path
        self.text = file.read_bytes().decode('ascii')  # offsets are in bytes
        self.code = NO_CODE.sub(lambda found: '_' * len(found[0]), self.text)
        self.header = path.endswith('.h')
        self.faults = []
        self.names = collections.Counter()
        self.loops = []  # (begin, end) of the heads of for loops
        for cursor in cursors:
            self.visit(cursor, None, False)
        self.faults.sort(key=lambda fault: fault.start)

    # ---- the tree ----

    def visit(self, cursor, function, everywhere):
        kinds, kind = self.kinds, cursor.kind
        if kind in (kinds.PARM_DECL, kinds.FIELD_DECL, kinds.STATIC_ASSERT, kinds.ENUM_DECL,
                    kinds.TYPEDEF_DECL, kinds.TYPE_ALIAS_DECL):
            return
        if kind in (kinds.CLASS_TEMPLATE, kinds.CLASS_TEMPLATE_PARTIAL_SPECIALIZATION,
                    kinds.FUNCTION_TEMPLATE):
            everywhere = True
        children = list(cursor.get_children())
        if kind in (kinds.FUNCTION_DECL, kinds.CXX_METHOD, kinds.CONSTRUCTOR, kinds.DESTRUCTOR,
                    kinds.CONVERSION_FUNCTION, kinds.FUNCTION_TEMPLATE):
            if not cursor.is_definition() or not children:
                return
            head = self.code[cursor.extent.start.offset:children[-1].extent.start.offset]
            everywhere |= cursor.linkage == self.internal or 'constexpr' in head
            function = self.here = self.name_of(cursor)
            self.everywhere = everywhere
            self.returns_early(cursor, children[-1])
        elif function:
            self.here, self.everywhere = function, everywhere
            if self.is_log(cursor):
                return
            self.expression(cursor, children)
            if kind.is_statement():
                for child in self.statements(cursor, children):
                    self.statement(child)
        for child in children:
            if not self.is_bound(cursor, child):
                self.visit(child, function, everywhere)

    def name_of(self, cursor):
        parent = cursor.semantic_parent
        spelling = cursor.spelling.partition('<')[0] if cursor.spelling[-1:] == '>' and \
            not cursor.spelling.startswith('operator') else cursor.spelling
        if parent is None or parent.kind in (self.kinds.NAMESPACE, self.kinds.TRANSLATION_UNIT):
            return spelling
        return f'{self.name_of(parent)}::{spelling}'

    def span(self, cursor):
        return cursor.extent.start.offset, cursor.extent.end.offset

    def source(self, cursor):
        return self.code[slice(*self.span(cursor))]

    def is_bound(self, cursor, child):
        """Whether `child` is the size of the array that `cursor` declares."""
        return cursor.kind == self.kinds.VAR_DECL and child.kind == self.kinds.INTEGER_LITERAL and \
            self.code[child.extent.end.offset:].startswith(']')

    def is_log(self, cursor):
        return cursor.kind.is_expression() and LOG.match(self.source(cursor)) is not None

    def bare(self, cursor):
        """Without what clang puts round it, and without parentheses."""
        while cursor.kind in (self.kinds.UNEXPOSED_EXPR, self.kinds.PAREN_EXPR):
            children = list(cursor.get_children())
            if len(children) != 1:
                break
            cursor = children[0]
        return cursor

    # ---- statements ----

    def brackets(self, cursor):
        """(begin, end) of what is in the first parentheses of an if, for, while or switch."""
        start = begin = self.code.index('(', cursor.extent.start.offset) + 1
        depth = 1
        while depth > 0:
            depth += {'(': 1, ')': -1}.get(self.code[start], 0)
            start += 1
        return begin, start - 1

    def statements(self, cursor, children):
        """Those of the children that are statements of their own, and no condition."""
        kinds = self.kinds
        if cursor.kind == kinds.COMPOUND_STMT:
            return children
        if cursor.kind in (kinds.IF_STMT, kinds.FOR_STMT, kinds.CXX_FOR_RANGE_STMT,
                           kinds.WHILE_STMT, kinds.SWITCH_STMT):
            _, end = self.brackets(cursor)
            return [child for child in children if child.extent.start.offset > end]
        if cursor.kind == kinds.DO_STMT:
            return children[:1]
        if cursor.kind in (kinds.CASE_STMT, kinds.DEFAULT_STMT):
            return children[-1:]
        return []

    def statement(self, cursor):
        kinds, text = self.kinds, self.source(cursor)
        if cursor.kind == kinds.DECL_STMT:
            if any('Lock' in child.type.spelling for child in cursor.get_children()):
                self.add('lock', *self.span(cursor), '')
        elif cursor.kind.is_expression():
            if not re.fullmatch(r'\(void\)\w+|static_cast<void>\(0\)', text):
                self.add('drop', *self.span(cursor), '')
        elif cursor.kind in (kinds.BREAK_STMT, kinds.CONTINUE_STMT) or text == 'return':
            self.add('drop', *self.span(cursor), '')

    def returns_early(self, function, body):
        if body.kind != self.kinds.COMPOUND_STMT:
            return
        statements = list(body.get_children())
        place = body.extent.start.offset + 1
        result = function.result_type.get_canonical().kind
        types = self.types
        if function.kind in (self.kinds.CONSTRUCTOR, self.kinds.DESTRUCTOR) or result == types.VOID:
            values = ['']
            if len(statements) < 2:  # the same as without its statement
                return
        elif result == types.BOOL:
            values = [' true', ' false'] if len(statements) > 1 else []
        elif result in (types.LVALUEREFERENCE, types.RVALUEREFERENCE) or not statements:
            values = []
        else:
            values = [' {}']
        for value in values:
            self.add('early', place, place, f' return{value};')

    # ---- expressions ----

    def expression(self, cursor, children):
        kinds, kind = self.kinds, cursor.kind
        start, end = self.span(cursor)
        text = self.code[start:end]
        if kind in (kinds.BINARY_OPERATOR, kinds.COMPOUND_ASSIGNMENT_OPERATOR):
            if len(children) == 2:
                self.between(*children)
        elif kind == kinds.CALL_EXPR and cursor.spelling.startswith('operator'):
            arguments = list(cursor.get_arguments())
            if len(arguments) == 2:
                self.between(*arguments)
        elif kind == kinds.UNARY_OPERATOR:
            self.unary(start, end, text)
        elif kind == kinds.INTEGER_LITERAL:
            number = NUMBER.match(text)
            if number and (text == '0' or text[0] != '0'):
                value = int(number[1].replace("'", ''))
                for other in (value + 1, value - 1):
                    if other >= 0:
                        self.add('constant', start, end, f'{other}{number[2]}')
        elif kind == kinds.CXX_BOOL_LITERAL_EXPR and text in ('true', 'false'):
            self.add('bool', start, end, 'false' if text == 'true' else 'true')
        elif kind == kinds.RETURN_STMT and children:
            self.returned(children[0])
        elif kind in (kinds.IF_STMT, kinds.WHILE_STMT, kinds.FOR_STMT, kinds.CONDITIONAL_OPERATOR,
                      kinds.DO_STMT):
            self.condition(cursor, children)

    def between(self, left, right):
        begin, end = left.extent.end.offset, right.extent.start.offset
        token = self.code[begin:end].strip() if begin < end else ''
        place = self.code.find(token, begin) if token else begin
        for new in COMPARE.get(token, ()):
            self.add('compare', place, place + len(token), new)
        if token in OTHER:
            operator, new = OTHER[token]
            self.add(operator, place, place + len(token), new)

    def unary(self, start, end, text):
        if re.match(r'!(?!=)', text):
            self.add('not', start, start + 1, '')
        for token in ('++', '--'):
            # In the head of a for, it only makes an endless loop.
            if any(begin <= start < last for begin, last in self.loops):
                continue
            if text.startswith(token):
                self.add('sign', start, start + 2, OTHER[token][1])
            elif text.endswith(token):
                self.add('sign', end - 2, end, OTHER[token][1])

    def returned(self, value):
        value_is = self.bare(value)
        if value_is.type.get_canonical().kind != self.types.BOOL or \
                value_is.kind == self.kinds.CXX_BOOL_LITERAL_EXPR:
            return
        for new in ('true', 'false'):
            self.add('bool', *self.span(value), new)

    def condition(self, cursor, children):
        """An if, a loop or a ?: asks the opposite, unless another operator makes it ask that."""
        kinds = self.kinds
        if cursor.kind == kinds.CONDITIONAL_OPERATOR:
            asked = children[0]
        elif cursor.kind == kinds.DO_STMT:
            asked = children[1]
        else:
            begin, end = self.brackets(cursor)
            inside = [child for child in children
                      if child.kind.is_expression() and begin <= child.extent.start.offset < end]
            if cursor.kind == kinds.FOR_STMT:
                self.loops.append((begin, end))
                first = self.code.find(';', begin)
                second = self.code.find(';', first + 1)
                inside = [child for child in inside if first < child.extent.start.offset < second]
            if not inside or inside[-1].extent.end.offset > end:
                return
            asked = inside[-1]
        start, end = self.span(asked)
        bare = self.bare(asked)
        text = self.source(bare)
        if bare.kind == kinds.UNARY_OPERATOR and text.startswith('!'):
            return
        if bare.kind in (kinds.BINARY_OPERATOR, kinds.CALL_EXPR) and self.compares(bare):
            return
        self.add('negate', start, end, f'!({self.text[start:end]})')

    def compares(self, cursor):
        operands = list(cursor.get_arguments() if cursor.kind == self.kinds.CALL_EXPR
                        else cursor.get_children())
        if len(operands) != 2:
            return False
        return self.code[operands[0].extent.end.offset:
                         operands[1].extent.start.offset].strip() in COMPARE

    # ---- the result ----

    def add(self, operator, start, end, new):
        """Nothing for code that a macro made, which has no place in the text, and nothing for what
        a template requires, which not all versions of clang show.
        """
        required = self.code.rfind('requires', 0, start)
        if end < start or (start == end and not new) or (
                required >= 0 and not re.search('[;{]', self.code[required:start])):
            return
        first = self.text.rfind('\n', 0, start) + 1
        last = self.text.find('\n', end)
        before = self.text[first:last]
        after = self.text[first:start] + new + self.text[end:last]
        name = f'{self.path} {self.here} {operator}: `{shown(before)}` becomes `{shown(after)}`'
        self.names[name] += 1
        if self.names[name] > 1:
            name += f' ({self.names[name]})'
        self.faults.append(Fault(
            self.path, name, self.text[start:end], new, OPERATORS[operator], (), start, operator,
            self.header and self.everywhere))


def shown(lines):
    line = ' '.join(lines.split())
    return line if len(line) <= LONGEST else line[:LONGEST] + ' …'


def parse(cindex, tree, paths):
    """What is at the top of each of these files, which one unit includes."""
    text = ''.join(f'#include "rung/{path}"\n' for path in paths)
    unit = cindex.Index.create().parse(
        'all.cc', args=['-x', 'c++', '-std=c++20', f'-I{tree / "lib"}'],
        unsaved_files=[('all.cc', text)])
    for message in unit.diagnostics:
        if message.severity >= cindex.Diagnostic.Error:
            sys.exit(f'tools/mutate: clang cannot read {message.location.file}: {message}')
    cursors = collections.defaultdict(list)
    for cursor in unit.cursor.get_children():
        if cursor.location.file:
            cursors[cursor.location.file.name].append(cursor)
    return {path: cursors[str(tree / 'lib/rung' / path)] for path in paths}


def generate(tree, paths):
    """The faults of these files of lib/rung, in the order of the files."""
    cindex = module()
    units = [[path] for path in paths if path.endswith('.cc')]
    units.append([path for path in paths if path.endswith('.h')])
    return [fault for unit in units for path, cursors in parse(cindex, tree, unit).items()
            for fault in Generator(cindex, tree, path, cursors).faults]


def sources(tree):
    root = tree / 'lib/rung'
    return sorted(str(path.relative_to(root)) for path in root.rglob('*.*')
                  if path.suffix in ('.cc', '.h'))
