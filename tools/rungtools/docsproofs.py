"""Claims and their proofs: named tests, promises, interview answers."""

import re

from . import cppscan, interview, stages
from .docspages import DocsError, Problem
from .docsquote import STRING, near, test_names, unquoted


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
        elif ': ' in link.text and link.text != link.title:
            yield Problem(document.name, link.line, 'test',
                          f'shows the name "{link.text}" for "{link.title}"')
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


def check_case_counts(context, document):
    """A chapter that says "27 test cases" means its stage."""
    page = re.match(r'docs/tutorial/(\d\d)-', document.name)
    stage = next((s for s in context.tree.stages if page and s.number == page[1]), None)
    for said in re.finditer(r'\b(\d+) test cases\b', document.prose) if stage else ():
        count = sum(stages.test_case_count(stage.test_path(test)) for test in stage.tests)
        if int(said[1]) != count:
            yield Problem(document.name, document.line_at(said.start()), 'cases',
                          f'says {said[1]} test cases; stage {stage.number} has {count}')


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
                          'write [name of the test](PATH "name of the test")')


def check_interview(context, documents):
    """Each question has all its parts, and proofs of the kinds that it says."""
    questions = [question for document in documents if interview.is_page(document)
                 for question in interview.questions_of(document)]
    if questions:
        context.count('questions', len(questions))
    for question, text in interview.problems(questions):
        yield Problem(question.page, question.line, 'question', f'"{question.title}": {text}')


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
