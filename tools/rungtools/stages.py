"""The stages as tools/stage sees them: declarations, the overlay, and what is generated from it."""

from __future__ import annotations

import ast
import difflib
import re
from dataclasses import dataclass, field
from pathlib import Path

from . import cppscan

STAGE_NAME = re.compile(r"(\d\d)-[a-z0-9]+(-[a-z0-9]+)*")
REQUIRED_KEYS = {"title": str, "adds": str, "headers": list, "sources": list, "tests": list,
                 "retires": dict}
OPTIONAL_KEYS = {"timeout": int}
CPP_SUFFIXES = (".h", ".cc", ".hpp", ".cpp")


@dataclass
class Violation:
    """One broken rule: where, which, and why it matters."""
    path: str
    line: int
    rule: str
    text: str

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}" if self.line else self.path
        return f"{place}: {self.rule}: {self.text}"


class TreeError(Exception):
    """What the user asked for cannot be done; the text says why and names the file or argument."""


@dataclass(eq=False)
class Stage:
    """One directory under stages/, and what its meson.build declares."""
    name: str
    dir: Path
    title: str
    adds: str
    headers: list
    sources: list
    tests: list
    retires: dict
    timeout: int = 60

    @property
    def number(self) -> str:
        return self.name.split("-")[0]

    @property
    def files(self) -> list:
        return sorted(self.headers + self.sources)

    def test_path(self, test: str) -> Path:
        return self.dir / "tests" / f"{test}_test.cc"

    def test_id(self, test: str) -> str:
        """The name by which a later stage retires this test."""
        return f"{self.name}/tests/{test}_test.cc"


@dataclass
class Tree:
    """All stages in order; `problems` are the violations met while reading their declarations."""
    root: Path
    names: list = field(default_factory=list)
    stages: list = field(default_factory=list)
    problems: list = field(default_factory=list)

    def upto(self, stage: Stage) -> list:
        return [s for s in self.stages if s.number <= stage.number]

    def before(self, stage: Stage) -> list:
        return [s for s in self.stages if s.number < stage.number]

    def earlier(self, stage: Stage, path: str) -> Stage | None:
        """The newest stage before `stage` which issues `path`, or None."""
        return overlay(self.before(stage)).get(path)

    def new_files(self, stage: Stage) -> list:
        return [f for f in stage.files if self.earlier(stage, f) is None]

    def replaced_files(self, stage: Stage) -> list:
        return [f for f in stage.files if self.earlier(stage, f) is not None]

    def inherited_files(self, stage: Stage) -> dict:
        """Path to issuing stage, for what `stage` sees and does not issue itself."""
        seen = overlay(self.before(stage))
        return {f: seen[f] for f in sorted(seen) if f not in stage.files}

    def active_tests(self, stage: Stage) -> list:
        """(stage, test) pairs of all tests up to `stage` that none of these stages retires."""
        retired = {key for s in self.upto(stage) for key in s.retires}
        return [(s, t) for s in self.upto(stage) for t in s.tests if s.test_id(t) not in retired]

    def find(self, text: str) -> Stage:
        """The stage called `text`: its number, with or without the leading zero, or its name."""
        for stage in self.stages:
            if text in (stage.name, stage.number, stage.number.lstrip("0")):
                return stage
        known = ", ".join(s.number for s in self.stages) or "none"
        raise TreeError(f"no stage '{text}' (known: {known})")


def overlay(stages: list) -> dict:
    """Path to the newest of `stages` that issues it, sorted by path."""
    newest = {path: stage for stage in stages for path in stage.files}
    return dict(sorted(newest.items()))


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def line_count(path: Path) -> int:
    return len(read(path).splitlines())


def test_case_count(path: Path) -> int:
    return len(cppscan.test_names(read(path)))


def line_of(path: Path, text: str) -> int:
    """The first line of a file that holds `text`; 0 when none does."""
    lines = read(path).splitlines()
    return next((n for n, line in enumerate(lines, 1) if text in line), 0)


# Reading declarations.

def load_tree(root: Path) -> Tree:
    """Reads every declaration; what is wrong with one goes into `problems`."""
    tree = Tree(root)
    tree.names = read_stage_names(tree)
    for name in tree.names:
        declaration = root / "stages" / name / "meson.build"
        if not declaration.is_file():
            add_order_problem(tree, name, f"names '{name}', but {relative(tree, declaration)} "
                                          "is not there")
            continue
        stage = read_stage(tree, name, declaration)
        if stage:
            tree.stages.append(stage)
    return tree


def relative(tree: Tree, path: Path) -> str:
    return path.relative_to(tree.root).as_posix()


def read_stage_names(tree: Tree) -> list:
    """The list in stages/meson.build, which must run from 01 without a gap."""
    path = tree.root / "stages" / "meson.build"
    found = re.search(r"^stage_names\s*=\s*(\[.*?\])", read(path), re.MULTILINE | re.DOTALL)
    names = read_literal(tree, path, found, "stage_names = [...]")
    if names is None:
        return []
    least = 1  # a number may be left out: it is kept for a stage that is still to come
    for name in names:
        if not isinstance(name, str) or not STAGE_NAME.fullmatch(name):
            add_order_problem(tree, str(name), f"'{name}' is not of the form NN-name")
        elif (number := int(name.split("-")[0])) < least:
            add_order_problem(tree, name, f"'{name}' stands where stage {least:02} or a later one must")
        else:
            least = number + 1
    return [n for n in names if isinstance(n, str) and STAGE_NAME.fullmatch(n)]


def add_order_problem(tree: Tree, name: str, text: str) -> None:
    path = tree.root / "stages" / "meson.build"
    tree.problems.append(Violation("stages/meson.build", line_of(path, f"'{name}'"),
                                   "stage-order", text))


def read_literal(tree: Tree, path: Path, found: re.Match | None, what: str):
    """The value of a Meson literal that is a Python literal too; None, and a problem, if not."""
    if not found:
        tree.problems.append(Violation(relative(tree, path), 0, "bad-declaration",
                                       f"holds no `{what}`"))
        return None
    lines_before = found.string.count("\n", 0, found.start(1))
    try:  # The empty lines make Python's line numbers those of the file.
        return ast.literal_eval("\n" * lines_before + found.group(1))
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or lines_before + 1
        reason = getattr(error, "msg", None) or "strings, numbers, lists, dicts; no operators"
        tree.problems.append(Violation(relative(tree, path), line, "bad-declaration",
                                       f"`{what}` must be a plain literal: {reason}"))
        return None


def read_stage(tree: Tree, name: str, path: Path) -> Stage | None:
    found = re.search(r"^stage\s*=\s*(.*)\Z", read(path), re.MULTILINE | re.DOTALL)
    values = read_literal(tree, path, found, "stage = {...}")
    if values is None:
        return None
    faults = declaration_faults(values)
    for fault in faults:
        tree.problems.append(Violation(relative(tree, path), 0, "bad-declaration", fault))
    return None if faults else Stage(name=name, dir=path.parent, **values)


def declaration_faults(values) -> list:
    """What is wrong with a stage's dictionary, in words."""
    if not isinstance(values, dict):
        return ["`stage` must be a dictionary"]
    types = {**REQUIRED_KEYS, **OPTIONAL_KEYS}
    faults = [f"key '{key}' is missing" for key in REQUIRED_KEYS if key not in values]
    faults += [f"key '{key}' is unknown" for key in values if key not in types]
    faults += [f"'{key}' must be a {types[key].__name__}"
               for key, value in values.items() if key in types
               and not isinstance(value, types[key])]
    return faults or entry_faults(values)


def entry_faults(values: dict) -> list:
    faults = []
    for key, suffix in (("headers", ".h"), ("sources", ".cc")):
        pattern = re.compile(rf"rung/[\w/-]+\{suffix}")
        faults += [f"'{entry}' in '{key}' must look like rung/DIR/NAME{suffix}"
                   for entry in values[key] if not pattern.fullmatch(str(entry))]
    faults += [f"'{entry}' in 'tests' must be a name without _test.cc"
               for entry in values["tests"] if not re.fullmatch(r"\w+", str(entry))]
    faults += [f"the reason for retiring '{key}' must be a string"
               for key, reason in values["retires"].items() if not isinstance(reason, str)]
    return faults


# Differences between two versions of a file.

def unified_diff(old: Path | None, new: Path, root: Path) -> list:
    """Lines of a unified diff; a missing old file counts as empty."""
    old_lines = read(old).splitlines() if old else []
    old_name = old.relative_to(root).as_posix() if old else "/dev/null"
    return list(difflib.unified_diff(old_lines, read(new).splitlines(), old_name,
                                     new.relative_to(root).as_posix(), lineterm=""))


def diff_counts(old: Path, new: Path) -> tuple:
    """How many lines were added and removed."""
    lines = list(difflib.unified_diff(read(old).splitlines(), read(new).splitlines()))[2:]
    return (sum(line.startswith("+") for line in lines),
            sum(line.startswith("-") for line in lines))


def files_below(folder: Path) -> list:
    return sorted(p for p in folder.rglob("*") if not p.is_dir() or p.is_symlink())
