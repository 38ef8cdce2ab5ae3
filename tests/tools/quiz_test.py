#!/usr/bin/env python3
"""tools/quiz on a small tree made for the purpose, and what it makes of this repository's pages."""

import contextlib
import io
import json
import pathlib
import subprocess
import sys
import tempfile
import types
import unittest
import unittest.mock

HERE = pathlib.Path(__file__).resolve()
ROOT = HERE.parents[2]
sys.path[:0] = [str(HERE.parents[1] / 'support'), str(ROOT / 'tools')]
import tap  # noqa: E402
import terminal  # noqa: E402
from rungtools import claims, interview, quiz  # noqa: E402

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

    def bench(self, claim, kinds='measured'):
        """Makes the page's proof one of the benchmarks fast and slow, with this claim."""
        (self.root / 'speed_bench.cc').write_text('BENCHMARK(fast);\nBENCHMARK(slow);\n')
        self.page.write_text(self.page.read_text().replace('demonstrated, cited', kinds).replace(
            '[test](../../facts_test.cc "one, and two"), [a page](https://example.org/page)',
            '[bench](../../speed_bench.cc "fast"), [bench](../../speed_bench.cc "slow")' + claim))
        return interview.load(self.root)[0]

    def prove(self, question, threads=1, real=1.0):
        """The status and the words of a proof whose benchmarks take 10 and 30 ns."""
        program = self.root / 'bench.py'
        program.write_text(f"""#!{sys.executable}
import json, sys
name = sys.argv[1].partition('^')[2].partition('(')[0]
time = {{'fast': 10, 'slow': 30}}[name]
print(json.dumps({{'benchmarks': [{{'name': name + '/real_time', 'cpu_time': time, 'time_unit': 'ns',
                                  'real_time': time * {real}, 'threads': {threads}}}]}}))
""")
        program.chmod(0o755)
        options = types.SimpleNamespace(root=self.root, build_dir=None)
        with unittest.mock.patch.object(interview, 'executable_for',
                                        return_value=(program, self.root)), \
                contextlib.redirect_stdout(io.StringIO()) as shown:
            return quiz.prove(question, options), shown.getvalue()

    def test_claim_holds(self):
        """a benchmark that bears a claim out proves it, over rounds and with its margin"""
        question = self.bench(';\nit must hold that `slow` > 2 ×\n`fast`')
        self.assertEqual(question.claims, [claims.Claim('slow', '>', 2, 'fast')])
        self.assertEqual(list(interview.problems([question])), [])
        status, shown = self.prove(question)
        self.assertEqual(status, 0)
        self.assertIn('slow > 2 × fast: holds; 30 ns and 10 ns, ratio 3', shown)
        self.assertIn('5 rounds', shown)

    def test_claim_contradicted(self):
        """a benchmark that contradicts a claim fails the proof: by direction, or by its margin"""
        for claim in ('`slow` < `fast`', '`slow` > 4 × `fast`', '`fast` > `slow`'):
            with self.subTest(claim):
                self.setUp()
                status, shown = self.prove(self.bench('; ' + claim))
                self.assertEqual(status, 1)
                self.assertIn('CONTRADICTED', shown)
                self.assertIn('THE PROOF FAILED', shown)

    def test_claim_not_decided(self):
        """two threads that did not run side by side decide nothing, and that is not a success"""
        question = self.bench('; `slow` > 2 × `fast`')
        self.assertEqual(self.prove(question, threads=2, real=0.5)[0], 0)
        status, shown = self.prove(question, threads=2, real=1.0)
        self.assertEqual(status, 77)
        self.assertIn('not decided, 0 of 9 rounds', shown)
        self.assertNotIn('The proof holds', shown)

    def test_claim_or_seen(self):
        """a benchmark of which nothing is claimed is called seen, with machine and date"""
        wrong = [text for _, text in interview.problems([self.bench('')])]
        self.assertIn('says measured, and has seen', wrong)
        self.assertTrue(any('does not say "seen (machine, date)"' in text for text in wrong))
        self.setUp()
        self.page.write_text(self.page.read_text().replace(
            'The long one', 'Seen (a machine,\n1 May 2026): 10 ns. The long one'))
        question = self.bench('', 'seen')
        self.assertEqual(list(interview.problems([question])), [])
        with unittest.mock.patch.object(interview.subprocess, 'run', return_value=(
                types.SimpleNamespace(stdout='10 ns', returncode=0))):
            status, shown = self.prove(question)
        self.assertEqual(status, 0)
        self.assertIn('Nothing here can fail', shown)

    def test_claim_of_what_is_not_linked(self):
        """a claim is made of benchmarks to which the answer links"""
        question = self.bench('; `slow` > 2 × `fast`, and `slow` > `other`')
        self.assertIn('claims something of other, and has no link to it',
                      [text for _, text in interview.problems([question])])

    def test_benchmark_errors(self):
        """a benchmark that could not run has no time"""
        self.assertEqual(claims.times_of(json.dumps({'benchmarks': [
            {'name': 'a', 'error_occurred': True},
            {'name': 'b/10', 'cpu_time': 2, 'real_time': 2, 'time_unit': 'us'}]})),
            {'a': None, 'b/10': 2000})

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
