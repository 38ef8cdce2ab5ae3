#!/usr/bin/env python3
"""Runs a program that is wrong on purpose, and sees that it goes wrong as its chapter says.

    misbehaves.py [--exit N | --signal SIGABRT | --hangs SECONDS] [--says REGEX]... PROGRAM [ARGUMENT]...

The program must exit with status N (0 if nothing is said), die of the signal, or still run after so
many seconds, when it is ended; and each regular expression must be found in what it prints on either
output. One line of TAP for each. A program that exits with 77 cannot be run here, and is skipped.
"""

import argparse
import os
import re
import signal
import subprocess
import sys

LIMIT = 20.0  # seconds, for a program that ends by itself
MOST_LINES = 40
CANNOT_RUN = 77  # as in Automake and Meson


def run(command, limit):
    """(exit status, negative for a signal, None for a program that had to be ended; what it said)."""
    # As in a user's shell: `meson test` sets options of the sanitizers and of malloc.
    environment = {name: value for name, value in os.environ.items()
                   if not name.endswith('SAN_OPTIONS') and name != 'MALLOC_PERTURB_'}
    environment['LC_ALL'] = 'C.UTF-8'
    process = subprocess.Popen(command, text=True, errors='replace', env=environment,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, start_new_session=True)
    try:
        said = process.communicate(timeout=limit)[0]
        return process.returncode, said
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return None, process.communicate()[0]


def describe(status):
    if status is None:
        return 'still runs'
    return f'dies of {signal.Signals(-status).name}' if status < 0 else f'exits with {status}'


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    end = parser.add_mutually_exclusive_group()
    end.add_argument('--exit', type=int, default=0, metavar='N')
    end.add_argument('--signal', type=lambda name: signal.Signals[name], metavar='NAME')
    end.add_argument('--hangs', type=float, metavar='SECONDS')
    parser.add_argument('--says', action='append', default=[], metavar='REGEX')
    parser.add_argument('program')
    parser.add_argument('arguments', nargs='*')
    arguments = parser.parse_args()
    wanted = arguments.exit
    if arguments.hangs:
        wanted = None
    elif arguments.signal:
        wanted = -arguments.signal.value
    command = [arguments.program, *arguments.arguments]
    status, said = run(command, arguments.hangs or LIMIT)

    name = ' '.join(map(os.path.basename, command))
    if status == CANNOT_RUN != wanted:
        print(f'1..0 # SKIP {name}: {" ".join(said.split()) or "cannot run here"}')
        return 0
    verdicts = [(f'{name}: {describe(wanted)}', status == wanted, f'it {describe(status)}')]
    verdicts += [(f'{name}: says {says!r}', re.search(says, said) is not None, 'it does not')
                 for says in arguments.says]
    for number, (what, good, otherwise) in enumerate(verdicts, 1):
        print(f'{"ok" if good else "not ok"} {number} - {what}' + ('' if good else f': {otherwise}'))
    print(f'1..{len(verdicts)}')
    if not all(good for _, good, _ in verdicts):
        print('\n'.join(f'# {line}' for line in said.splitlines()[:MOST_LINES]))
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
