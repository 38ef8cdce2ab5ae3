"""Puts small faults into the library, one at a time, and shows which test notices each.

First the tests must pass without a fault. Then, for each, what it changes is compiled, and the
tests run, the likely ones first, up to the first that fails; one that hangs has noticed, too. A
fault that takes no lock is tried with clang++ -Wthread-safety before. What no test notices has
survived: it needs a test. All happens in build/mutate; lib/ and the tests must stay as they are
meanwhile.

Without --generated, the faults are those of tests/mutations/mutations.txt. Exits 0 if all are
noticed.

With --generated, they are made from the syntax tree of lib/, which takes clang's Python module
(Debian: python3-clang), in an order that the seed decides. Those that do not compile do not count.
The survivors are judged one by one in tests/mutations/survivors.txt. Exits 1 if one has no entry
there, and if an entry's fault is noticed now, or can no longer be made. What is known is kept in
build/mutate/results-SEED.tsv, so that a run that was interrupted goes on: a noticed fault is not
tried again before its file changes, a survivor before lib/ or a test changes.
"""

import argparse
import collections
import concurrent.futures
import fnmatch
import hashlib
import queue
import random
import sys

from . import ROOT, mutateops, mutaterun
from .branches import BadList
from .mutatelists import as_entry, load_named, load_survivors
from .process import BuildFailed

NAMED = ROOT / 'tests/mutations/mutations.txt'
SURVIVORS = ROOT / 'tests/mutations/survivors.txt'
WORK = ROOT / 'build/mutate'


def problems_of(faults, tree):
    problems = []
    for fault in faults:
        try:
            fault.applied(tree)
        except BadList as error:
            problems.append(str(error))
    return problems


def no_longer_made(entries, made):
    """The entries of the list of survivors whose faults the operators do not make."""
    names = {fault.name for fault in made}
    return [name for name in entries if name not in names]


class Results:
    """What is known of generated faults, in a file that grows."""

    def __init__(self, path, tree):
        self.path, self.tree, self.known = path, tree, {}
        self.all = digest(path for top in ('lib', 'stages', 'tests')
                          for path in sorted((tree / top).rglob('*.*'))
                          if path.suffix in ('.cc', '.h', '.py'))
        if path.exists():
            for line in path.read_text('utf-8').splitlines():
                name, stamp, verdict, seconds, by = line.split('\t')
                self.known[name, stamp] = mutaterun.Result(verdict, float(seconds), by)

    def stamps(self, fault):
        """Of the state of the sources in which its being noticed, and its surviving, is known."""
        return digest([self.tree / 'lib/rung' / fault.path]), self.all

    def of(self, fault):
        for stamp in self.stamps(fault):
            if (fault.name, stamp) in self.known:
                return self.known[fault.name, stamp]
        return None

    def add(self, fault, result):
        stamp = self.stamps(fault)[result.verdict == 'survived']
        self.known[fault.name, stamp] = result
        with self.path.open('a', encoding='utf-8') as file:
            print(fault.name, stamp, result.verdict, f'{result.seconds:.1f}',
                  ' '.join(result.by.split()), sep='\t', file=file)


def digest(paths):
    text = hashlib.sha1()
    for path in paths:
        text.update(path.read_bytes())
    return text.hexdigest()[:12]


class Benches:
    """One build, and as many places to try a fault in as there are jobs."""

    def __init__(self, jobs):
        print('building, and running the tests without a fault …', flush=True)
        WORK.mkdir(parents=True, exist_ok=True)
        build = mutaterun.Build(ROOT, WORK / 'base', jobs)
        self.free = queue.Queue()
        for number in range(jobs):
            self.free.put(mutaterun.Bench(build, WORK / f'bench{number}'))
        with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
            if broken := [failed for failed in pool.map(self.measure, build.tests) if failed]:
                sys.exit(f'tools/mutate: without any fault a test fails: {"; ".join(broken)}')

    def measure(self, test):
        bench = self.free.get()
        try:
            return bench.measure(test)
        finally:
            self.free.put(bench)

    def attempt(self, fault):
        bench = self.free.get()
        try:
            return bench.attempt(fault)
        finally:
            self.free.put(bench)


def attempts(faults, attempt, jobs, sample):
    """(fault, result) of each as it is known, in about their order, until `sample` compiled."""
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        waiting, running, counted = iter(faults), {}, 0
        while True:
            while len(running) < min(jobs, sample - counted):
                if (fault := next(waiting, None)) is None:
                    break
                running[pool.submit(attempt, fault)] = fault
            if not running:
                return
            for future in concurrent.futures.wait(
                    running, return_when=concurrent.futures.FIRST_COMPLETED).done:
                fault, result = running.pop(future), future.result()
                counted += result.verdict != 'stillborn'
                yield fault, result


# ---- the two kinds ----

def try_named(faults, jobs):
    benches = Benches(jobs)
    bad = []
    print(f'{"fault":35} {"s":>5}  noticed by')
    for fault, result in attempts(faults, benches.attempt, jobs, len(faults)):
        by = {'survived': 'SURVIVED', 'stillborn': f'DOES NOT COMPILE: {result.by}'}
        print(f'{fault.name:35} {result.seconds:5.0f}  {by.get(result.verdict, result.by)}',
              flush=True)
        if result.verdict != 'killed':
            bad.append(fault)
    print(f'{len(faults) - len(bad)} of {len(faults)} noticed')
    for fault in bad:
        print(f'survived: {fault.name}: {fault.what}')
    return not bad


def try_generated(options, entries):
    made = mutateops.generate(ROOT, mutateops.sources(ROOT))
    faults = [fault for fault in made
              if any(fnmatch.fnmatch(fault.path, pattern) for pattern in options.files or ['*'])]
    if not faults:
        sys.exit(f'tools/mutate: no file of lib/rung is like {" or ".join(options.files)}')
    random.Random(options.seed).shuffle(faults)
    print(f'{len(made)} faults can be made, {len(faults)} of them in these files', flush=True)
    benches = Benches(options.jobs)
    results = Results(WORK / f'results-{options.seed}.tsv', ROOT)

    def attempt(fault):
        result = results.of(fault)
        if result is None:
            result = benches.attempt(fault)
            results.add(fault, result)
        return result

    tried = []
    for fault, result in attempts(faults, attempt, options.jobs, options.sample or len(faults)):
        tried.append((fault, result))
        print(f'{len(tried):4} {result.seconds:5.1f} {result.verdict:9} {fault.name}'
              f'\n{"":21}{result.by}', flush=True)
    return report(tried, no_longer_made(entries, made), entries)


def report(tried, stale, entries):
    """Prints what a sample has shown; whether each survivor has its entry, and each entry holds."""
    tried = [(fault, result) for fault, result in tried if result.verdict != 'stillborn']
    survivors = [fault.name for fault, result in tried if result.verdict == 'survived']
    unjudged = [name for name in survivors if name not in entries]
    noticed = [(fault.name, result.by) for fault, result in tried
               if result.verdict == 'killed' and fault.name in entries]
    kinds = collections.Counter(entries[name].kind for name in survivors if name in entries)
    if unjudged:
        print('\nSurvivors without an entry:\n\n' + '\n'.join(map(as_entry, unjudged)))
    if stale:
        print('\nWith an entry, but they can no longer be made:\n\n' + '\n'.join(stale))
    if noticed:
        print('\nWith an entry, but noticed now:\n')
        for name, by in noticed:
            print(f'{name}\n  by {by}')
    killed, equivalent = len(tried) - len(survivors), kinds.pop('equivalent', 0)
    others = ''.join(f', {count} {kind}' for kind, count in sorted(kinds.items()))
    rate = 100 * killed / max(1, len(tried) - equivalent)
    print(f'\nkilled {killed} of {len(tried)}, {equivalent} judged equivalent{others}, '
          f'rate {rate:.1f} %')
    return not unjudged and not stale and not noticed


def parse(names):
    parser = argparse.ArgumentParser(prog='tools/mutate', description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('names', nargs='*', metavar='NAME', help='only these (all)')
    parser.add_argument('--list', action='store_true', help='show all faults and end')
    parser.add_argument('--check', action='store_true',
                        help='only see that both lists still fit the library; builds nothing')
    parser.add_argument('--jobs', type=int, default=1, help='faults at a time (1)')
    parser.add_argument('--generated', action='store_true', help='faults made from the source')
    parser.add_argument('--seed', type=int, default=1, help='of their order (1)')
    parser.add_argument('--sample', type=int, default=0, metavar='N',
                        help='only the first N that compile (all)')
    parser.add_argument('--files', action='append', metavar='PATTERN',
                        help='only those in such files, as net/Timer*; may be given again')
    options = parser.parse_args()
    for name in options.names:
        if name not in names:
            parser.error(f'no fault is called {name!r}; --list shows them')
    if options.jobs < 1 or options.sample < 0:
        parser.error('--jobs and --sample count something')
    return options


def check(faults, entries):
    """Whether the named faults, and those of the list of survivors, can be made."""
    problems = [f'{NAMED.relative_to(ROOT)}: {problem}' for problem in problems_of(faults, ROOT)]
    files = {name.partition(' ')[0] for name in entries}
    made = mutateops.generate(ROOT, [path for path in mutateops.sources(ROOT) if path in files])
    # clang counts bytes where Python counts characters: here they are the same.
    problems += [f'lib/rung/{path}: line {number} is not ASCII' for path in mutateops.sources(ROOT)
                 for number, line in enumerate((ROOT / 'lib/rung' / path).read_bytes().splitlines(), 1)
                 if not line.isascii()]
    problems += [f'{SURVIVORS.relative_to(ROOT)}: can no longer be made: {name}'
                 for name in no_longer_made(entries, made)]
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f'{len(faults)} named faults, {len(entries)} survivors: '
          f'{len(problems) or "none"} of them do not fit the library')
    return not problems


def main():
    try:
        faults = load_named(NAMED.read_text('utf-8'))
        entries = load_survivors(SURVIVORS.read_text('utf-8'))
    except BadList as error:
        sys.exit(f'tools/mutate: tests/mutations: {error}')
    options = parse([fault.name for fault in faults])
    if options.list:
        for fault in faults:
            print(f'{fault.name:35} {fault.path:26} {fault.what}')
        return 0
    try:
        if options.check:
            return 0 if check(faults, entries) else 1
        if options.generated:
            return 0 if try_generated(options, entries) else 1
        if problems := problems_of(faults, ROOT):
            sys.exit('\n'.join(problems))
        chosen = [fault for fault in faults if not options.names or fault.name in options.names]
        return 0 if try_named(chosen, options.jobs) else 1
    except (mutateops.Missing, BuildFailed) as error:
        sys.exit(f'tools/mutate: {error}')
