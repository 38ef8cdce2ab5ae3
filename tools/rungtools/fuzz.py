"""Fuzzes one part of the library for as long as you like.

Builds the target with clang++ and its libFuzzer in build/fuzz, and runs it from the committed
inputs of tests/fuzz/corpus/NAME. New inputs that reach more code are kept in
build/fuzz-found/NAME, and are where the next run goes on. An input that crashes the target goes to
build/fuzz-crashes/NAME-…; the last lines say how to run it again. Exits 0 if nothing was found.
"""

import argparse
import shutil
import subprocess
import sys

from . import ROOT
from .process import BuildFailed, ninja, set_up

BUILD = ROOT / 'build' / 'fuzz'


def names():
    return sorted(path.name[:-len('_fuzz.cc')] for path in (ROOT / 'tests/fuzz').glob('*_fuzz.cc'))


def first_comment(name):
    text = (ROOT / f'tests/fuzz/{name}_fuzz.cc').read_text('utf-8')
    return text.splitlines()[0].removeprefix('// ')


def positive(text):
    value = int(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f'not a number of seconds: {text}')
    return value


def parse():
    parser = argparse.ArgumentParser(prog='tools/fuzz', description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('name', nargs='?', metavar='NAME', help='what to fuzz; see --list')
    parser.add_argument('seconds', nargs='?', type=positive, default=60, metavar='SECONDS',
                        help='for how long (60)')
    parser.add_argument('--list', action='store_true', help='show the names and end')
    options = parser.parse_args()
    if options.list:
        for name in names():
            print(f'{name:15} {first_comment(name)}')
        sys.exit(0)
    if options.name is None:
        parser.error('which NAME? --list shows them')
    if options.name not in names():
        parser.error(f'no fuzz target {options.name!r}; there are {", ".join(names())}')
    return options


def build(name):
    if shutil.which('clang++') is None:
        sys.exit('tools/fuzz: needs clang++, which brings libFuzzer (Debian: clang)')
    set_up(BUILD, '-Dstages=final', '-Dexamples=false', '-Ddocs=false', '--buildtype=debug',
           compiler='clang++')
    target = f'tests/fuzz/fuzz-{name}'
    ninja(BUILD, target)
    return BUILD / target


def main():
    options = parse()
    try:
        target = build(options.name)
    except BuildFailed as error:
        sys.exit(f'tools/fuzz: {error}')
    found = ROOT / 'build/fuzz-found' / options.name
    crashes = ROOT / 'build/fuzz-crashes'
    for directory in (found, crashes):
        directory.mkdir(parents=True, exist_ok=True)
    status = subprocess.run([
        target, f'-max_total_time={options.seconds}', '-max_len=4096', '-print_final_stats=1',
        f'-artifact_prefix={crashes}/{options.name}-', found,
        ROOT / 'tests/fuzz/corpus' / options.name]).returncode
    if status != 0:
        print(f'\nfound something: see {crashes}/{options.name}-*\n'
              f'again with: {target} FILE', file=sys.stderr)
    return 1 if status != 0 else 0
