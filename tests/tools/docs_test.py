#!/usr/bin/env python3
"""tools/docs on a small tree: marks, quoted code, links and anchors."""

import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'support'))
import docs_tree  # noqa: E402
import tap  # noqa: E402

PAGE = """# A page

See [the code](../code.cc), [the web](https://example.org/none) and [this page](#a-page).

<!-- file: code.cc -->
```cpp
int main() {}
```

```sh
echo '[not a link](nowhere)'
```
"""
CC = 'stages/01-one/rung/net/Tap.cc'
HEADER = 'stages/01-one/rung/net/Tap.h'


class Files(docs_tree.DocsCase):
    def setUp(self):
        super().setUp()
        self.write('code.cc', 'int main() {}\n')
        self.page.write_text(PAGE)

    def test_good(self):
        """a good tree passes"""
        self.assertIn('1 quotes', self.assert_good())

    def test_differs(self):
        """a block that is not its file is refused, with document, line and file; update mends it"""
        self.write('code.cc', 'int main() { return 1; }\n')
        self.assert_refused(None, 'docs/page.md:5: quoted-file: differs from code.cc')
        self.assertEqual(self.run_tool('update').returncode, 0)
        self.assertIn('{ return 1; }', self.page.read_text())
        self.assert_good()

    def test_missing_file(self):
        """a quote of a file that is not there is refused, and update leaves the block alone"""
        (self.root / 'code.cc').unlink()
        self.assert_refused(None, 'docs/page.md:5: quoted-file: there is no code.cc')
        self.run_tool('update')
        self.assertEqual(self.page.read_text(), PAGE)

    def test_mark_without_block(self):
        """a mark without a block is refused; update adds the block"""
        self.assert_refused('<!-- file: code.cc -->\n\ntext\n',
                            'docs/page.md:1: quoted-file: no block follows the mark of code.cc')
        self.assertEqual(self.update('<!-- file: code.cc -->\n\ntext\n'),
                         '<!-- file: code.cc -->\n```cpp\nint main() {}\n```\n\ntext\n')

    def test_unknown_mark(self):
        """a mistyped mark is refused; one inside a block is text"""
        self.assert_refused('<!-- cdoe: code.cc main -->\n', ':1: mark: "cdoe" is no kind of mark')
        self.assert_good('```\n<!-- cdoe: code.cc main -->\n```\n')

    def test_some_files(self):
        """named documents alone are checked; one that is not there is refused by name"""
        self.write('docs/other.md', '[x](gone)\n')
        self.assertEqual(self.run_tool('check', self.page).returncode, 0)
        done = self.run_tool('check', 'docs/none.md')
        self.assertEqual(done.returncode, 2)
        self.assertIn('docs/none.md is no document', done.stderr)


class Code(docs_tree.DocsCase):
    def quote(self, argument):
        """What update puts below the mark."""
        text = self.update(f'<!-- code: {argument} -->\n')
        lines = text.splitlines()
        self.assertGreater(len(lines), 2, self.run_tool('check').stderr)
        self.assert_good()
        return '\n'.join(lines[2:-1])

    def refused(self, argument, *words):
        self.assert_refused(f'<!-- code: {argument} -->\n', 'docs/page.md:1: quoted-code: ', *words)

    def test_definition(self):
        """a function comes whole, with its comment, in spite of braces in text and comments"""
        quoted = self.quote(f'{CC} Tap::open')
        self.assertTrue(quoted.startswith('// Rust keeps it shut'))
        self.assertTrue(quoted.endswith("  }\n}"))
        self.assertIn("1'0", quoted)

    def test_declaration(self):
        """a declaration comes with its docstring and without the indent of its class"""
        self.assertEqual(self.quote(f'{HEADER} Tap::open(int)'),
                         '/// Opens it.\n/// Thread: any.\nvoid open(int turns);')

    def test_others(self):
        """types, members, macros and test cases are quoted"""
        for argument, first, last in (
                ('class Tap', '/// Lets water flow.', '};'),
                ('enum class Turn', 'enum class Turn { left, right };', ''),
                ('isOpen', '[[nodiscard]] bool isOpen() const { return open_; }', ''),
                ('Tap::open_', 'bool open_{false};', ''),
                ('Tap::open(2)', 'void open(Turn turn) { turn_ = turn; }', ''),
                ('LOG_DRIP', '#define LOG_DRIP(text) \\', '  drip(text)')):
            with self.subTest(argument):
                quoted = self.quote(f'{HEADER} {argument}').splitlines()
                self.assertEqual((quoted[0], quoted[-1]), (first, last or first))
        quoted = self.quote('stages/01-one/tests/tap_test.cc "Tap: opens \\"wide\\""')
        self.assertTrue(quoted.startswith('// It dripped.\nTEST_CASE('))
        self.quote('stages/01-one/tests/tap_test.cc "Tap: a name that goes on in the next line"')

    def test_ambiguous(self):
        """an overloaded name is refused with the candidates"""
        self.refused(f'{HEADER} Tap::open', 'several `Tap::open`', 'Tap::open(int turns)',
                     'Tap::open(Turn turn)')
        self.refused(f'{HEADER} Tap::open(3)', 'has 2 of')

    def test_unknown(self):
        """an unknown symbol, test or file is refused with what there is"""
        self.refused(f'{CC} Tap::shut', 'declares no `Tap::shut`; it has Tap::open')
        self.refused('stages/01-one/tests/tap_test.cc "Tap: open"', 'no test case "Tap: open"',
                     'Tap: opens')
        self.refused('gone.cc f', 'there is no gone.cc')
        self.refused(CC, 'is not PATH SYMBOL')

    def test_changed(self):
        """a block is refused once the code has changed"""
        self.quote(f'{CC} Tap::open')
        self.write(CC, docs_tree.FILES[CC].replace('turns; ++i', 'turns; i++'))
        self.assert_refused(None, f'quoted-code: differs from {CC}')

    def test_range(self):
        """a range goes from the only line with the first text to the next one with the second"""
        self.assertEqual(self.quote(f'{CC} Tap::open from "for (int" to "}}"'),
                         "for (int i = 0; i < turns; ++i) {\n"
                         "  open_ = i > 1'0 || text[0] == kBrace;\n}")
        self.assertEqual(self.quote("stages/meson.build from 'stage_names' to \"'01\""),
                         "stage_names = [\n  '01-one',")
        self.refused(f'{CC} Tap::open from "open" to "}}"', '2 lines hold "open"')
        self.refused(f'{CC} Tap::open from "for" to "kNone"', 'no line after "for" holds "kNone"')

    def test_python(self):
        """functions, classes and tests of Python are quoted; other files only by range"""
        self.assertTrue(self.quote('tools/count.py count').startswith('def count(words):'))
        self.assertIn('test_none', self.quote('tools/count.py "nothing counts as none"'))
        self.refused('tools/count.py size', 'it has', 'count')
        self.refused('stages/meson.build stage_names', 'has no `stage_names`')
        self.write('script.sh', 'if true; then :; fi\n')
        self.refused('script.sh true', 'neither C++ nor Python')


class Links(docs_tree.DocsCase):
    def test_dead_link(self):
        """a link that leads nowhere is refused; one in a block or in code is not looked at"""
        self.assert_refused('[x](../gone.cc)\n', 'docs/page.md:1: link: there is no ../gone.cc')
        self.assert_refused('a\n\n[x]: gone.md\n', 'docs/page.md:3: link: there is no gone.md')
        self.assert_good('`[x](gone)`\n')

    def test_outside(self):
        """a link out of the project is refused"""
        self.assert_refused('[x](../../..)\n', 'leads out of the project')

    def test_anchor(self):
        """an anchor must be a heading's, on this page or another"""
        self.write('docs/other.md', '# `Tap`: why?\n\n## Twice\n\n## Twice\n\n```\n# no\n```\n')
        self.assert_good('# One\n[a](#one) [b](other.md#tap-why) [c](other.md#twice-1)\n')
        self.assert_refused('# One\n\n[a](#two)\n', ':3: link: no heading of docs/page.md',
                            '#two; it has #one')
        self.assert_refused('[a](other.md#no)\n', 'docs/other.md is called #no')

    def test_line_anchor(self):
        """#L10 of a source file must be one of its lines"""
        self.assert_good('[a](../tools/count.py#L3) [b](../tools/count.py#L1-L2)\n')
        self.assert_refused('[a](../tools/count.py#L300)\n', 'has 8 lines, and no #L300')
        self.assert_refused('[a](../tools/count.py#count)\n', '#count is not of the form #L10')


if __name__ == '__main__':
    tap.Runner.group = 'tools/docs'
    unittest.main(argv=sys.argv[:1], testRunner=tap.Runner)
