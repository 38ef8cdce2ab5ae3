"""Measures rung and its peers side by side, in one run.

Builds bench/ optimised in build/bench; runs each experiment with all its peers in turn, several
rounds, servers and clients pinned to a core each; prints tables of medians and ratios, and leaves
them with all figures and plots in a folder. bench/README.md says what each experiment measures.
"""

import argparse
import fnmatch
import json
import pathlib
import shutil
import signal
import sys
import time

from . import ROOT, benchlist, benchruns, benchtables, process

BUILD = ROOT / 'build' / 'bench'
OPTIONS = ['-Dstages=final', '-Dtests=false', '-Dexamples=false', '-Dbench=true',
           '--buildtype=release']


def say(text):
    print(text, file=sys.stderr, flush=True)


def rounds_of(text):
    if not text.isdecimal() or not 1 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number from 1 to 1000")
    return int(text)


def parse(arguments):
    parser = argparse.ArgumentParser(prog='tools/bench', description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--quick', action='store_true',
                        help='one short round of the most important, under a minute once built; '
                             'to see that all works, not to quote')
    parser.add_argument('--rounds', type=rounds_of, metavar='N',
                        help='how often each is measured (5; with --quick 1)')
    parser.add_argument('--only', action='append', metavar='NAME', default=[],
                        help='only this experiment, or those of a pattern such as "echo-*"; '
                             'may be repeated')
    parser.add_argument('--list', action='store_true', help='name the experiments, and end')
    parser.add_argument('--out', type=pathlib.Path, metavar='DIR',
                        help='where the results go; new or empty (build/bench-results/DATE-TIME)')
    parser.add_argument('--no-build', action='store_true',
                        help='take the programs in build/bench as they are')
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (1 if options.quick else 5)
    if options.out and options.out.exists() and (
            not options.out.is_dir() or any(options.out.iterdir())):
        parser.error(f'--out: {options.out} exists, and is not an empty folder')
    return parser, options


def build():
    say(f'building in {BUILD.relative_to(ROOT)}')
    process.set_up(BUILD, *OPTIONS, again=True)
    for line in process.ninja(BUILD).splitlines():
        if 'is missing' in line:
            say(line.strip())


def choose(parser, options, known):
    names = [experiment.name for experiment in known]
    for pattern in options.only:
        if not fnmatch.filter(names, pattern):
            parser.error(f"--only: there is no experiment '{pattern}'; see --list")
    if options.only:
        return [e for e in known if any(fnmatch.fnmatch(e.name, p) for p in options.only)]
    return [e for e in known if not (options.quick and e.slow)]


def run_all(chosen, rounds):
    """Figures of all experiments: results[name][peer][metric] = [one for each round]."""
    results, failures, done = {}, [], 0
    total = sum(len(experiment.peers) * experiment.turns for experiment in chosen) * rounds
    for experiment in chosen:
        values = results[experiment.name] = {peer: {} for peer in experiment.peers}
        turns = rounds * experiment.turns
        for turn in range(turns):
            # Another one begins each time, so that none always follows the same.
            shift = turn % len(experiment.peers)
            for peer in experiment.peers[shift:] + experiment.peers[:shift]:
                done += 1
                say(f'[{done}/{total}] {experiment.name}: {peer}, turn {turn + 1}')
                try:
                    figures = experiment.measure(peer)
                except benchruns.Failed as error:
                    say(f'  FAILED: {error}')
                    failures.append(f'{experiment.name}: {peer}: {error}')
                    continue
                for metric, figure in figures.items():
                    values[peer].setdefault(metric, []).append(figure)
        leave_out_incomplete(experiment, values, turns)
    return results, failures


def leave_out_incomplete(experiment, values, rounds):
    """A peer that failed in a round has no pairs to be compared in."""
    wanted = [metric.key for metric in experiment.metrics]
    for peer in list(values):
        if any(len(values[peer].get(key, [])) != rounds for key in wanted):
            del values[peer]


def write_plots(chosen, results, folder):
    if not shutil.which('gnuplot'):
        say('gnuplot is not installed: no plots')
        return
    groups = {}
    for experiment in chosen:
        values = results[experiment.name]
        if not values:
            continue
        if experiment.group:
            groups.setdefault(experiment.group, []).append(experiment)
        else:
            path = folder / f'{experiment.name}.svg'
            complain(benchtables.plot(benchtables.bars(experiment, values, path)), path)
    for group, members in groups.items():
        path = folder / f'{group}.svg'
        by_size = {member.size: results[member.name] for member in members}
        title = f'{group}: {members[0].title}'
        complain(benchtables.plot(benchtables.curves(title, members[0].metrics[0], by_size, path)), path)


def complain(problem, path):
    if problem:
        say(f'{path.name} was not drawn: {problem}')


def heading(where, options):
    lines = [f'- {key}: {value}' for key, value in where.items()]
    how = f'{options.rounds} rounds' + (', quick: not to be quoted' if options.quick else '')
    return '\n'.join(['## Results', '', *lines, f'- {how}', ''])


def measure(parser, options, programs):
    known = benchlist.experiments(programs, options.quick, BUILD)
    if options.list:
        width = max(len(experiment.name) for experiment in known)
        for experiment in known:
            print(f'{experiment.name:<{width}}  {experiment.title}')
        return 0
    chosen = choose(parser, options, known)
    folder = options.out or ROOT / 'build' / 'bench-results' / time.strftime('%Y%m%d-%H%M%S')
    folder.mkdir(parents=True, exist_ok=True)
    where = benchtables.machine(ROOT)
    where['compiler'] = benchtables.compiler(BUILD) + ', release'
    if len(programs.all_cores) == 1:
        say('there is one core only: server and client share it')

    results, failures = run_all(chosen, options.rounds)
    tables = [benchtables.table(experiment, results[experiment.name]) for experiment in chosen
              if results[experiment.name]]
    report = '\n'.join([heading(where, options), *tables])
    if failures:
        report += '\n'.join(['### Failed', '', *(f'- {failure}' for failure in failures), ''])
    print(report)
    (folder / 'results.md').write_text(report + '\n')
    (folder / 'results.json').write_text(json.dumps(
        {'machine': where, 'rounds': options.rounds, 'quick': options.quick,
         'experiments': results, 'failures': failures}, indent=1) + '\n')
    write_plots(chosen, results, folder)
    say(f'results are in {folder}')
    return 1 if failures else 0


def interrupt(_number, _frame):
    raise KeyboardInterrupt


def main():
    parser, options = parse(sys.argv[1:])
    signal.signal(signal.SIGTERM, interrupt)
    try:
        if not options.no_build:
            build()
        elif not (BUILD / 'bench').is_dir():
            raise benchruns.Failed('there is no build/bench yet; run it without --no-build')
        programs = benchruns.Programs(BUILD / 'bench')
        try:
            return measure(parser, options, programs)
        finally:
            programs.end_all()
    except (benchruns.Failed, process.BuildFailed) as error:
        say(f'tools/bench: {error}')
        return 1
    except KeyboardInterrupt:
        say('tools/bench: interrupted')
        return 130
