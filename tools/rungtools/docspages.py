"""Markdown as tools/docs sees it: marks and the blocks below them, prose, headings, links."""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from . import stages

MARK = re.compile(r'<!-- (?P<kind>[a-z-]+)(?:\((?P<options>[^)]*)\))?: (?P<argument>.*\S) -->$')
FENCE = re.compile(r'(?P<indent> *)(?P<ticks>`{3,})(?P<language>[\w-]*)\s*$')
COMMENT = re.compile(r'<!--.*?-->', re.S)
PARAGRAPH = r'(?:(?!\n[ \t]*\n).)+?'  # inline markup ends with its paragraph
CODE_SPAN = re.compile(rf'(?<!`)(`+)(?!`)({PARAGRAPH})(?<!`)\1(?!`)', re.S)
LINK = re.compile(r'\]\(\s*(?P<target>[^)\s]+)'
                  r'(?:\s+(?:"(?P<title>(?:[^"\\]|\\.)*)"|\'(?P<other>(?:[^\'\\]|\\.)*)\'))?\s*\)')
DEFINITION = re.compile(r'^ {0,3}\[[^\]]+\]: +(?P<target>\S+)(?: +"(?P<title>[^"]*)")?', re.M)
HEADING = re.compile(r'^#{1,6} +(.*?)(?: +#+)? *$', re.M)
ANCHOR = re.compile(r'<a (?:id|name)="([^"]+)"')


class DocsError(Exception):
    """A mark cannot be followed: the text says what is wrong, and names what it is about."""


@dataclass
class Problem:
    """One thing that is not so: where, which rule, and what to do."""
    document: str
    line: int
    rule: str
    text: str

    def __str__(self):
        return f'{self.document}:{self.line}: {self.rule}: {self.text}'


@dataclass
class Block:
    """A fenced block: the indices of its two fences among the lines, and what is between them."""
    first: int
    last: int
    language: str
    text: str


@dataclass
class Mark:
    """A line `<!-- KIND(OPTIONS): ARGUMENT -->`, and the block that follows it, if one does."""
    index: int
    kind: str
    options: str
    argument: str
    block: Block | None


@dataclass
class Link:
    line: int
    position: int
    target: str
    title: str
    text: str


class Document:
    """One Markdown file, taken apart."""

    def __init__(self, root, path):
        self.path = path
        self.name = path.relative_to(root).as_posix()
        self.text = path.read_text(encoding='utf-8')
        self.lines = self.text.splitlines()
        self.blocks = list(find_blocks(self.lines))
        self.fenced = {index for block in self.blocks
                       for index in range(block.first, block.last + 1)}
        self.marks = list(self.find_marks())

    def find_marks(self):
        opening = {block.first: block for block in self.blocks}
        for index, line in enumerate(self.lines):
            match = MARK.match(line)
            if match and index not in self.fenced:
                yield Mark(index, match['kind'], match['options'] or '', match['argument'],
                           opening.get(index + 1))

    @cached_property
    def visible(self):
        """The text without fenced blocks and comments, every line in place."""
        lines = list(self.lines)
        for block in self.blocks:
            lines[block.first:block.last + 1] = [''] * (block.last + 1 - block.first)
        return COMMENT.sub(lambda m: re.sub(r'[^\n]', ' ', m[0]), '\n'.join(lines))

    @cached_property
    def prose(self):
        """What is visible, with code spans blanked out: no links are in there."""
        return CODE_SPAN.sub(lambda m: re.sub(r'[^\n]', 'x', m[0]), self.visible)

    def line_at(self, position):
        return self.prose.count('\n', 0, position) + 1

    @cached_property
    def links(self):
        found = []
        for match in [*LINK.finditer(self.prose), *DEFINITION.finditer(self.prose)]:
            groups = match.groupdict()
            quoted = next((g for g in ('title', 'other') if groups.get(g)), None)
            # From what is visible: a title may hold what looks like a code span.
            title = self.visible[match.start(quoted):match.end(quoted)] if quoted else ''
            text = self.visible[self.visible.rfind('[', 0, match.start()) + 1:match.start()]
            title, text = (re.sub(r'\\(.)', r'\1', ' '.join(s.split())) for s in (title, text))
            found.append(Link(self.line_at(match.start()), match.start(), match['target'], title,
                              text))
        return found

    @cached_property
    def anchors(self):
        """The names that GitHub gives to the headings, and those set by hand."""
        seen, names = {}, set(ANCHOR.findall(self.visible))
        for heading in HEADING.findall(self.visible):
            name = slug(heading)
            count = seen[name] = seen.get(name, -1) + 1
            names.add(f'{name}-{count}' if count else name)
        return names


def slug(heading):
    """GitHub's rule: lower case, spaces to hyphens, no other punctuation."""
    text = re.sub(r'!?\[([^\]]*)\]\([^)]*\)', r'\1', heading)
    return re.sub(r'[^\w\- ]', '', text.lower()).replace(' ', '-')


def find_blocks(lines):
    opening = None
    for index, line in enumerate(lines):
        match = FENCE.match(line)
        if opening is None and match:
            opening, first = match, index
        elif opening and match and not match['language'] and \
                len(match['ticks']) >= len(opening['ticks']):
            text = ''.join(text + '\n' for text in lines[first + 1:index])
            yield Block(first, index, opening['language'], text)
            opening = None


class Context:
    """The tree that the documents are about, what the user asked for, and what was counted."""

    def __init__(self, root, build=None, refresh=False):
        self.root = root
        self.build = build
        self.refresh = refresh
        self.commit = None  # that of a refresh
        self.counts = {}
        self.messages = []
        self.documents = {}

    def count(self, what, number=1):
        self.counts[what] = self.counts.get(what, 0) + number

    def say(self, message):
        """To the user, once."""
        if message not in self.messages:
            self.messages.append(message)

    def document(self, path):
        if path not in self.documents:
            self.documents[path] = Document(self.root, path)
        return self.documents[path]

    @cached_property
    def tree(self):
        """The stages; one without any where the tree has none."""
        if not (self.root / 'stages' / 'meson.build').is_file():
            return stages.Tree(self.root)
        return stages.load_tree(self.root)

    def file(self, path):
        """A file of the project, by its path from the root."""
        source = self.root / path
        if not source.is_file():
            raise DocsError(f'there is no {path}')
        return source

    def read(self, path):
        return self.file(path).read_text(encoding='utf-8')


def document_paths(root):
    """All Markdown files that people read; stages/*/STAGE.md is the business of tools/stage."""
    return sorted([*root.glob('*.md'), *root.glob('docs/**/*.md'), *root.glob('examples/**/*.md'),
                   *root.glob('bench/**/*.md')])


# Links.

def check_links(context, document):
    for link in document.links:
        if re.match(r'[a-z][a-z+.-]+:', link.target):  # https:, mailto:
            continue
        context.count('links')
        fault = link_fault(context, document, link.target)
        if fault:
            yield Problem(document.name, link.line, 'link', fault)


def link_fault(context, document, target):
    """What is wrong with a link; None if nothing is."""
    path, _, anchor = target.partition('#')
    where = (document.path.parent / path).resolve() if path else document.path
    if not where.exists():
        return f'there is no {path}'
    if not where.is_relative_to(context.root.resolve()):
        return f'{path} leads out of the project'
    if not anchor:
        return None
    if where.suffix == '.md':
        page = document if where == document.path.resolve() else other_page(context, where)
        if anchor in page.anchors:
            return None
        return f'no heading of {page.name} is called #{anchor}; it has ' + \
            (', '.join('#' + name for name in sorted(page.anchors)) or 'none')
    lines = re.fullmatch(r'L(\d+)(?:-L(\d+))?', anchor)
    if not lines or where.is_dir():
        return f'#{anchor} is not of the form #L10'
    last = max(int(number) for number in lines.groups() if number)
    if last > stages.line_count(where):
        return f'{path} has {stages.line_count(where)} lines, and no #{anchor}'
    return None


def other_page(context, path):
    return context.document(context.root / Path(path).relative_to(context.root.resolve()))
