"""The interview pages as data, and how their proofs are run. For tools/quiz and tools/docs."""

import dataclasses
import json
import pathlib
import re
import shlex
import subprocess

from . import claims, cppscan
from .docspages import Document
from .process import doctest_filter, ninja, set_up

PARTS = ('In 30 seconds.', 'In full.', 'They ask next.', 'Often wrong.', 'How it is known:',
         'Run it:')
PART = re.compile(r'^\*\*(' + '|'.join(re.escape(part) for part in PARTS) + r')\*\*', re.M)
ID = re.compile(r'<!-- id: (\S+) -->')
PROOF = re.compile(r'\[([^\]]+)\]\(([^)\s]+)\s+"([^"]+)"\)')  # [bench] or a test's name
CITATION = re.compile(r'\[([^\]]+)\]\((https?://[^)\s]+)\)')
RECORD = re.compile(r'\[([^\]]+)\]\(([^)\s]*performance\.md#[^)\s]+)\)')
# What is said of how an answer is known, and the kind of proof that it takes. A benchmark that is
# linked and claims nothing was only seen, on a machine and a day that the answer names.
KINDS = {'demonstrated': 'test', 'measured': 'bench', 'seen': 'seen', 'recorded': 'record',
         'cited': 'cite'}
SEEN = re.compile(r'[Ss]een\s+\([^)]*\b20\d\d\b[^)]*\)')
NOT_RUN = ('cite', 'record')


class Failure(Exception):
    """Something that the user is told in one line."""


@dataclasses.dataclass(frozen=True)
class Proof:
    kind: str  # test; bench, of which there is a claim; seen, a benchmark without; record or cite
    path: pathlib.Path | str  # of the source file; or an address
    name: str

    def __str__(self):
        return f'{self.name}: {self.path}' if self.kind in NOT_RUN else f'{self.kind} "{self.name}"'


@dataclasses.dataclass
class Question:
    page: str  # its path from the root
    line: int
    id: str
    title: str
    parts: dict
    kinds: list
    proofs: list
    claims: list

    @property
    def theme(self):
        return pathlib.Path(self.page).stem


def is_page(document):
    return re.fullmatch(r'docs/interview/(?!README|index)[^/]+\.md', document.name, re.I)


def questions_of(document):
    """Each `## ` heading of a page, with what is below it."""
    heads = [number for number, line in enumerate(document.lines)
             if line.startswith('## ') and number not in document.fenced]
    for first, end in zip(heads, [*heads[1:], None]):
        body = '\n'.join(document.lines[first + 1:end])
        id_mark = ID.search(body)
        pieces = PART.split(body)
        parts = {name: text.strip() for name, text in zip(pieces[1::2], pieces[2::2])}
        known = parts.get('How it is known:', '')
        stated = claims.claims_in(known)
        claimed = set().union(*(claim.benchmarks for claim in stated))
        proofs = [Proof('test' if text != 'bench' else 'bench' if name in claimed else 'seen',
                        (document.path.parent / path).resolve(), name)
                  for text, path, name in PROOF.findall(known)]
        proofs += [Proof('record', address, name) for name, address in RECORD.findall(known)]
        proofs += [Proof('cite', address, name) for name, address in CITATION.findall(known)]
        kinds = [kind.strip() for kind in known.split('—')[0].split(',') if kind.strip()]
        yield Question(document.name, first + 1, id_mark[1] if id_mark else '',
                       document.lines[first][3:].strip(), parts, kinds, proofs, stated)


def load(root):
    """All questions of all pages, in the order of the index."""
    pages = [Document(root, page) for page in sorted((root / 'docs/interview').glob('*.md'))]
    if not pages:
        raise Failure(f'there are no pages in {root}/docs/interview')
    return [question for page in pages if is_page(page) for question in questions_of(page)]


def names_in(path):
    """The test cases or benchmarks of a source file."""
    text = path.read_text()
    return {*cppscan.test_names(text), *re.findall(r'BENCHMARK(?:_CAPTURE)?\((\w+)', text),
            *re.findall(r'->Name\("(\w+)"\)', text)}


def problems(questions):
    """(question, what is wrong with it); nothing if all is well."""
    seen = set()
    for question in questions:
        if not question.id:
            yield question, 'has no id'
        if question.id in seen:
            yield question, f'the id {question.id} is taken'
        seen.add(question.id)
        for part in PARTS:
            if not question.parts.get(part):
                yield question, f'part missing or empty: {part}'
        if list(question.parts) != [part for part in PARTS if part in question.parts]:
            yield question, 'the parts are not in order'
        if f'tools/quiz --prove {question.id}`' not in question.parts.get('Run it:', ''):
            yield question, f'the command does not name {question.id}'
        shown = {proof.kind for proof in question.proofs}
        if sorted(KINDS.get(kind, kind) for kind in question.kinds) != sorted(shown) or not shown:
            yield question, (f'says {", ".join(question.kinds) or "nothing"}, '
                             f'and has {", ".join(sorted(shown)) or "no proof"}')
        linked = {proof.name for proof in question.proofs if proof.kind == 'bench'}
        for name in sorted(set().union(*(c.benchmarks for c in question.claims)) - linked):
            yield question, f'claims something of {name}, and has no link to it'
        if 'seen' in shown and not any(SEEN.search(text) for text in question.parts.values()):
            yield question, ('has a benchmark of which it claims nothing (`a` > 2 × `b`), and does '
                             'not say "seen (machine, date)"')
        for proof in question.proofs:
            if proof.kind in NOT_RUN:
                continue
            if not proof.path.is_file():
                yield question, f'there is no {proof.path}'
            elif proof.name not in names_in(proof.path):
                yield question, f'{proof.path.name} has no {proof}'


# ---- running a proof ----

def targets_of(build, source):
    """Executables in a build directory that are made of `source`: [(name, path)]."""
    information = build / 'meson-info' / 'intro-targets.json'
    if not information.is_file():
        return []
    return [(target['name'], pathlib.Path(target['filename'][0]))
            for target in json.loads(information.read_text())
            if target['type'] == 'executable' and any(
                str(source) in group.get('sources', []) for group in target['target_sources'])]


def executable_for(proof, root, build_dir, say):
    """Where the program of a test or benchmark is, built if need be; and its build directory."""
    standing = [build_dir] if build_dir else [root / 'build' / name for name in ('test', 'quiz')]
    build = next((b for b in standing if targets_of(b, proof.path)), None)
    if build is None:
        build = standing[-1]
        say(f'setting up {build}')
        options = ['-Dstages=final', '-Dexamples=false', '-Dbench=true',
                   '--buildtype=debugoptimized']
        set_up(build, *options, source=root, again=True)
    targets = targets_of(build, proof.path)
    if not targets:
        needed = ' (benchmarks need libbenchmark-dev)' if proof.kind != 'test' else ''
        raise Failure(f'no program in {build} is made of {proof.path.name}{needed}')
    # A stage's tests are in two programs, the stage's own and that of lib/.
    name, path = next((t for t in targets if t[0] == 'lib-tests'), targets[0])
    say(f'building {name}; the first time takes a while')
    ninja(build, path.relative_to(build.resolve()))
    return path, build


def command_for(proof, program):
    if proof.kind != 'test':
        return [str(program), f'--benchmark_filter=^{proof.name}(/|$)',
                '--benchmark_min_time=0.1', '--benchmark_color=false']
    return [str(program), '--reporters=tap', doctest_filter(proof.name)]


def prove(proof, root, build_dir=None, say=print):
    """Runs one proof and shows what it prints. True if it holds; None if it cannot tell."""
    if proof.kind in NOT_RUN:
        say(f'{"cited" if proof.kind == "cite" else "recorded"}, not run: {proof.name}\n'
            f'       {proof.path}')
        return None
    program, build = executable_for(proof, root, build_dir, say)
    command = command_for(proof, program)
    say('$ ' + shlex.join(command))
    done = subprocess.run(command, cwd=build, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, check=False)
    say(done.stdout.rstrip())
    if proof.kind == 'test' and '\n1..0' in '\n' + done.stdout:
        raise Failure(f'{program.name} has no {proof}')
    return False if done.returncode else None if proof.kind == 'seen' else True


def prove_claims(question, root, build_dir=None, say=print):
    """Measures what an answer claims of benchmarks: True, False, or None if it was not decided."""
    proof = next(proof for proof in question.proofs if proof.kind == 'bench')
    program, _ = executable_for(proof, root, build_dir, say)
    return claims.judge(question.claims, claims.measure(program, question.claims, say), say)
