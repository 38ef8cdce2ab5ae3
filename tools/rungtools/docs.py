"""Keeps the documents true to the code.

    tools/docs check  [FILE...]    says what is not so, and exits 1
    tools/docs update [FILE...]    writes the blocks that marks ask for; then checks
    tools/docs refresh [FILE...]   as update, and records pinned outputs anew; builds the stages that
                                   their commands name, in build/NN

  --build DIR   a build directory, for outputs whose command holds $BUILD; without it they are
                skipped, with a message

A mark is a comment on a line of its own. `update` writes the fenced block below it, and adds one
where there is none; never edit such a block by hand.

  <!-- file: PATH -->               the whole file
  <!-- code: PATH SYMBOL -->        a symbol of a C++ or Python file, with the comment on top of it:
      TcpConnection::sendInLoop     a function; in a header its declaration or inline definition
      class Mailbox, enum Next      a type; also a variable, an alias, a macro by its name
      send(2), send(std::string&&)  the second overload; the one whose parameters hold this text;
                                    f() has none. An ambiguous name is refused, with the candidates
      "name of a test case"         a doctest case, or a Python test by name or docstring
  <!-- code: PATH SYMBOL from "A" to "B" -->    part of it: from the only line that holds A to the
                                    next one that holds B. Without SYMBOL, of any file (Meson, sh)
  <!-- output: COMMAND -->          what it prints, stdout and stderr, in the root of the tree within
                                    30 s; check runs it again. A first line `$ COMMAND` shows the
                                    command, with build/test for $BUILD, or build/NN in the chapter
                                    of stage NN. `…` stands for any text in a line, alone on a line
                                    for any lines; update keeps it as long as the rest is true
  <!-- output(pinned): COMMAND -->  recorded by `refresh` only, which writes at which commit:
                                    output(pinned at 1234567). check sees that the programs
                                    and paths that it names exist
  <!-- output(exit 1): COMMAND -->  the exit status that is expected, if not 0; also (pinned, exit 1)
  <!-- stage-files: NN -->          a table: the stage's files, new and replaced, with their lines
  <!-- step: NN/ID -->              an exercise of tools/learn: goal, function, cases and hints, up to
                                    <!-- end of step -->; a chapter that has one has all of its stage
  <!-- test: PATH "name" -->        the test must exist
  <!-- names: a b c -->             words in backticks that this page may use although they do not
                                    exist; one that is not needed is refused
  <!-- id: WORD -->                what tools/quiz calls the question above it

Also checked:
  links      the target exists; #anchor is a heading there by GitHub's rule; #L10 is a line there
  tests      a link to a test file whose title names a test: [test](../x_test.cc "name of the case");
             a text with a colon in it is the name, too
  cases      docs/tutorial/NN-*.md: "27 test cases" is the number of stage NN, and the run of a
             stage's tests that a block shows has the cases of now
  names      docs/tutorial/NN-*.md: what stands in backticks exists in stages 01 to NN (see
             tools/rungtools/docsnames.py): identifiers, Class::member, files. Not checked: std::
             names, manual pages as read(2), capitals but LOG_ and RUNG_, flags, short lists of C++,
             system and shell words, what the page's own cpp blocks hold, a section "In
             production", `name` (muduo). Of another stage: `name` (stage 06)
  diagrams   mermaid: the first word; all of it if node finds the packages mermaid and jsdom
  promises   docs/guarantees.md: each bullet `- **promise** …` has a test link
  questions  docs/interview/*.md: each `## question` has an id, the parts of an answer in order, and
             a line `**How it is known:** KINDS — PROOFS`: demonstrated by [name](PATH "name"),
             measured by [bench](PATH "name") or cited by a link to the web; each test case in
             tests/facts/ is cited by a page there
"""

import argparse
import sys
from pathlib import Path

from . import ROOT, docsmermaid, docsnames, docsoutput, docspages, docsproofs, docsquote, docssteps, stages
from .docspages import DocsError, Problem
from .process import BuildFailed

QUOTES = {'file': 'quoted-file', 'code': 'quoted-code'}
OTHERS = {'output', 'stage-files', 'test', 'names', 'id'}  # id: what tools/quiz calls a question


def quoted(context, mark):
    """(path, text) of what a mark quotes."""
    if mark.kind == 'file':
        return mark.argument, context.read(mark.argument)
    return docsquote.quoted_code(context, mark.argument)


# stage-files

def stage_table(context, number):
    """The rows of a chapter's table of files."""
    tree = context.tree
    if number not in [s.number for s in tree.stages]:
        raise DocsError(f'there is no stage {number}')
    stage = tree.find(number)
    link = f'../../stages/{stage.name}/'
    rows, total = ['| file | | lines | change |', '|---|---|---:|---|'], 0
    for path in [*tree.new_files(stage), *tree.replaced_files(stage)]:
        old, lines, change = tree.earlier(stage, path), stages.line_count(stage.dir / path), ''
        if old:
            added, removed = stages.diff_counts(old.dir / path, stage.dir / path)
            change = f'+{added} −{removed}'
        total += lines
        rows.append(f'| [{path}]({link}{path}) | {"replaced" if old else "new"} | {lines} '
                    f'| {change} |')
    return [*rows, f'| in all | | {total} | |']


def table_below(document, mark):
    """The indices of the table right below a mark."""
    first = last = mark.index + 1
    while last < len(document.lines) and document.lines[last].startswith('|'):
        last += 1
    return first, last


# check

def check_mark(context, document, mark):
    """What is wrong with a mark and its block, as (rule, text); None if nothing is."""
    try:
        if mark.kind in QUOTES:
            path, text = quoted(context, mark)
            context.count('quotes')
            if mark.block is None:
                return QUOTES[mark.kind], f'no block follows the mark of {mark.argument}'
            if mark.block.text != text:
                return QUOTES[mark.kind], f'differs from {path}; run `tools/docs update`'
        elif mark.kind == 'output':
            if mark.block is None:
                return 'output', f'no block follows the mark of {mark.argument}'
            docsoutput.check(context, document, mark)
        elif mark.kind == 'stage-files':
            first, last = table_below(document, mark)
            context.count('tables')
            if document.lines[first:last] != stage_table(context, mark.argument):
                return 'stage-files', 'the table is not up to date; run `tools/docs update`'
        elif mark.kind == 'step':
            first, last = docssteps.span_below(document, mark)
            context.count('steps')
            if document.lines[first:last] != docssteps.lines_of(context, mark.argument):
                return 'step', f'{mark.argument} is not as its exercise has it; run `tools/docs update`'
        elif mark.kind not in OTHERS:
            return 'mark', f'"{mark.kind}" is no kind of mark'
    except DocsError as error:
        return QUOTES.get(mark.kind, mark.kind), str(error)
    return None


def check_document(context, document):
    for mark in document.marks:
        fault = check_mark(context, document, mark)
        if fault:
            yield Problem(document.name, mark.index + 1, *fault)
    marked = {id(mark.block) for mark in document.marks}
    for block in document.blocks:
        if document.name.startswith('docs/tutorial/') and id(block) not in marked and \
                block.language == 'console':
            yield Problem(document.name, block.first + 1, 'output',
                          'a console block shows output, so it needs a mark: <!-- output: … -->')
    yield from docspages.check_links(context, document)
    yield from docsproofs.check_tests(context, document)
    yield from docsproofs.check_case_counts(context, document)
    yield from docsnames.check(context, document)
    yield from docssteps.check(context, document)
    if document.name == 'docs/guarantees.md':
        yield from docsproofs.check_guarantees(context, document)


def check(context, documents, whole):
    problems = [p for document in documents for p in check_document(context, document)]
    problems += [*docsmermaid.check(context, documents),
                 *docsproofs.check_interview(context, documents)]
    if whole:
        problems += docsproofs.check_facts(context, documents)
    return sorted(problems, key=lambda p: (p.document, p.line))


# update

def new_lines(context, document, mark):
    """(first, last, lines) by which a mark's block or table is replaced; None to leave it."""
    if mark.kind == 'stage-files':
        return *table_below(document, mark), stage_table(context, mark.argument)
    if mark.kind == 'step':
        return *docssteps.span_below(document, mark), docssteps.lines_of(context, mark.argument)
    if mark.kind in QUOTES:
        path, text = quoted(context, mark)
        language = mark.block.language if mark.block else docsquote.language_of(context, path)
    elif mark.kind == 'output':
        text = docsoutput.updated(context, document, mark)
        language = mark.block.language if mark.block else 'console'
    else:
        return None
    if text is None:
        return None
    fence = '````' if '\n```' in '\n' + text else '```'
    first, last = (mark.block.first, mark.block.last + 1) if mark.block else [mark.index + 1] * 2
    return first, last, [fence + language, *text.splitlines(), fence]


def update(context, document):
    """Writes it. Returns how many outputs could not be recorded."""
    edits, failed = [], 0
    for mark in document.marks:
        try:
            edit = new_lines(context, document, mark)
        except DocsError as error:
            if context.refresh:  # else the check that follows reports it
                print(f'{document.name}:{mark.index + 1}: {error}', file=sys.stderr)
                failed += 1
            continue
        if edit:
            if mark.kind == 'output' and context.refresh:
                line = docsoutput.stamped(context, document.lines[mark.index])
                edits.append((mark.index, mark.index + 1, [line]))
            edits.append(edit)
    lines = list(document.lines)
    for first, last, wanted in reversed(edits):
        lines[first:last] = wanted
    if lines != document.lines:
        document.path.write_text('\n'.join(lines) + '\n', encoding='utf-8')
        print(f'wrote {document.name}')
    return failed


# Command line

def parse_arguments():
    parser = argparse.ArgumentParser(prog='tools/docs', description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--root', type=Path, default=ROOT,
                        help='another tree')
    parser.add_argument('--build', type=Path, metavar='DIR', help='what $BUILD stands for')
    parser.add_argument('command', choices=['check', 'update', 'refresh'])
    parser.add_argument('files', nargs='*', type=Path, metavar='FILE',
                        help='some documents only (all)')
    arguments = parser.parse_args()
    if arguments.build and not arguments.build.is_dir():
        parser.error(f'--build {arguments.build}: there is no such directory')
    for path in arguments.files:
        if not path.is_file() or not path.resolve().is_relative_to(arguments.root.resolve()):
            parser.error(f'{path} is no document of {arguments.root}')
    return arguments


def main():
    arguments = parse_arguments()
    root = arguments.root.resolve()
    paths = [p.resolve() for p in arguments.files] or docspages.document_paths(root)
    context = docspages.Context(root, arguments.build, arguments.command == 'refresh')
    failed = 0
    if arguments.command != 'check':
        if context.refresh:
            try:
                docsoutput.prepare(context, [context.document(path) for path in paths])
            except BuildFailed as error:
                print(f'tools/docs: {error}', file=sys.stderr)
                return 1
        failed = sum(update(context, context.document(path)) for path in paths)
        context = docspages.Context(root, arguments.build)
    problems = check(context, [context.document(p) for p in paths], not arguments.files)
    for problem in problems:
        print(problem, file=sys.stderr)
    for message in context.messages:
        print(message)
    if not problems:
        counts = ''.join(f', {number} {what}' for what, number in sorted(context.counts.items()))
        print(f'docs check: {len(paths)} documents{counts}; no violation')
    return 1 if problems or failed else 0
