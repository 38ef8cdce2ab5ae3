#!/usr/bin/env python3
"""tools/quiz on a small tree made for the purpose, and what it makes of this repository's pages."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve()
ROOT = HERE.parents[2]
sys.path[:0] = [str(HERE.parents[1] / 'support'), str(ROOT / 'tools')]
import tap  # noqa: E402
import terminal  # noqa: E402
from rungtools import interview  # noqa: E402

RECORD = """## {title}
<!-- id: {id} -->
**In 30 seconds.** The short answer of {id}.

**In full.** The long one, with code:

```cpp
## not a heading
```

**They ask next.** More.

**Often wrong.** Less.

**How it is known:** demonstrated, cited —
[test](../../facts_test.cc "one, and two"), [a page](https://example.org/page)

**Run it:** `tools/quiz --prove {id}`

"""


class Quiz(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name).resolve()
        pages = self.root / 'docs' / 'interview'
        pages.mkdir(parents=True)
        (self.root / 'facts_test.cc').write_text('TEST_CASE(\n    "one, "\n    "and two") {}\n')
        (pages / 'README.md').write_text('# Index\n\n## Not a question\n')
        self.page = pages / 'sea.md'
        self.page.write_text('# Sea\n\n' + RECORD.format(title='Is it wet?', id='wet'))
        (pages / 'sky.md').write_text('# Sky\n\n' + ''.join(
            RECORD.format(title=f'Is it {word}?', id=word) for word in ('blue', 'high', 'wide')))

    def quiz(self, *arguments, root=None):
        return subprocess.run(
            [sys.executable, ROOT / 'tools' / 'quiz', '--root', root or self.root, *arguments],
            text=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=60, check=False)

    def on_terminal(self, keys, *arguments):
        """Runs it on a terminal, as a user who types `keys`. Its exit status and what it shows."""
        return terminal.run(self, [sys.executable, ROOT / 'tools' / 'quiz', '--root', self.root,
                                   '--seed', '1', *arguments], keys)

    def test_repository(self):
        """each question of this repository has all parts, and proofs that exist"""
        questions = interview.load(ROOT)
        self.assertEqual(list(interview.problems(questions)), [])
        self.assertGreaterEqual(len(questions), 64)

    def test_parsing(self):
        """a page becomes questions, with parts, kinds and proofs"""
        question = interview.load(self.root)[0]
        self.assertEqual((question.theme, question.id, question.title), ('sea', 'wet', 'Is it wet?'))
        self.assertEqual(tuple(question.parts), interview.PARTS)
        self.assertEqual(question.parts['In 30 seconds.'], 'The short answer of wet.')
        self.assertEqual(question.kinds, ['demonstrated', 'cited'])
        self.assertEqual(question.proofs, [
            interview.Proof('test', self.root / 'facts_test.cc', 'one, and two'),
            interview.Proof('cite', 'https://example.org/page', 'a page')])
        self.assertEqual(list(interview.problems(interview.load(self.root))), [])

    def test_problems(self):
        """what is wrong with a page is named"""
        good = self.page.read_text()
        for old, new, complaint in (
                ('<!-- id: wet -->\n', '', 'has no id'),
                ('id: wet', 'id: blue', 'the id blue is taken'),
                ('**Often wrong.** Less.\n', '', 'part missing or empty: Often wrong.'),
                ('--prove wet', '--prove dry', 'the command does not name wet'),
                ('demonstrated, cited', 'measured', 'says measured, and has cite, test'),
                ('"one, and two"', '"three"', 'facts_test.cc has no test "three"'),
                ('../../facts_test.cc', '../../gone.cc', f'there is no {self.root}/gone.cc')):
            with self.subTest(complaint):
                self.page.write_text(good.replace(old, new))
                self.assertIn(complaint, '\n'.join(
                    text for _, text in interview.problems(interview.load(self.root))))

    def test_commas(self):
        """a comma in the name of a test does not end it"""
        proof = interview.load(self.root)[0].proofs[0]
        self.assertEqual(interview.command_for(proof, '/x/tests'),
                         ['/x/tests', '--reporters=tap', '--test-case=one? and two'])

    def test_list(self):
        """--list shows all, --theme those of one page"""
        self.assertEqual(len(self.quiz('--list').stdout.splitlines()), 4)
        self.assertEqual(self.quiz('--list', '--theme', 'sea').stdout.split()[:2], ['sea', 'wet'])

    def test_no_terminal(self):
        """without a terminal it prints one question, without its answer, and exits 0"""
        done = self.quiz('--theme', 'sea')
        self.assertEqual((done.returncode, done.stderr), (0, ''))
        self.assertIn('Is it wet?', done.stdout)
        self.assertNotIn('short answer', done.stdout)

    def test_seed(self):
        """a seed repeats the order, and another one may change it"""
        first = {self.quiz('--seed', '7').stdout for _ in range(3)}
        self.assertEqual(len(first), 1)
        self.assertGreater(len({self.quiz('--seed', str(n)).stdout for n in range(12)}), 1)

    def test_refusals(self):
        """an unknown theme or id is named, with those that there are; so is a tree without pages"""
        for arguments, words in ((('--theme', 'soup'), ("'soup'", 'sea, sky')),
                                 (('--prove', 'dry'), ("'dry'", 'wet, blue, high, wide')),
                                 (('--seed', 'x'), ("'x'",))):
            done = self.quiz(*arguments)
            self.assertEqual((done.returncode, done.stdout), (2, ''))
            for word in words:
                self.assertIn(word, done.stderr)
        self.assertEqual(self.quiz(root='/nonexistent').returncode, 2)

    def test_citation(self):
        """the proof of a citation is its address"""
        self.page.write_text(self.page.read_text().replace(
            '[test](../../facts_test.cc "one, and two"), ', ''))
        done = self.quiz('--prove', 'wet')
        self.assertEqual(done.returncode, 0)
        self.assertIn('https://example.org/page', done.stdout)

    def test_terminal(self):
        """on a terminal it answers when asked, goes on, and ends with q"""
        status, shown = self.on_terminal(b'\nf\nn\nq\n')
        self.assertEqual(status, 0)
        self.assertIn('The short answer of', shown)
        self.assertIn('## not a heading', shown)
        self.assertIn('2 of 4', shown)
        self.assertNotIn('\x1b', shown)

    def test_ends(self):
        """the end of input and Ctrl-C end it, without a traceback"""
        for key in (b'\x04', b'\x03'):
            status, shown = self.on_terminal(key)
            self.assertEqual(status, 0)
            self.assertNotIn('Traceback', shown)


if __name__ == '__main__':
    tap.Runner.group = 'tools/quiz'
    unittest.main(argv=sys.argv[:1], testRunner=tap.Runner)
