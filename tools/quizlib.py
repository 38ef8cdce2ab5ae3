"""The interview pages as data, and how their proofs are run. For tools/quiz."""

import dataclasses
import json
import pathlib
import re
import shlex
import shutil
import subprocess

PARTS = ('In 30 seconds.', 'In full.', 'They ask next.', 'Often wrong.', 'How it is known:',
         'Run it:')
PART = re.compile(r'^\*\*(' + '|'.join(re.escape(part) for part in PARTS) + r')\*\*', re.M)
ID = re.compile(r'<!-- id: (\S+) -->')
PROOF = re.compile(r'\[(test|bench)\]\(([^)\s]+)\s+"([^"]+)"\)')
CITATION = re.compile(r'\[([^\]]+)\]\((https?://[^)\s]+)\)')
# What is said of how an answer is known, and the kind of proof that it takes.
KINDS = {'demonstrated': 'test', 'measured': 'bench', 'cited': 'cite'}


class Failure(Exception):
    """Something that the user is told in one line."""


@dataclasses.dataclass(frozen=True)
class Proof:
    kind: str  # test, bench or cite
    path: pathlib.Path | str  # of the source file; or an address
    name: str

    def __str__(self):
        return f'{self.name}: {self.path}' if self.kind == 'cite' else f'{self.kind} "{self.name}"'


@dataclasses.dataclass
class Question:
    theme: str
    id: str
    title: str
    parts: dict
    kinds: list
    proofs: list


def folder(root):
    return root / 'docs' / 'interview'


def sections(text):
    """Title and body of each `## ` heading that is not in a code block."""
    found, fenced = [], False
    for line in text.splitlines():
        if line.startswith('```'):
            fenced = not fenced
        if line.startswith('## ') and not fenced:
            found.append((line[3:].strip(), []))
        elif found:
            found[-1][1].append(line)
    return [(title, '\n'.join(lines)) for title, lines in found]


def parse(page, title, body):
    id_mark = ID.search(body)
    pieces = PART.split(body)
    parts = {name: text.strip() for name, text in zip(pieces[1::2], pieces[2::2])}
    known = parts.get('How it is known:', '')
    proofs = [Proof(kind, (page.parent / path).resolve(), name)
              for kind, path, name in PROOF.findall(known)]
    proofs += [Proof('cite', address, name) for name, address in CITATION.findall(known)]
    kinds = [kind.strip() for kind in known.split('—')[0].split(',') if kind.strip()]
    return Question(page.stem, id_mark[1] if id_mark else '', title, parts, kinds, proofs)


def load(root):
    """All questions of all pages, in the order of the index."""
    pages = sorted(page for page in folder(root).glob('*.md') if page.stem != 'README')
    if not pages:
        raise Failure(f'there are no pages in {folder(root)}')
    return [parse(page, title, body) for page in pages
            for title, body in sections(page.read_text())]


def names_in(path):
    """The test cases or benchmarks of a source file; a name may be split over several lines."""
    text = path.read_text()
    tests = re.findall(r'TEST_CASE\w*\(\s*(?:\w+,\s*)?((?:"[^"\n]*"\s*)+)', text)
    names = {''.join(re.findall(r'"([^"\n]*)"', test)) for test in tests}
    names |= set(re.findall(r'BENCHMARK(?:_CAPTURE)?\((\w+)', text))
    return names | set(re.findall(r'->Name\("(\w+)"\)', text))


def problems(questions):
    """What is wrong with them, a line each; none if all is well."""
    found, seen = [], set()
    for question in questions:
        where = f'{question.theme}: {question.title}'
        if not question.id:
            found.append(f'{where}: has no id')
        if question.id in seen:
            found.append(f'{where}: the id {question.id} is taken')
        seen.add(question.id)
        found += [f'{where}: part missing or empty: {part}' for part in PARTS
                  if not question.parts.get(part)]
        if list(question.parts) != [part for part in PARTS if part in question.parts]:
            found.append(f'{where}: the parts are not in order')
        if f'tools/quiz --prove {question.id}`' not in question.parts.get('Run it:', ''):
            found.append(f'{where}: the command does not name {question.id}')
        shown = {proof.kind for proof in question.proofs}
        if sorted(KINDS.get(kind, kind) for kind in question.kinds) != sorted(shown) or not shown:
            found.append(f'{where}: says {", ".join(question.kinds) or "nothing"}, '
                         f'and has {", ".join(sorted(shown)) or "no proof"}')
        for proof in question.proofs:
            if proof.kind == 'cite':
                continue
            if not proof.path.is_file():
                found.append(f'{where}: there is no {proof.path}')
            elif proof.name not in names_in(proof.path):
                found.append(f'{where}: {proof.path.name} has no {proof}')
    return found


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


def run(command, what, cwd=None):
    """Runs something whose output is of interest only if it fails."""
    try:
        done = subprocess.run(command, cwd=cwd, text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, check=False)
    except FileNotFoundError:
        raise Failure(f'{what} needs {command[0]}, which is not installed') from None
    if done.returncode != 0:
        raise Failure(f'{what} failed:\n{done.stdout.strip()}')


def executable_for(proof, root, build_dir, say):
    """Where the program of a test or benchmark is, built if need be; and its build directory."""
    standing = [build_dir] if build_dir else [root / 'build' / name for name in ('test', 'quiz')]
    build = next((b for b in standing if targets_of(b, proof.path)), None)
    if build is None:
        build = standing[-1]
        say(f'setting up {build}')
        options = ['-Dstages=final', '-Dexamples=false', '-Dbench=true',
                   '--buildtype=debugoptimized']
        again = ['--reconfigure'] if (build / 'build.ninja').exists() else []
        run(['meson', 'setup', *again, *options, str(build), str(root)], 'setting up')
    targets = targets_of(build, proof.path)
    if not targets:
        needed = ' (benchmarks need libbenchmark-dev)' if proof.kind == 'bench' else ''
        raise Failure(f'no program in {build} is made of {proof.path.name}{needed}')
    # A stage's tests are in two programs, the stage's own and that of lib/.
    name, path = next((t for t in targets if t[0] == 'lib-tests'), targets[0])
    say(f'building {name}; the first time takes a while')
    ninja = shutil.which('ninja') or shutil.which('ninja-build') or 'ninja'
    run([ninja, '-C', str(build), str(path.relative_to(build.resolve()))], 'building')
    return path, build


def command_for(proof, program):
    if proof.kind == 'bench':
        return [str(program), f'--benchmark_filter=^{proof.name}(/|$)',
                '--benchmark_min_time=0.1', '--benchmark_color=false']
    # doctest takes a comma for the end of a name; a question mark stands for any character.
    return [str(program), '--reporters=tap', '--test-case=' + proof.name.replace(',', '?')]


def prove(proof, root, build_dir=None, say=print):
    """Runs one proof and shows what it prints. True if it holds."""
    if proof.kind == 'cite':
        say(f'cited: {proof.name}\n       {proof.path}')
        return True
    program, build = executable_for(proof, root, build_dir, say)
    command = command_for(proof, program)
    say('$ ' + shlex.join(command))
    done = subprocess.run(command, cwd=build, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, check=False)
    say(done.stdout.rstrip())
    if proof.kind == 'test' and '\n1..0' in '\n' + done.stdout:
        raise Failure(f'{program.name} has no {proof}')
    return done.returncode == 0
