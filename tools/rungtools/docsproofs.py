"""Claims and their proofs: named tests, promises, interview answers."""

import re
from functools import cache

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


@cache
def cases_of(context):
    """By stage and test: how many cases the file has, and whether a run may have others. A template
    is one case in the file, and one for each type in a run; a skipped one is none."""
    return {(stage.number, test): (stages.test_case_count(path),
                                   re.search(r'TEST_CASE_TEMPLATE|skipped:', stages.read(path)))
            for stage in context.tree.stages for test in stage.tests
            for path in [stage.test_path(test)]}


def check_case_counts(context, document):
    """A chapter that says "27 test cases" means its stage; a recorded run has the cases of now."""
    page = re.match(r'docs/tutorial/(\d\d)-', document.name)
    if not page:
        return
    cases = cases_of(context)
    of_stage = sum(count for (number, _), (count, _) in cases.items() if number == page[1])
    for said in re.finditer(r'\b(\d+) test cases\b', document.prose):
        if int(said[1]) != of_stage:
            yield Problem(document.name, document.line_at(said.start()), 'cases',
                          f'says {said[1]} test cases; stage {page[1]} has {of_stage}')
    for mark in document.marks:
        if mark.kind != 'output' or mark.block is None:
            continue
        shown = [match.groups() for match in
                 re.finditer(r'rung:stage(\d\d) / (\w+) +OK .* (\d+) subtests', mark.block.text)]
        one = re.search(r"build/(\d\d)/.*--source-file='\*(\w+)_test\.cc'", mark.argument)
        plan = re.search(r'^1\.\.(\d+)$', mark.block.text, re.M)
        if one and plan:
            shown.append((*one.groups(), plan[1]))
        for number, test, count in shown:
            known, varies = cases.get((number, test), ('no such test', None))
            if known != int(count) and not varies:
                yield Problem(document.name, mark.index + 1, 'cases',
                              f'shows {count} cases of {test}; stage {number} has {known}; '
                              'run `tools/docs refresh`')


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
