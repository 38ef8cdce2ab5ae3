#!/usr/bin/env python3
"""tools/docs on a small tree made for the purpose."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[1] / 'support'))
import tap  # noqa: E402

TOOL = HERE.parents[2] / 'tools' / 'docs'
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


class Docs(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        (self.root / 'docs').mkdir()
        (self.root / 'code.cc').write_text('int main() {}\n')
        self.page = self.root / 'docs' / 'page.md'
        self.page.write_text(PAGE)

    def run_tool(self, command):
        return subprocess.run([sys.executable, TOOL, '--root', self.root, command], text=True,
                              capture_output=True, check=False)

    def assert_refused(self, *words):
        done = self.run_tool('check')
        self.assertEqual(done.returncode, 1)
        for word in words:
            self.assertIn(word, done.stderr)

    def test_good(self):
        """a good tree passes"""
        done = self.run_tool('check')
        self.assertEqual((done.returncode, done.stderr), (0, ''))

    def test_differs(self):
        """a block that is not its file is refused, with document, line and file; update mends it"""
        (self.root / 'code.cc').write_text('int main() { return 1; }\n')
        self.assert_refused('docs/page.md:5: quoted-file: differs from code.cc')
        self.assertEqual(self.run_tool('update').returncode, 0)
        self.assertIn('{ return 1; }', self.page.read_text())
        self.assertEqual(self.run_tool('check').returncode, 0)

    def test_missing_file(self):
        """a quote of a file that is not there is refused, and update leaves the block alone"""
        (self.root / 'code.cc').unlink()
        self.assert_refused('docs/page.md:5: quoted-file: there is no code.cc')
        self.run_tool('update')
        self.assertEqual(self.page.read_text(), PAGE)

    def test_mark_without_block(self):
        """a mark without a block is refused"""
        self.page.write_text('<!-- file: code.cc -->\n\ntext\n')
        self.assert_refused('docs/page.md:1: quoted-file: no block follows the mark of code.cc')

    def test_dead_link(self):
        """a link that leads nowhere is refused; one in a block is not looked at"""
        self.page.write_text('[x](../gone.cc)\n')
        self.assert_refused('docs/page.md:1: link: there is no ../gone.cc')


if __name__ == '__main__':
    tap.Runner.group = 'tools/docs'
    unittest.main(argv=sys.argv[:1], testRunner=tap.Runner)
