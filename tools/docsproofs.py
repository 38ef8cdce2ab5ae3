"""Claims and their proofs: named tests, promises, interview answers."""

import re

import cppscan
from docslib import DocsError, Problem
from docsquote import STRING, near, test_names, unquoted

MAN_PAGE = re.compile(r'\b[a-z_][a-z0-9_]*\([1-8]\)')
KNOWN_BY = ('demonstrated', 'measured', 'cited')


def test_links(context, document):
    """(link, path of the file, whether the test is there) of each link that names a test."""
    for link in document.links:
        path = project_path(context, document, link.target)
        if link.title and path and path.endswith(('.cc', '.py')) and 'tests' in path.split('/'):
            try:
                names = test_names(context, path)
            except DocsError:
                continue  # a dead link is reported as one
            yield link, path, names


def project_path(context, document, target):
    """A link's target as a path from the root; None where it leads elsewhere."""
    if re.match(r'[a-z][a-z+.-]+:', target):
        return None
    where = (document.path.parent / target.partition('#')[0]).resolve()
    root = context.root.resolve()
    return where.relative_to(root).as_posix() if where.is_relative_to(root) else None


def check_tests(context, document):
    """Each test that a link or a mark names exists."""
    for link, path, names in test_links(context, document):
        context.count('tests')
        if link.title not in names:
            yield Problem(document.name, link.line, 'test',
                          f'{path} has no test "{link.title}"{near(link.title, names)}')
    for mark in document.marks:
        if mark.kind == 'test':
            context.count('tests')
            match = re.fullmatch(rf'(\S+) +({STRING})', mark.argument)
            try:
                if not match:
                    raise DocsError(f'`{mark.argument}` is not PATH "name of the test"')
                names = test_names(context, match[1])
                if unquoted(match[2]) not in names:
                    raise DocsError(f'{match[1]} has no test {match[2]}'
                                    f'{near(match[2], names)}')
            except DocsError as error:
                yield Problem(document.name, mark.index + 1, 'test', str(error))


def check_guarantees(context, document):
    """Each bullet that begins with a bold promise links to a test."""
    proved = [link.position for link, _, names in test_links(context, document)
              if link.title in names]
    prose = document.prose
    for bullet in re.finditer(r'^- \*\*(.+?)\*\*.*?(?=^- |^#|\Z)', prose, re.M | re.S):
        context.count('promises')
        if not any(bullet.start() <= position < bullet.end() for position in proved):
            text = document.visible[bullet.start(1):bullet.end(1)]
            yield Problem(document.name, document.line_at(bullet.start()), 'promise',
                          f'no test is linked to "{" ".join(text.split())}"; '
                          'write [test](PATH "name of the test")')


def check_interview(context, document):
    """Each question says how its answer is known, with a proof of that kind."""
    links = list(test_links(context, document))
    tests = [link.position for link, _, names in links if link.title in names]
    benches = [link.position for link in document.links
               if re.match(r'bench/|docs/performance\.md$',
                           project_path(context, document, link.target) or '')]
    prose = document.prose
    for question in re.finditer(r'^## +(.+?)$(.*?)(?=^## |\Z)', prose, re.M | re.S):
        context.count('questions')
        title = document.visible[question.start(1):question.end(1)]
        known = re.search(r'^\*\*How it is known:\*\* *(.*?)(?=\n[ \t]*\n|^#|\Z)', question[2],
                          re.M | re.S)
        where = document.line_at(question.start())
        if not known:
            yield Problem(document.name, where, 'question',
                          f'"{title}" has no line `**How it is known:** …`')
            continue
        start, end = (question.start(2) + known.start(1), question.start(2) + known.end(1))
        shown = document.visible[start:end]
        proofs = {'demonstrated': any(start <= p < end for p in tests),
                  'measured': any(start <= p < end for p in benches),
                  'cited': bool('https://' in shown or MAN_PAGE.search(shown))}
        wanted = [word for word in KNOWN_BY if re.search(rf'\b{word}\b', shown)]
        if not wanted:
            yield Problem(document.name, where, 'question',
                          f'"{title}" does not say {", ".join(KNOWN_BY[:2])} or {KNOWN_BY[2]}')
        for word in wanted:
            if not proofs[word]:
                yield Problem(document.name, where, 'question',
                              f'"{title}" is {word}, and names no {PROOF_OF[word]}')


PROOF_OF = {'demonstrated': 'test: [test](PATH "name of the test")',
            'measured': 'benchmark: a link into bench/ or to docs/performance.md',
            'cited': 'source: a manual page as epoll_ctl(2), or a link to the web'}


def is_interview_page(document):
    return document.name.startswith('docs/interview/') and \
        document.path.stem.lower() not in ('readme', 'index')


def check_facts(context, documents):
    """Each test case in tests/facts/ is cited by a page of docs/interview/."""
    folder = context.root / 'tests' / 'facts'
    if not (context.root / 'docs' / 'interview').is_dir() or not folder.is_dir():
        return
    cited = {(path, link.title) for document in documents
             if document.name.startswith('docs/interview/')
             for link, path, _ in test_links(context, document)}
    for source in sorted(folder.glob('**/*.cc')):
        path, text = source.relative_to(context.root).as_posix(), source.read_text()
        for name, position in cppscan.test_names(text).items():
            context.count('facts')
            if (path, name) not in cited:
                yield Problem(path, text.count('\n', 0, position) + 1, 'fact',
                              f'no page of docs/interview cites "{name}"')
