"""The rules that stages keep, for `tools/stage check`."""

from __future__ import annotations

import re
from pathlib import Path

from . import stagefiles, stages
from .stages import CPP_SUFFIXES, Stage, Tree, Violation, files_below, line_of, read, relative

CPP_DIRS = ("stages", "lib", "examples", "bench", "tests", "docs")
INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]')
LIBRARY_FILE = re.compile(r"lib/|stages/[^/]+/rung/")
MAX_COLUMNS = 100

def violations(tree: Tree) -> list:
    """Every broken rule; but while a stage cannot be read, or one of its files is missing, the
    rules that would only fail on account of that are left out."""
    found = [*tree.problems, *check_directories(tree)]
    if not tree.problems:
        missing = [*check_declared_files(tree)]
        found += [*missing, *check_undeclared(tree), *check_retired(tree),
                  *check_duplicates(tree), *check_text(tree)]
        if not missing:
            found += [*check_unchanged(tree), *check_lib(tree), *check_stage_md(tree)]
    return sorted(found, key=lambda v: (v.path, v.line, v.rule, v.text))


def check_directories(tree: Tree):
    """stage-order: each directory in stages/ is listed (the list itself is checked when read)."""
    for folder in sorted((tree.root / "stages").iterdir()):
        if folder.is_dir() and folder.name not in tree.names:
            yield Violation(relative(tree, folder), 0, "stage-order",
                            "stage_names in stages/meson.build does not list this directory")


def check_declared_files(tree: Tree):
    """deleted-or-renamed: each declared file exists."""
    for stage in tree.stages:
        declared = stage.files + [f"tests/{test}_test.cc" for test in stage.tests]
        for path in declared:
            if not (stage.dir / path).is_file():
                declaration = stage.dir / "meson.build"
                entry = path.removeprefix("tests/").removesuffix("_test.cc")
                yield Violation(relative(tree, declaration), line_of(declaration, f"'{entry}'"),
                                "deleted-or-renamed", f"declares {path}, which is not there")


def check_undeclared(tree: Tree):
    """undeclared: each C++ file in a stage's directory is declared by its meson.build."""
    for stage in tree.stages:
        declared = {stage.dir / f for f in stage.files}
        declared |= {stage.test_path(test) for test in stage.tests}
        for path in files_below(stage.dir):
            if path.suffix in CPP_SUFFIXES and path not in declared:
                yield Violation(relative(tree, path), 0, "undeclared",
                                f"{relative(tree, stage.dir)}/meson.build does not name it")


def check_unchanged(tree: Tree):
    """unchanged: a replaced file differs from the version before it."""
    for stage in tree.stages:
        for path in tree.replaced_files(stage):
            old = tree.earlier(stage, path)
            if (old.dir / path).read_bytes() == (stage.dir / path).read_bytes():
                yield Violation(relative(tree, stage.dir / path), 0, "unchanged",
                                f"same bytes as in {old.name}, from which it would be inherited")


def check_retired(tree: Tree):
    """retired-unknown: a stage retires tests of earlier stages only, and says why."""
    for stage in tree.stages:
        path = stage.dir / "meson.build"
        known = {s.test_id(test) for s in tree.before(stage) for test in s.tests}
        for key, reason in stage.retires.items():
            where = (relative(tree, path), line_of(path, key), "retired-unknown")
            if key not in known:
                yield Violation(*where, f"'{key}' is no test of an earlier stage")
            if not reason.strip():
                yield Violation(*where, f"no reason is given for retiring '{key}'")


def check_duplicates(tree: Tree):
    """duplicate-test: at no stage are two tests of the same file name active."""
    for stage in tree.stages:
        earlier = {test: s for s, test in tree.active_tests(stage) if s is not stage}
        for test in stage.tests:
            if test in earlier:
                yield Violation(relative(tree, stage.test_path(test)), 0, "duplicate-test",
                                f"{earlier[test].name} has a test of the same name, which "
                                f"{stage.name} does not retire")


def check_lib(tree: Tree):
    """lib-differs: lib/rung/ is the overlay of all stages, byte for byte."""
    advice = "run `tools/stage promote`"
    wanted = {tree.root / "lib" / path: data
              for path, data in stagefiles.promoted_files(tree).items()}
    for path, data in wanted.items():
        if not path.is_file():
            yield Violation(relative(tree, path), 0, "lib-differs", f"is missing; {advice}")
        elif path.read_bytes() != data:
            yield Violation(relative(tree, path), 0, "lib-differs",
                            f"is not what the stages make it; {advice}")
    for path in files_below(tree.root / "lib" / "rung"):
        if path not in wanted:
            yield Violation(relative(tree, path), 0, "lib-differs",
                            f"belongs to no stage; {advice}")


def check_stage_md(tree: Tree):
    """stale-stage-md: each STAGE.md is what promote would write."""
    for stage in tree.stages:
        path = stage.dir / "STAGE.md"
        if not path.is_file() or read(path) != stagefiles.stage_md(tree, stage):
            yield Violation(relative(tree, path), 0, "stale-stage-md",
                            "is not up to date; run `tools/stage promote`")


def check_text(tree: Tree):
    """The rules on the text of C++ files, for every such file."""
    for folder in CPP_DIRS:
        for path in files_below(tree.root / folder):
            if path.suffix in CPP_SUFFIXES and path.is_file():
                yield from check_cpp_file(tree, path)


def check_cpp_file(tree: Tree, path: Path):
    name, lines = relative(tree, path), read(path).splitlines()
    includes = [(number, *match.groups()) for number, line in enumerate(lines, 1)
                if (match := INCLUDE.match(line))]
    for number, line in enumerate(lines, 1):
        if len(line) > MAX_COLUMNS:
            yield Violation(name, number, "line-length",
                            f"{len(line)} columns; {MAX_COLUMNS} are allowed")
    if path.suffix in (".h", ".hpp") and "#pragma once" not in (line.strip() for line in lines):
        yield Violation(name, 0, "pragma-once", "the header has no `#pragma once`")
    paths = stages.overlay(tree.stages)
    yield from check_own_header(path, name, includes, paths)
    headers = {path.rpartition("/")[2] for path in paths}
    yield from check_bare_includes(name, includes, headers)
    stage = next((s for s in tree.stages if s.dir in path.parents), None)
    if stage:
        yield from check_missing_includes(tree, stage, name, includes)


def check_own_header(path: Path, name: str, includes: list, paths):
    """own-header-first: proves that the header compiles alone.

    TcpConnectionReading.cc has no header of its own: it is a part of TcpConnection.
    """
    if not LIBRARY_FILE.match(name) or path.suffix != ".cc":
        return
    own = "rung/" + name.partition("rung/")[2].removesuffix(".cc") + ".h"
    if own not in paths and any(own.startswith(header.removesuffix(".h")) for header in paths):
        return
    number, _, first = includes[0] if includes else (0, "", "nothing")
    if first != own:
        yield Violation(name, number, "own-header-first",
                        f"its first include is {first}, not \"{own}\"")


def check_bare_includes(name: str, includes: list, headers: set):
    """bare-include: a bare name finds the sibling first, and so the wrong stage's file.

    Examples, benchmarks and the tutorial's programs may have headers of their own beside them, as
    long as their names are not those of the library's."""
    strict = name.startswith(("stages/", "lib/"))
    prefixes = ("rung/",) if LIBRARY_FILE.match(name) else ("rung/", "tests/")
    own = name.startswith(("examples/", "bench/", "docs/"))
    if not strict:
        prefixes += ("examples/", "bench/")
    for number, opener, target in includes:
        if own and target.rpartition("/")[2] not in headers:
            continue
        if opener == '"' and not target.startswith(prefixes):
            yield Violation(name, number, "bare-include",
                            f"\"{target}\" must start with " + " or ".join(prefixes))
        if opener == "<" and strict and target.startswith("rung/"):
            yield Violation(name, number, "bare-include", f"write \"{target}\", in quotes")


def check_missing_includes(tree: Tree, stage: Stage, name: str, includes: list):
    """include-missing: a stage includes only what it, or a stage before it, issues."""
    seen = stages.overlay(tree.upto(stage))
    for number, opener, target in includes:
        if target.startswith("rung/") and target not in seen:
            yield Violation(name, number, "include-missing",
                            f"no stage up to {stage.name} issues {target}")
        if target.startswith("tests/") and not (
                target.startswith("tests/support/") and (tree.root / target).is_file()):
            yield Violation(name, number, "include-missing",
                            f"{target} is no file in tests/support/")
