"""Judges classes of one's own by the tests of a stage.

    tools/learn try 08 --with DIR

DIR holds files as the stage does: DIR/rung/net/TimerHeap.h takes the place of the stage's. A .cc file
that the stage does not have is compiled, too. All test cases of the stage run, and those of earlier
stages that still hold with --all.
"""

import argparse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import ROOT, learnsay, stages
from .learnbuild import WARNINGS, Build, shell
from .learncases import list_cases, run_case
from .learnhang import describe
from .learnsteps import FOLDER, LearnError
from .learnwrite import progress
from .process import BuildFailed
from .text import bold, green

LIMIT = 60.0
SHOWN = 3  # red cases in full


def build_with(tree, stage, folder, tests):
    """(the build, made) of the stage with the files of `folder` before its own."""
    overlay = stages.overlay(tree.upto(stage))
    theirs = sorted(str(p.relative_to(folder)) for p in folder.rglob('rung/**/*.cc'))
    includes = [folder, *(s.dir for s in reversed(tree.upto(stage))), tree.root]
    build = Build(ROOT / 'build' / 'learn-try' / stage.number, includes, WARNINGS)
    objects = [build.object(path, folder / path) for path in theirs]
    objects += build.together('library', [owner.dir / path for path, owner in overlay.items()
                                          if path.endswith('.cc') and path not in theirs])
    objects += build.main('-w')
    for owner, test in tests:
        judge = build.object(f'{test}_test', owner.test_path(test), f"-w -include {shell(ROOT / FOLDER / 'shown.h')}")
        build.program(test, [judge, *objects])
    build.save()
    build.make([test for _, test in tests], progress())
    return build


def main(arguments):
    parser = argparse.ArgumentParser(prog='tools/learn try', description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('stage', metavar='NN')
    parser.add_argument('--with', dest='folder', type=lambda d: Path(d).resolve(), metavar='DIR', required=True)
    parser.add_argument('--all', action='store_true', help='the tests of earlier stages, too')
    options = parser.parse_args(arguments)
    tree = stages.load_tree(ROOT)
    stage = tree.find(options.stage)
    mine = [p for p in options.folder.glob('rung/**/*') if p.suffix in ('.h', '.cc')]
    if not mine:
        raise LearnError(f'{options.folder} holds no rung/…/NAME.h or NAME.cc')
    replaced = set(stages.overlay(tree.upto(stage)))
    for path in sorted(mine):
        name = str(path.relative_to(options.folder))
        print(f'  {name}: {"in place of the stage" + chr(8217) + "s" if name in replaced else "new"}')
    tests = [(owner, test) for owner, test in tree.active_tests(stage) if options.all or owner is stage]
    try:
        build = build_with(tree, stage, options.folder, tests)
    except BuildFailed as error:
        print('\nIt does not compile.\n')
        learnsay.show(learnsay.build_lines(str(error), options.folder))
        return 1
    return judge(build, tests)


def judge(build, tests):
    work = [(owner, test, case) for owner, test in tests for _, case in list_cases(build.folder / test)]
    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(lambda row: run_case(build.folder / row[1], row[1], row[2], LIMIT,
                                                      at_limit=describe), work))
    red = [(row, outcome) for row, outcome in zip(work, outcomes) if not learnsay.is_green(outcome)]
    print()
    for (owner, test, case), outcome in red[:SHOWN]:
        learnsay.show_red(case)
        learnsay.show_story(learnsay.story(stages.read(owner.test_path(test)), case))
        learnsay.show(learnsay.outcome_lines(outcome, LIMIT))
    for (_, _, case), _ in red[SHOWN:]:
        learnsay.show_red(case)
    print(('' if red else green('ok') + '    ') + bold(f'{len(work) - len(red)} of {len(work)} cases pass'))
    return 1 if red else 0
