"""What of lib/ its tests take: lines and branches with gcovr, each untaken branch with clang.

Without an option, builds in build/coverage with g++ --coverage and without optimisation, runs the
tests of lib/ and those beside them (--suite for others), writes report/index.html and
report/lines.txt there, and prints the lines and the branches of each file. A good part of these
branches are the compiler's: exceptions that a call may throw, destructors, defaults.

With --branches, builds in build/branches with clang's source-based coverage, which counts the two
sides of each condition of the source, and prints each that no test takes with its reason. The
reasons are in tests/coverage/untaken.txt. Exits with 1 if a branch has none, and if a reason's
branch is taken now or is no longer there; both are named. A LOG_ macro is one place, in Logging.h:
whether its level is on counts there, and not in each line that logs.

Processes that abort or end by _exit() count as well: gcc's counts are written by
tests/coverage/write_counts.cc. clang's are in a file that is mapped into memory, so they are there
whatever ends the process.
"""

import argparse
import os
import shutil
import subprocess
import sys

from . import ROOT, branches
from .process import BuildFailed, ninja, set_up

LIB = ROOT / 'lib/rung'
LIST = ROOT / 'tests/coverage/untaken.txt'
SUITES = ['lib', 'regress', 'faults', 'stress']
# The counts in a mapped file (%c) need the relocation; several threads count, so atomically.
CLANG_FLAGS = ('-fprofile-instr-generate -fcoverage-mapping -fprofile-update=atomic '
               '-mllvm -runtime-counter-relocation')
PROGRAMS = ['stages/lib-tests', 'tests/regress/regress-tests', 'tests/faults/faults-tests',
            'tests/faults/scripted-tests', 'tests/faults/fault-schedules',
            'tests/stress/stress-tests', 'tests/stress/load-test', 'tests/stress/soak',
            'tests/stress/model-test']
NEEDED = {
    'g++': {'g++': 'g++', 'gcovr': 'gcovr', 'meson': 'meson'},
    'clang++': {'clang++': 'clang', 'llvm-profdata': 'llvm', 'llvm-cov': 'llvm', 'meson': 'meson'},
}

# gcovr 5.2, Debian 12's, asserts that a function begins at one line in all objects, which a lambda
# in a header does not. Without assertions it merges them.
GCOVR_ENVIRONMENT = os.environ | {'PYTHONOPTIMIZE': '1'}


def run(command, **more):
    words = [str(word) for word in command]
    print('+', *words, flush=True)
    return subprocess.run(words, **more)


def must(what, command, **more):
    result = run(command, **more)
    if result.returncode != 0:
        sys.exit(f'tools/coverage: {what} failed')
    return result


def configure(build, compiler, *arguments):
    for tool, package in NEEDED[compiler].items():
        if shutil.which(tool) is None:
            sys.exit(f'tools/coverage: needs {tool} (Debian: {package})')
    set_up(build, '-Dstages=final', '-Dexamples=false', '-Ddocs=false', '--buildtype=debug',
           '-Doptimization=0', *arguments, compiler=compiler)


def run_tests(build, options, environment):
    """Whether all of them passed."""
    print(f'building in {build.relative_to(ROOT)}', flush=True)
    ninja(build, jobs=options.jobs)
    suites = [word for name in options.suite or SUITES for word in ('--suite', name)]
    tests = run(['meson', 'test', '-C', build, '--no-rebuild', '--num-processes', '1', *suites],
                env=os.environ | environment)
    if tests.returncode != 0:
        print('tools/coverage: a test failed, so this is not the whole', file=sys.stderr)
    return tests.returncode == 0


# ---- lines and branches, with gcovr ----

def gcovr(build, *more):
    # Branches that only an exception takes are not the source's.
    must('gcovr', ['gcovr', '--root', ROOT, '--filter', f'{LIB}/', '--exclude-throw-branches',
                   '--exclude-unreachable-branches', *more, build], env=GCOVR_ENVIRONMENT)


def count_lines(options):
    build = ROOT / 'build/coverage'
    configure(build, 'g++', '-Db_coverage=true')
    if options.configure_only:
        return True
    for counts in build.rglob('*.gcda'):  # of an earlier run
        counts.unlink()
    passed = run_tests(build, options, {})
    report = build / 'report'
    report.mkdir(exist_ok=True)
    for more in (['--html-details', report / 'index.html'], ['--txt', report / 'lines.txt'],
                 ['--branches', '--txt', report / 'branches.txt']):
        gcovr(build, *more)
    print((report / 'lines.txt').read_text('utf-8'))
    print((report / 'branches.txt').read_text('utf-8'))
    print(f'line by line: {report}/index.html')
    return passed


# ---- each branch of the source, with clang ----

def name_branches(options):
    try:
        entries = branches.parse(LIST.read_text('utf-8'))
    except branches.BadList as error:
        sys.exit(f'{LIST.relative_to(ROOT)}: {error}')
    build = ROOT / 'build/branches'
    configure(build, 'clang++', f'-Dcpp_args={CLANG_FLAGS}',
              '-Dcpp_link_args=-fprofile-instr-generate')
    if options.configure_only:
        return True
    counts = build / 'counts'
    shutil.rmtree(counts, ignore_errors=True)
    passed = run_tests(build, options, {'LLVM_PROFILE_FILE': f'{counts}/%p%c.profraw'})
    must('llvm-profdata', ['llvm-profdata', 'merge', '-sparse', '-o', counts / 'all.profdata',
                           *sorted(counts.glob('*.profraw'))])
    objects = [word for name in PROGRAMS for word in ('-object', build / name)][1:]
    export = must('llvm-cov', ['llvm-cov', 'export', '-instr-profile', counts / 'all.profdata',
                               *objects, LIB],
                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    known, untaken = branches.read_export(export, LIB)
    explained, unexplained, stale = branches.compare(known, untaken, entries)
    print(branches.table(explained))
    if unexplained:
        print('Without a reason:\n\n' + '\n'.join(map(str, unexplained)) + '\n')
    if stale:
        print('With a reason, but taken now, or no longer there:\n\n' +
              '\n'.join(str(entry.branch) for entry in stale) + '\n')
    print(f'{len(known) - len(untaken)} of {len(known)} branches of the source are taken '
          f'({100 * (len(known) - len(untaken)) / len(known):.1f} %), {len(explained)} are not and '
          f'have a reason, {len(unexplained)} have none; {len(stale)} reasons do not hold')
    return passed and not unexplained and not stale


def main():
    parser = argparse.ArgumentParser(prog='tools/coverage', description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--suite', action='append', metavar='NAME',
                        help=f'run the tests of this suite ({", ".join(SUITES)})')
    parser.add_argument('--branches', action='store_true',
                        help='name each branch of the source that no test takes, and why')
    parser.add_argument('--jobs', type=int, default=1, help='compilers at a time (1)')
    parser.add_argument('--configure-only', action='store_true',
                        help='only see that the build can be set up')
    options = parser.parse_args()
    try:
        good = name_branches(options) if options.branches else count_lines(options)
    except BuildFailed as error:
        sys.exit(f'tools/coverage: {error}')
    return 0 if good else 1
