"""One change for all stages that issue a file: made for `tools/stage fix`, missed by `check`."""

from __future__ import annotations

import difflib
import os
import re
import subprocess
import tempfile
from pathlib import Path

from . import cppscan
from .stagefiles import promote, write_changed
from .stages import Tree, TreeError, Violation, overlay, relative


def git(tree: Tree, *arguments: str) -> bytes | None:
    """What git prints; None where it fails or is not there."""
    try:
        done = subprocess.run(["git", "-c", "safe.directory=*", "-C", tree.root, *arguments],
                              stdin=subprocess.DEVNULL, capture_output=True)
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None


def committed(tree: Tree, path: Path) -> bytes | None:
    return git(tree, "show", f"HEAD:./{relative(tree, path)}")


# fix

def fix(tree: Tree, name: str, skipped: list) -> None:
    """Makes the one uncommitted change of a file in all other stages that issue it; all or none."""
    path = re.sub(r"^(\./)?stages/[^/]+/", "", name)
    versions = {stage: stage.dir / path for stage in tree.stages if path in stage.files}
    if not versions:
        issued = {issued.rpartition("/")[2]: issued for issued in overlay(tree.stages)}
        near = [issued[match] for match in
                difflib.get_close_matches(path.rpartition("/")[2], issued, 3, cutoff=0.75)]
        raise TreeError(f"no stage issues '{path}'" + (f"; do you mean {' or '.join(near)}?"
                                                       if near else ""))
    if git(tree, "rev-parse", "HEAD") is None:
        raise TreeError(f"{tree.root} is no checkout of git with a commit, so nothing tells what "
                        "has changed")
    old = {stage: committed(tree, file) for stage, file in versions.items()}
    for stage, text in old.items():
        if text is None:
            raise TreeError(f"{relative(tree, versions[stage])} is not committed, so nothing tells "
                            "what has changed in it; commit it first")
    changed = [stage for stage, file in versions.items() if file.read_bytes() != old[stage]]
    if len(changed) != 1:
        raise TreeError(f"{path} has " + (f"changes in {', '.join(s.name for s in changed)}; leave "
                        "those of one stage, `git stash` or commit the others" if changed else
                        "no change that is not committed; make it in one stage first"))
    source, base = changed[0], old[changed[0]].decode()
    new = versions[source].read_text(encoding="utf-8")
    left_out = [tree.find(number) for number in skipped]
    for stage in left_out:
        if stage is source or stage not in versions:
            raise TreeError(f"--skip {stage.number}: {stage.name} " + (
                "has the change itself" if stage is source else f"does not issue {path}"))
    others = {stage: file for stage, file in versions.items()
              if stage is not source and stage not in left_out}
    results, faults = {}, []
    for stage, file in others.items():
        merged = merge(base, new, old[stage].decode())
        if merged is None:
            faults += [f"{relative(tree, file)}:{here}: the change at line {there} of {source.name} "
                       "does not fit" for here, there in misfits(base, new, old[stage].decode())]
        results[file] = merged
    if faults:
        raise TreeError("\n".join([*faults, "nothing was written; --skip NN leaves a stage out, "
                                            "whose version you then change by hand"]))
    for file, text in results.items():
        print(write_changed(tree, file, text.encode()) or f"{relative(tree, file)} has it already")
    promote(tree)


def merge(base: str, new: str, other: str) -> str | None:
    """`other` with the change from `base` to `new`; None where that overlaps with what differs."""
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, name) for name in "abc"]
        for file, text in zip(files, (other, base, new)):
            file.write_text(text, encoding="utf-8")
        done = subprocess.run(["git", "merge-file", "-p", "-q", *files], capture_output=True,
                              cwd=folder, env=os.environ | {"GIT_CEILING_DIRECTORIES": folder})
    return done.stdout.decode() if done.returncode == 0 else None


def misfits(base: str, new: str, other: str) -> list:
    """(line in `other`, line in `new`) of each part of the change that does not fit; of all of it
    where only the whole does not."""
    base_lines, new_lines, other_lines = (t.splitlines(True) for t in (base, new, other))
    parts = [part for part in opcodes(base_lines, new_lines) if part[0] != "equal"]
    found = []
    for _, begin, end, first, last in parts:
        one = base_lines[:begin] + new_lines[first:last] + base_lines[end:]
        if merge(base, "".join(one), other) is None:
            found.append((line_in(base_lines, other_lines, begin), first + 1))
    return found or [(line_in(base_lines, other_lines, parts[0][1]), parts[0][3] + 1)]


def opcodes(old: list, new: list) -> list:
    return difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()


def line_in(base: list, other: list, index: int) -> int:
    """The number of the line of `other` that stands where base[index] does."""
    for _, begin, end, first, last in opcodes(base, other):
        if begin <= index < end:
            return min(first + index - begin, max(first, last - 1)) + 1
    return len(other)


# check

def missed(tree: Tree):
    """A warning for each function that was the same in two stages at HEAD and is no longer: the
    change may be missing in one of them. A stage may also change what it inherits on purpose."""
    names = git(tree, "diff", "--name-only", "--relative", "HEAD", "--", "stages")
    changed = {tree.root / name for name in (names or b"").decode().splitlines()}
    for path in overlay(tree.stages):
        files = [stage.dir / path for stage in tree.stages
                 if path in stage.files and (stage.dir / path).is_file()]
        if len(files) < 2 or not changed.intersection(files):
            continue
        old = {file: functions((committed(tree, file) or b"").decode()) for file in files}
        new = {file: functions(file.read_text(encoding="utf-8")) for file in files}
        for file in sorted(changed.intersection(files)):
            for key, (text, line) in old[file].items():
                now, line = new[file].get(key, ("", line))
                apart = [relative(tree, other) for other in files
                         if old[other].get(key, ("",))[0] == text != now
                         and new[other].get(key, ("",))[0] != now]
                if apart:
                    yield Violation(relative(tree, file), line, "warning",
                                    f"{key[0]} is changed; it was, and no longer is, the same in "
                                    f"{', '.join(apart)}; see `tools/stage fix`")


def functions(text: str) -> dict:
    """(name, parameters) to (text, line) of each function that has a body."""
    return {(d.name, " ".join(d.parameters.split())):
            (text[d.start:d.end], text.count("\n", 0, d.start) + 1)
            for d in cppscan.declarations(text) if d.kind == "function" and d.body}
