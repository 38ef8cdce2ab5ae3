"""Shows, exports, promotes and checks the stages of the library."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

from . import ROOT, stages
from .stagecheck import check_declared_files, violations
from .stagefiles import export_stage, promote
from .stagefix import fix, missed
from .stages import Stage, Tree, TreeError, line_count, relative


# list, show, paths, diff

def list_stages(tree: Tree) -> None:
    rows = [("stage", "title", "new", "replaced", "lines", "tests", "cases")]
    for stage in tree.stages:
        lines = sum(line_count(stage.dir / f) for f in stage.files)
        cases = sum(stages.test_case_count(stage.test_path(t)) for t in stage.tests)
        rows.append((stage.number, stage.title, len(tree.new_files(stage)),
                     len(tree.replaced_files(stage)), lines, len(stage.tests), cases))
    widths = [max(len(str(row[i])) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = [str(cell).ljust(width) if i < 2 else str(cell).rjust(width)
                 for i, (cell, width) in enumerate(zip(row, widths))]
        print("  ".join(cells))


def show_stage(tree: Tree, stage: Stage) -> None:
    print(f"{stage.name}: {stage.title}\nadds {stage.adds}")
    show_list("new files", [f"{line_count(stage.dir / f):6}  {f}" for f in tree.new_files(stage)])
    show_list("replaced files", [replaced_line(tree, stage, f) for f in tree.replaced_files(stage)])
    show_list("inherited files", [f"{line_count(owner.dir / f):6}  {f} (from {owner.name})"
                                  for f, owner in tree.inherited_files(stage).items()])
    show_list("tests", [f"{stages.test_case_count(stage.test_path(t)):6}  {t}"
                        for t in sorted(stage.tests)], "test cases")
    show_list("retired tests", [f"  {key}: {why}" for key, why in sorted(stage.retires.items())],
              "")


def show_list(heading: str, lines: list, unit: str = "lines") -> None:
    """A headed list; nothing when it is empty."""
    if lines:
        print("\n" + heading + (f" ({unit})" if unit else "") + "\n" + "\n".join(lines))


def replaced_line(tree: Tree, stage: Stage, path: str) -> str:
    old = tree.earlier(stage, path)
    added, removed = stages.diff_counts(old.dir / path, stage.dir / path)
    return f"{line_count(stage.dir / path):6}  {path} (+{added} -{removed} against {old.name})"


def list_paths(tree: Tree, stage: Stage) -> None:
    for path, owner in stages.overlay(tree.upto(stage)).items():
        print(relative(tree, owner.dir / path))


def diff_stage(tree: Tree, stage: Stage, full: bool) -> None:
    for path in tree.replaced_files(stage):
        old = tree.earlier(stage, path).dir / path
        print("\n".join(stages.unified_diff(old, stage.dir / path, tree.root)))
    for path in tree.new_files(stage):
        if full:
            print("\n".join(stages.unified_diff(None, stage.dir / path, tree.root)))
        else:
            print(f"new file: {relative(tree, stage.dir / path)} "
                  f"({line_count(stage.dir / path)} lines)")


# flags, check

def print_flags(tree: Tree, stage: Stage, build: Path | None) -> None:
    """The overlay's directories and the stage's archive, as they are called from here."""
    builds = [build] if build else [tree.root / "build" / name for name in (stage.number, "test")]
    archives = [os.path.relpath(folder / "stages" / f"librung-stage{stage.number}.a")
                for folder in builds]
    archive = next(filter(os.path.isfile, archives), None)
    if archive is None:
        folder = os.path.relpath(builds[0])
        raise TreeError(f"stage {stage.number} is not built in {folder}: there is no {archives[0]}; "
                        f"meson setup {folder} -Dstages={stage.number} && ninja -C {folder}")
    print("-std=c++20 -pthread",
          *(f"-I{os.path.relpath(s.dir)}" for s in reversed(tree.upto(stage))), archive)


def check(tree: Tree) -> int:
    found = violations(tree)
    for violation in [*missed(tree), *found]:
        print(violation, file=sys.stderr)
    if found:
        return 1
    files = stages.overlay(tree.stages)
    print(f"stage check: {len(tree.stages)} stages, {len(files)} library files, no violation")
    return 0


# Command line

def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tools/stage", description=__doc__)
    parser.add_argument("--root", type=Path, metavar="DIR",
                        default=ROOT,
                        help="the tree to work on (default: the one this tool is in)")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, summary: str, takes_stage: bool) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=summary, description=summary)
        if takes_stage:
            added.add_argument("stage", metavar="NN", help="a stage's number, as 03, or its name")
        return added

    command("list", "List all stages, a line each: library files and lines, test files and cases.",
            False)
    command("show", "Show what a stage adds: its files, its tests, and the tests it retires.", True)
    command("paths", "Print the path of each file that makes up a stage, its own and inherited.", True)
    diff = command("diff", "Show what a stage changes in the files of the stages before it, "
                           "and name its new files.", True)
    diff.add_argument("--full", action="store_true", help="include the text of new files")
    export = command("export", "Write a stage as a tree of its own, which builds and tests "
                               "without this repository.", True)
    export.add_argument("target", metavar="DIR", type=Path, help="a new or empty directory")
    changed = command("fix", "Make the change that one stage's version of a file has, and that is not "
                             "committed, in all other stages that issue the file; then promote. "
                             "All or nothing.", False)
    changed.add_argument("path", metavar="PATH", help="as rung/net/X.cc")
    changed.add_argument("--skip", metavar="NN", action="append", default=[],
                         help="leave out a stage; may be given again")
    flags = command("flags", "Print the flags with which g++ compiles a program against a stage that "
                             "is built: g++ demo.cc $(tools/stage flags 05) -o demo", True)
    flags.add_argument("--build", metavar="DIR", type=Path,
                       help="where it is built (build/NN, else build/test)")
    command("promote", "Make lib/rung/ the overlay of all stages, and write each STAGE.md.", False)
    command("check", "Check the rules that stages keep; exit with 1 if one is broken.", False)
    return parser.parse_args()


def run(arguments: argparse.Namespace) -> int:
    tree = stages.load_tree(arguments.root.resolve())
    if arguments.command == "check":
        return check(tree)
    problems = [*tree.problems, *check_declared_files(tree)]
    if problems:
        raise TreeError("\n".join(str(problem) for problem in problems))
    if arguments.command == "list":
        list_stages(tree)
    elif arguments.command == "show":
        show_stage(tree, tree.find(arguments.stage))
    elif arguments.command == "paths":
        list_paths(tree, tree.find(arguments.stage))
    elif arguments.command == "diff":
        diff_stage(tree, tree.find(arguments.stage), arguments.full)
    elif arguments.command == "export":
        export_stage(tree, tree.find(arguments.stage), arguments.target)
    elif arguments.command == "fix":
        fix(tree, arguments.path, arguments.skip)
    elif arguments.command == "flags":
        print_flags(tree, tree.find(arguments.stage), arguments.build)
    else:
        promote(tree)
    return 0


def main() -> int:
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `tools/stage diff 03 | head` ends quietly
    try:
        return run(parse_arguments())
    except TreeError as error:
        print(f"tools/stage: {error}", file=sys.stderr)
    except OSError as error:
        print(f"tools/stage: {error.filename}: {error.strerror}", file=sys.stderr)
    return 2
