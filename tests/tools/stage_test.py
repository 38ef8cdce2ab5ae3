#!/usr/bin/env python3
"""Tests of tools/stage on a tree of two small stages, built in a temporary directory."""

from __future__ import annotations

import shutil
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
sys.dont_write_bytecode = True
import stage_tree  # noqa: E402
import tap  # noqa: E402
from stage_tree import FILES, SECOND_MESON, TEST_TEXT, TOOL  # noqa: E402


class CheckTest(stage_tree.MiniTree):
    """Each rule, broken once."""

    def expect(self, start: str, *, part: str = "") -> None:
        """Expects `check` to fail with a line that starts with `start` and holds `part`."""
        result = self.stage("check")
        self.assertEqual(result.returncode, 1, result.stderr)
        lines = result.stderr.splitlines()
        self.assertTrue(any(line.startswith(start + ": ") and part in line for line in lines),
                        f"no line '{start}' with '{part}' in:\n{result.stderr}")

    def expect_no_rule(self, rule: str) -> None:
        self.assertNotIn(f" {rule}: ", self.stage("check").stderr)

    def test_good_tree(self):
        self.assertEqual(self.output("check"),
                         "stage check: 2 stages, 4 library files, no violation\n")

    def test_prints_every_violation(self):
        self.write("lib/rung/Extra.h", "#pragma once\n")
        self.write("examples/demo.h", "")
        self.expect("lib/rung/Extra.h: lib-differs")
        self.expect("examples/demo.h: pragma-once")

    def test_bare_include_of_a_sibling(self):
        self.replace("stages/02-second/rung/net/B.cc", "\n\n", '\n#include "B.h"\n')
        self.expect("stages/02-second/rung/net/B.cc:2: bare-include", part='"B.h"')

    def test_bare_include_in_every_directory(self):
        for name in ("examples/x.cc", "bench/x.cc", "tests/integration/x.cc", "lib/rung/x.cc"):
            self.write(name, '#include "B.h"\n')
            self.expect(f"{name}:1: bare-include", part='"B.h"')
        self.write("tests/integration/y.cc", '#include "Helper.h"\n')
        self.expect("tests/integration/y.cc:1: bare-include", part='"Helper.h"')

    def test_headers_of_an_example(self):
        self.write("examples/own/x.cc", '#include "own/Helper.h"\n')
        self.expect_no_rule("bare-include")

    def test_library_does_not_include_tests(self):
        self.replace("stages/02-second/rung/net/B.cc", "\n\n",
                     '\n#include "tests/support/Help.h"\n')
        self.expect("stages/02-second/rung/net/B.cc:2: bare-include", part="tests/support/Help.h")

    def test_angle_brackets_in_a_stage(self):
        self.replace("stages/02-second/rung/net/B.h", '"rung/base/A.h"', "<rung/base/A.h>")
        self.expect("stages/02-second/rung/net/B.h:2: bare-include", part="in quotes")

    def test_angle_brackets_in_lib(self):
        self.replace("lib/rung/net/B.h", '"rung/base/A.h"', "<rung/base/A.h>")
        self.expect("lib/rung/net/B.h:2: bare-include", part="in quotes")

    def test_include_of_a_later_stage(self):
        self.replace("stages/01-first/rung/base/A.cc", "\n\n", '\n#include "rung/net/B.h"\n')
        self.expect("stages/01-first/rung/base/A.cc:2: include-missing", part="rung/net/B.h")

    def test_include_of_nothing_in_test(self):
        self.replace("stages/01-first/tests/a_test.cc", "rung/base/A.h", "rung/base/Gone.h")
        self.expect("stages/01-first/tests/a_test.cc:3: include-missing", part="rung/base/Gone.h")

    def test_include_of_missing_support(self):
        self.replace("stages/01-first/tests/old_test.cc", "Help.h", "Gone.h")
        self.expect("stages/01-first/tests/old_test.cc:3: include-missing", part="Gone.h")

    def test_lib_misses_a_file(self):
        (self.root / "lib/rung/net/B.cc").unlink()
        self.expect("lib/rung/net/B.cc: lib-differs", part="missing")

    def test_lib_has_an_extra_file(self):
        self.write("lib/rung/net/Extra.h", "#pragma once\n")
        self.expect("lib/rung/net/Extra.h: lib-differs", part="no stage")

    def test_lib_differs_by_one_byte(self):
        self.replace("lib/rung/base/A.cc", "\n\n", "\n\n\n")
        self.expect("lib/rung/base/A.cc: lib-differs", part="promote")

    def test_lib_meson_edited(self):
        self.replace("lib/rung/meson.build", "'base/A.cc'", "'base/A.cc' ")
        self.expect("lib/rung/meson.build: lib-differs")

    def test_declared_file_deleted(self):
        (self.root / "stages/02-second/rung/net/B.h").unlink()
        self.expect("stages/02-second/meson.build:5: deleted-or-renamed", part="rung/net/B.h")

    def test_declared_test_renamed(self):
        tests = self.root / "stages/02-second/tests"
        (tests / "b_test.cc").rename(tests / "c_test.cc")
        self.expect("stages/02-second/meson.build:7: deleted-or-renamed", part="tests/b_test.cc")
        self.expect("stages/02-second/tests/c_test.cc: undeclared")

    def test_undeclared_file(self):
        self.write("stages/01-first/rung/base/Z.h", "#pragma once\n")
        self.expect("stages/01-first/rung/base/Z.h: undeclared", part="01-first/meson.build")

    def test_undeclared_test(self):
        self.write("stages/01-first/tests/z_test.cc", "")
        self.expect("stages/01-first/tests/z_test.cc: undeclared")

    def test_replacement_unchanged(self):
        self.write("stages/02-second/rung/base/A.cc", FILES["stages/01-first/rung/base/A.cc"])
        self.expect("stages/02-second/rung/base/A.cc: unchanged", part="01-first")

    def test_stage_md_stale(self):
        self.replace("stages/02-second/rung/base/A.cc", "\n\n", "\n\n\n")
        self.expect("stages/02-second/STAGE.md: stale-stage-md")

    def test_stage_md_missing(self):
        (self.root / "stages/01-first/STAGE.md").unlink()
        self.expect("stages/01-first/STAGE.md: stale-stage-md")

    def test_stage_md_lacks_new_chapter(self):
        self.write("docs/tutorial/01-first.md", "")
        self.expect("stages/01-first/STAGE.md: stale-stage-md")

    def test_stage_directory_not_listed(self):
        (self.root / "stages/03-third").mkdir()
        self.expect("stages/03-third: stage-order", part="does not list")

    def test_listed_stage_not_there(self):
        self.replace("stages/meson.build", "'02-second',", "'02-second', '03-third',")
        self.expect("stages/meson.build:3: stage-order", part="03-third")

    def test_stage_number_left_out(self):
        (self.root / "stages/02-second").rename(self.root / "stages/03-second")
        self.replace("stages/meson.build", "02-second", "03-second")
        self.expect_no_rule("stage-order")  # it is kept for a stage to come

    def test_stage_number_twice(self):
        (self.root / "stages/02-second").rename(self.root / "stages/01-second")
        self.replace("stages/meson.build", "02-second", "01-second")
        self.expect("stages/meson.build:3: stage-order", part="stage 02 or a later one")

    def test_stage_name_malformed(self):
        self.replace("stages/meson.build", "02-second", "second")
        self.expect("stages/meson.build:3: stage-order", part="NN-name")

    def test_retires_unknown_test(self):
        self.replace("stages/02-second/meson.build", "old_test.cc", "new_test.cc")
        self.expect("stages/02-second/meson.build:9: retired-unknown", part="new_test.cc")

    def test_retires_own_test(self):
        self.replace("stages/02-second/meson.build", "01-first/tests/old", "02-second/tests/b")
        self.expect("stages/02-second/meson.build:9: retired-unknown", part="b_test.cc")

    def test_retires_without_reason(self):
        self.replace("stages/02-second/meson.build", "A is no longer what it was", " ")
        self.expect("stages/02-second/meson.build:9: retired-unknown", part="no reason")

    def test_duplicate_test(self):
        self.replace("stages/02-second/meson.build", "['b']", "['a', 'b']")
        self.write("stages/02-second/tests/a_test.cc", TEST_TEXT.format("rung/base/A.h"))
        self.expect("stages/02-second/tests/a_test.cc: duplicate-test", part="01-first")

    def test_duplicate_of_retired_test_is_allowed(self):
        self.replace("stages/02-second/meson.build", "['b']", "['old', 'b']")
        self.write("stages/02-second/tests/old_test.cc", TEST_TEXT.format("rung/base/A.h"))
        self.output("promote")
        self.output("check")

    def test_line_length_counts_columns_not_bytes(self):
        self.write("bench/x.cc", "// " + "→" * 97 + "\n")
        self.expect_no_rule("line-length")
        self.write("bench/x.cc", "\n// " + "→" * 98 + "\n")
        self.expect("bench/x.cc:2: line-length", part="101 columns")

    def test_pragma_once(self):
        self.replace("stages/01-first/rung/base/A.h", "#pragma once\n", "")
        self.expect("stages/01-first/rung/base/A.h: pragma-once")

    def test_own_header_not_first(self):
        self.write("stages/02-second/rung/net/B.cc",
                   '#include "rung/base/A.h"\n#include "rung/net/B.h"\n')
        self.expect("stages/02-second/rung/net/B.cc:1: own-header-first", part="rung/net/B.h")

    def test_own_header_not_at_all(self):
        self.write("stages/02-second/rung/net/B.cc", "int b() { return 2; }\n")
        self.expect("stages/02-second/rung/net/B.cc: own-header-first", part="rung/net/B.h")

    def test_own_header_of_a_part(self):
        self.write("stages/02-second/rung/net/BReading.cc", "int c() { return 3; }\n")
        self.replace("stages/02-second/meson.build", "'rung/net/B.cc'",
                     "'rung/net/B.cc', 'rung/net/BReading.cc'")
        self.expect_no_rule("own-header-first")

    def test_declaration_is_no_literal(self):
        self.replace("stages/02-second/meson.build", "['b']", "['b'] + more")
        self.expect("stages/02-second/meson.build:2: bad-declaration", part="no operators")

    def test_declaration_syntax_error_has_its_line(self):
        self.replace("stages/02-second/meson.build", "['b'],", "['b' },")
        self.expect("stages/02-second/meson.build:7: bad-declaration", part="plain literal")

    def test_declaration_not_found(self):
        self.write("stages/02-second/meson.build", "phase = {}\n")
        self.expect("stages/02-second/meson.build: bad-declaration", part="stage = {...}")

    def test_declaration_keys(self):
        self.replace("stages/02-second/meson.build", "'retires': {", "'retire': {")
        self.expect("stages/02-second/meson.build: bad-declaration", part="'retires' is missing")
        self.expect("stages/02-second/meson.build: bad-declaration", part="'retire' is unknown")

    def test_declaration_types(self):
        for old, new, part in (("['b']", "'b'", "'tests' must be a list"),
                               ("['b']", "['b_test.cc']", "without _test.cc"),
                               ("rung/net/B.cc", "net/B.cc", "'net/B.cc'"),
                               ("'rung/net/B.h'", "'rung/net/B.cc'", "'headers'"),
                               ("'A is no longer what it was'", "3", "must be a string")):
            self.write("stages/02-second/meson.build", SECOND_MESON)
            self.replace("stages/02-second/meson.build", old, new)
            self.expect("stages/02-second/meson.build: bad-declaration", part=part)


class PromoteTest(stage_tree.MiniTree):
    def test_lib_is_the_overlay(self):
        self.assertEqual(self.text("lib/rung/base/A.cc"),
                         FILES["stages/02-second/rung/base/A.cc"])
        self.assertEqual(self.text("lib/rung/base/A.h"), FILES["stages/01-first/rung/base/A.h"])
        self.assertEqual(self.text("lib/rung/net/B.h"), FILES["stages/02-second/rung/net/B.h"])

    def test_generated_meson(self):
        text = self.text("lib/rung/meson.build")
        self.assertIn("do not edit", text.splitlines()[0])
        self.assertIn("rung_sources = files(\n  'base/A.cc',\n  'net/B.cc',\n)\n", text)
        self.assertIn("rung_base_headers = files(\n  'base/A.h',\n)\n", text)
        self.assertIn("rung_net_headers = files(\n  'net/B.h',\n)\n", text)
        self.assertIn("  'rung/net': rung_net_headers,\n", text)

    def test_second_time_does_nothing(self):
        before = {p: p.stat().st_mtime_ns for p in self.root.rglob("*")}
        self.assertEqual(self.output("promote"), "nothing to do\n")
        self.assertEqual({p: p.stat().st_mtime_ns for p in self.root.rglob("*")}, before)

    def test_says_what_it_changes(self):
        self.write("lib/rung/gone/Extra.h", "")
        (self.root / "lib/rung/net/B.cc").unlink()
        self.replace("lib/rung/base/A.h", "int", "long")
        kept = (self.root / "lib/rung/base/A.cc").stat().st_mtime_ns
        self.assertEqual(self.output("promote").splitlines(),
                         ["wrote lib/rung/base/A.h", "wrote lib/rung/net/B.cc",
                          "removed lib/rung/gone/Extra.h"])
        self.assertFalse((self.root / "lib/rung/gone").exists())
        self.assertEqual((self.root / "lib/rung/base/A.cc").stat().st_mtime_ns, kept)
        self.output("check")

    def test_refuses_when_a_declared_file_is_missing(self):
        (self.root / "stages/02-second/rung/net/B.h").unlink()
        self.refuse("rung/net/B.h", "promote")
        self.assertTrue((self.root / "lib/rung/net/B.h").exists())

    def test_refuses_when_a_stage_cannot_be_read(self):
        shutil.rmtree(self.root / "stages/02-second")
        self.refuse("02-second", "promote")
        self.assertTrue((self.root / "lib/rung/net/B.h").exists())

    def test_stage_md(self):
        text = self.text("stages/02-second/STAGE.md")
        for part in ("# Stage 02: Second things", "Adds the letter B.",
                     "| [rung/net/B.h](rung/net/B.h) | new | 3 |",
                     "| replaces that of [01-first](../01-first/rung/base/A.cc) | 3 |",
                     "| [b](tests/b_test.cc) | 1 |",
                     "- [01-first/tests/old_test.cc](../01-first/tests/old_test.cc): A is no",
                     "    meson test -C build --suite stage02\n", "    tools/stage diff 02\n"):
            self.assertIn(part, text)
        self.assertNotIn("docs/tutorial", text)

    def test_change_of_another_stage_leaves_stage_md_alone(self):
        before = self.text("stages/02-second/STAGE.md")
        self.replace("stages/01-first/meson.build", "'rung/base/A.h'", "'rung/base/A.h', 'rung/base/C.h'")
        self.write("stages/01-first/rung/base/C.h", "#pragma once\n")
        for name in ("A.h", "A.cc"):
            self.replace(f"stages/01-first/rung/base/{name}", "\n", "\n\n")
        self.assertIn("wrote stages/01-first/STAGE.md\n", self.output("promote"))
        self.assertEqual(self.text("stages/02-second/STAGE.md"), before)

    def test_stage_md_links_its_chapter(self):
        self.write("docs/tutorial/02-more.md", "")
        self.assertEqual(self.output("promote"), "wrote stages/02-second/STAGE.md\n")
        self.assertIn("[02-more.md](../../docs/tutorial/02-more.md)",
                      self.text("stages/02-second/STAGE.md"))


class ExportTest(stage_tree.MiniTree):
    def export(self, number: str) -> Path:
        target = self.root.parent / "out" / number
        self.output("export", number, str(target))
        return target

    def test_files(self):
        target = self.export("02")
        found = {p.relative_to(target).as_posix() for p in target.rglob("*") if p.is_file()}
        self.assertEqual(found, {
            "README.md", "meson.build", "rung/base/A.h", "rung/base/A.cc", "rung/net/B.h",
            "rung/net/B.cc", "tests/a_test.cc", "tests/b_test.cc", "tests/support/Help.h",
            "tests/support/main.cc"})
        self.assertEqual((target / "rung/base/A.cc").read_text(encoding="utf-8"),
                         FILES["stages/02-second/rung/base/A.cc"])

    def test_earlier_stage_keeps_what_is_retired_later(self):
        target = self.export("01")
        self.assertTrue((target / "tests/old_test.cc").exists())
        self.assertFalse((target / "rung/net").exists())
        self.assertEqual((target / "rung/base/A.cc").read_text(encoding="utf-8"),
                         FILES["stages/01-first/rung/base/A.cc"])

    def test_meson_build(self):
        text = (self.export("02") / "meson.build").read_text(encoding="utf-8")
        for part in ("project('rung-stage02', 'cpp',", "'-Wshadow'", "'cpp_std=c++20'",
                     "cxx.has_header('doctest/doctest.h')", "  'rung/net/B.cc',\n",
                     "  'tests/support/main.cc',\n", "  'tests/b_test.cc',\n",
                     "  'a': 7,\n  'b': 60,\n"):
            self.assertIn(part, text)
        self.assertNotIn("old", text)

    def test_into_an_empty_directory(self):
        (self.root.parent / "out" / "02").mkdir(parents=True)
        self.export("02")

    def test_refuses_a_directory_in_use(self):
        target = self.root.parent / "used"
        target.mkdir()
        (target / "mine.txt").write_text("")
        self.refuse(str(target), "export", "02", str(target))
        self.assertEqual([p.name for p in target.iterdir()], ["mine.txt"])

    def test_refuses_a_file(self):
        self.refuse("meson.build", "export", "02", str(self.root / "meson.build"))

    def test_refuses_two_tests_of_one_name(self):
        self.replace("stages/02-second/meson.build", "['b']", "['a', 'b']")
        self.write("stages/02-second/tests/a_test.cc", "")
        target = self.root.parent / "out"
        self.refuse("'a'", "export", "02", str(target))
        self.assertFalse(target.exists())

    def test_refuses_when_the_flags_are_not_found(self):
        self.write("meson.build", "project('mini', 'cpp', default_options: [])\n")
        target = self.root.parent / "out"
        self.refuse("meson.build", "export", "02", str(target))
        self.assertFalse(target.exists())


class PrintTest(stage_tree.MiniTree):
    def test_list(self):
        rows = [line.split("  ") for line in self.output("list").splitlines()]
        cells = [[cell.strip() for cell in row if cell.strip()] for row in rows]
        self.assertEqual(cells, [
            ["stage", "title", "new", "replaced", "lines", "tests", "cases"],
            ["01", "First things", "2", "0", "5", "2", "2"],
            ["02", "Second things", "2", "1", "9", "1", "1"]])

    def test_show(self):
        text = self.output("show", "02")
        for part in ("02-second: Second things\nadds the letter B\n", "3  rung/net/B.h\n",
                     "3  rung/base/A.cc (+1 -1 against 01-first)\n",
                     "2  rung/base/A.h (from 01-first)\n", "1  b\n",
                     "01-first/tests/old_test.cc: A is no longer what it was\n"):
            self.assertIn(part, text)

    def test_show_takes_number_or_name(self):
        self.assertEqual(self.output("show", "2"), self.output("show", "02"))
        self.assertEqual(self.output("show", "02-second"), self.output("show", "02"))

    def test_paths(self):
        self.assertEqual(self.output("paths", "02").splitlines(), [
            "stages/02-second/rung/base/A.cc", "stages/01-first/rung/base/A.h",
            "stages/02-second/rung/net/B.cc", "stages/02-second/rung/net/B.h"])

    def test_diff(self):
        text = self.output("diff", "02")
        for part in ("--- stages/01-first/rung/base/A.cc\n+++ stages/02-second/rung/base/A.cc\n",
                     "-int a() { return 1; }\n+int a() { return 2; }\n",
                     "new file: stages/02-second/rung/net/B.h (3 lines)\n"):
            self.assertIn(part, text)
        self.assertNotIn("int b", text)

    def test_diff_full(self):
        text = self.output("diff", "02", "--full")
        self.assertIn("--- /dev/null\n+++ stages/02-second/rung/net/B.h\n", text)
        self.assertIn("+int b() { return a(); }\n", text)

    def test_first_stage_has_only_new_files(self):
        self.assertEqual(self.output("diff", "01").splitlines(),
                         ["new file: stages/01-first/rung/base/A.cc (3 lines)",
                          "new file: stages/01-first/rung/base/A.h (2 lines)"])


class ArgumentsTest(stage_tree.MiniTree):
    def test_unknown_stage(self):
        for arguments in (("show", "17"), ("diff", "17"),
                          ("export", "17", str(self.root.parent / "out"))):
            self.refuse("no stage '17' (known: 01, 02)", *arguments)
        self.assertFalse((self.root.parent / "out").exists())

    def test_unknown_or_missing_command(self):
        self.refuse("usage", "polish")
        self.refuse("usage")
        self.refuse("usage", "show")

    def test_root_without_stages(self):
        self.root = self.root.parent
        self.refuse("stages/meson.build", "list")

    def test_help(self):
        self.assertIn("promote", self.output("--help"))
        for command in ("list", "show", "diff", "export", "fix", "flags", "promote", "check"):
            self.assertIn("usage", self.output(command, "--help"))

    def test_works_from_any_directory(self):
        result = subprocess.run([sys.executable, str(TOOL), "list"], cwd=self.root.parent,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.assertEqual(result.returncode, 0, result.stdout)
        self.assertIn("Foundations", result.stdout)


if __name__ == "__main__":
    tap.Runner.group = "tools/stage"
    unittest.main(argv=sys.argv[:1], testRunner=tap.Runner)
