#!/usr/bin/env python3
"""tools/docs on a small tree: outputs, tables, names, diagrams, tests and proofs."""

import os
import pathlib
import subprocess
import sys
import unittest
import unittest.mock

HERE = pathlib.Path(__file__).resolve()
sys.path[:0] = [str(HERE.parents[1] / 'support'), str(HERE.parents[2] / 'tools')]
sys.dont_write_bytecode = True
import docs_tree  # noqa: E402
import tap  # noqa: E402
from rungtools import interview  # noqa: E402

LINK = '[test](../../stages/01-one/tests/tap_test.cc \'Tap: opens "wide"\')'


class Outputs(docs_tree.DocsCase):
    def test_recorded(self):
        """update runs a command and shows it; check runs it again and refuses a difference"""
        text = self.update('<!-- output: echo one; echo two >&2 -->\n')
        self.assertIn('```console\n$ echo one; echo two >&2\none\ntwo\n```', text)
        self.assertIn('1 outputs run', self.assert_good())
        self.assert_refused(text.replace('two\n```', 'three\n```'), 'prints something else',
                            'one\ntwo')
        self.assert_refused(text.replace('$ echo', '$ printf'), 'the block shows `$ printf')

    def test_ellipsis(self):
        """an ellipsis stands for any text in a line or any lines, and update keeps it"""
        good = '<!-- output: seq 1 100 -->\n```text\n1\n…\n9…\n98\n…\n```\n'
        self.assert_good(good)
        self.assertEqual(self.update(good), good)
        self.assert_refused(good.replace('98', '101'), 'prints something else')

    def test_status(self):
        """an exit status other than the declared one is refused"""
        self.assert_refused('<!-- output: echo ow; exit 3 -->\n```text\now\n```\n',
                            'exits with 3, not 0; it says\now')
        self.assert_good('<!-- output(exit 3): echo ow; exit 3 -->\n```text\now\n```\n')
        self.assert_refused('<!-- output(exit): true -->\n```text\n```\n', 'unknown option "exit"')

    def test_paths(self):
        """where the tree happens to be is not shown"""
        self.assertIn('```console\n$ echo $PWD/docs\ndocs\n```',
                      self.update('<!-- output: echo $PWD/docs -->\n'))

    def test_pinned(self):
        """a pinned output is recorded by refresh alone, with its commit; its paths must exist"""
        mark = '<!-- output(pinned): bash tools/count.sh -->\n'
        self.assert_refused(mark + '```text\nx\n```\n', 'there is no tools/count.sh')
        self.write('tools/count.sh', 'echo 7\n')
        self.assert_refused(mark + '```text\n```\n', 'nothing is recorded')
        self.assertEqual(self.update(mark + '```text\n6\n```\n'), mark + '```text\n6\n```\n')
        self.assert_good()
        self.assertIn('git failed', self.run_tool('refresh').stderr)
        for command in (['init', '-q'], ['add', '.'],
                        ['-c', 'user.name=a', '-c', 'user.email=a', 'commit', '-qm', 'one']):
            subprocess.run(['git', *command], cwd=self.root, check=True)
        done = self.run_tool('refresh')
        self.assertEqual((done.returncode, done.stderr), (0, ''))
        self.assertRegex(self.page.read_text(),
                         r'^<!-- output\(pinned at [0-9a-f]{7}\): .*\n```text\n7\n```\n$')
        self.write('tools/count.sh', 'exit 3\n')
        self.assertIn('exits with 3, not 0', self.run_tool('refresh').stderr)
        self.assert_refused(mark.replace('pinned', 'pinned at noon') + '```text\n7\n```\n',
                            'unknown option "pinned at noon"')

    def test_build(self):
        """$BUILD is the build directory; without one the output is left out, with a message"""
        text = '<!-- output: cat $BUILD/told -->\n```console\n$ cat build/test/told\nhi\n```\n'
        self.write('meson.build', "executable('told', 'told.cc')\n")
        self.assertIn('--build DIR is not given', self.assert_good(text))
        self.write('my build/told', 'hi\n')
        options = ('--build', self.root / 'my build')
        self.assertIn('1 outputs run', self.assert_good(text, *options))
        self.write('my build/told', 'ho\n')
        self.assert_refused(text, 'prints something else', options=options)
        self.write('meson.build', '')
        self.assert_refused(text, 'no meson.build makes told')

    def test_environment(self):
        """a program runs as in a user's shell, without what `meson test` sets for its tests"""
        with unittest.mock.patch.dict(os.environ, ASAN_OPTIONS='abort_on_error=1',
                                      MALLOC_PERTURB_='7'):
            self.assert_good('<!-- output: echo "$ASAN_OPTIONS$MALLOC_PERTURB_." -->\n'
                             '```text\n.\n```\n')

    def test_console(self):
        """a console block of the tutorial needs a mark"""
        self.write('docs/tutorial/00-set-up.md', '```console\n$ ls\n```\n')
        self.assert_refused('', '00-set-up.md:1: output: a console block shows output')


class Chapter(docs_tree.DocsCase):
    page_path = 'docs/tutorial/01-one.md'

    def test_table(self):
        """the table of a stage's files is written, and refused when it is stale"""
        text = self.update('<!-- stage-files: 02 -->\n')
        self.assertIn('[rung/net/Sink.h](../../stages/02-two/rung/net/Sink.h) | new | 4 |', text)
        self.assertIn('| replaced | 2 | +1 −12 |', text)
        self.assert_good()
        self.assert_refused(text.replace('| new | 4', '| new | 5'), ':1: stage-files: the table')
        self.assert_refused('<!-- stage-files: 09 -->\n', 'there is no stage 09')

    def test_case_count(self):
        """a chapter's count of test cases must be its stage's"""
        self.assert_good('These are 2 test cases.\n')
        self.assert_refused('These are\n3 test cases.\n', 'docs/tutorial/01-one.md:2: cases:',
                            'stage 01 has 2')
        run = '<!-- output(pinned): ls -->\n```text\n1/1 rung:stage01 / tap  OK  0.1s   %s subtests\n```\n'
        self.assert_good(run % 2)
        self.assert_refused(run % 3, 'shows 3 cases of tap; stage 01 has 2', 'tools/docs refresh')
        run = "<!-- output(pinned): ls build/01/t --source-file='*tap_test.cc' -->\n```text\n1..%s\n```\n"
        self.assert_refused(run % 1, 'shows 1 cases of tap; stage 01 has 2')

    def test_names(self):
        """what stands in backticks must be in the stages up to the page's"""
        self.assert_good('`Tap`, `Tap::open`, `Tap::open(int turns)`, `open_`, `Turn::left`, '
                         '`kBrace`, `rung/net/Tap.h`, `Tap.cc`, `LOG_DRIP`, `rung::Tap`, `isOpen()`')
        for name in ('Faucet', 'Tap::shut', 'openAll', 'open2()', 'shut_', 'kRust', 'LOG_RUST',
                     'rung/net/Pipe.h', 'Pipe.h', 'Sink', 'rung/net/Sink.h', 'oldTap',
                     'Tap{Faucet}', 'stages/01-one/rung/net/Pipe.h'):
            with self.subTest(name):
                self.assert_refused(f'# Page\n\nText `{name}`.\n', 'docs/tutorial/01-one.md:3: name:',
                                    'is not in stages 01 to 01')

    def test_hint(self):
        """a name that is not there is refused with one that is like it"""
        self.assert_refused('`Sink::open`', 'there is Tap::open')

    def test_other_names(self):
        """the system's, the language's, the shell's and other projects' names need no file"""
        self.assert_good('`std::vector<int>` `read(2)` `EPOLLIN | EPOLLET` `nullptr` `epoll_wait()` '
                         '`meson test -C b` `-Db_lto=true` `a + b` `42` `uv_run` (libuv) `"Text"` '
                         '`<sys/epoll.h>` `/proc/self/fd`\n\n## In production\n\n`ngx_epoll_wait`\n')

    def test_other_stage(self):
        """another stage's name needs that stage's number, and must be there"""
        self.assert_good('`Sink` (stage 02), `Sink::drainAll`\n(stage 02, not here)')
        self.assert_refused('`Tank` (stage 02)', '`Tank` is not in stages 01 to 02')
        self.assert_refused('`Sink` (stage 07)', 'there is no stage 07')

    def test_own_block(self):
        """the page's own C++ blocks, and its programs in failures/, make names known"""
        self.assert_good('`NaiveTap`\n\n```cpp\nstruct NaiveTap {};\n```\n')
        self.assert_refused('`LeakyTap`', 'LeakyTap')
        self.write('docs/tutorial/failures/01-leak/leak.cc', 'struct LeakyTap {};\n')
        self.assert_good('`LeakyTap`')

    def test_exceptions(self):
        """a page may name exceptions, but not needless ones"""
        self.assert_good('<!-- names: Faucet -->\n`Faucet`\n')
        self.assert_refused('<!-- names: Faucet -->\n`Tap`\n', '`Faucet` needs no exception')

    def test_mermaid(self):
        """a diagram begins with a word of mermaid's, and its names must be in the stage"""
        self.assert_good('```mermaid\n%% why\nsequenceDiagram\n  A->>B: x\n```\n')
        self.assert_good('```mermaid\nflowchart LR\n  Tap --> drain\n  A[Tap::open] --> isOpen\n```\n')
        self.assert_refused('```mermaid\nflowchart LR\n  Tap --> isShut\n```\n',
                            ':1: name: `isShut`, in the diagram,')
        self.assert_refused('```mermaid\nsequencDiagram\n```\n', ':1: mermaid: begins with "seq')


class Proofs(docs_tree.DocsCase):
    page_path = 'docs/interview/taps.md'

    def test_test_link(self):
        """a link whose title names a test must name one that is there"""
        self.assert_good(LINK.replace('[test]', '[Tap: opens "wide"]') + '\n')
        self.assert_refused(LINK.replace('[test]', '[Tap: opens]'),
                            'test: shows the name "Tap: opens" for "Tap: opens "wide""')
        self.assert_good(f'{LINK}\n')
        self.assert_refused(LINK.replace('wide', 'shut'), 'test: stages/01-one/tests/tap_test.cc '
                            'has no test', 'it has Tap: ')
        self.assert_refused('<!-- test: stages/01-one/tests/tap_test.cc "gone" -->\n',
                            ':1: test: stages/01-one/tests/tap_test.cc has no test "gone"')

    def test_python_test(self):
        """a Python test is named by its docstring or its function"""
        self.write('tests/tap_test.py', docs_tree.FILES['tools/count.py'])
        for name in ('nothing counts as none', 'test_none', 'CountTest.test_none'):
            self.assert_good(f'[test](../../tests/tap_test.py "{name}")\n')
        self.assert_refused('[test](../../tests/tap_test.py "count")\n', 'has no test "count"')

    def test_promise(self):
        """a promise without a test is refused"""
        link = LINK.replace('../../', '../')
        self.write('docs/guarantees.md', f'# G\n\n- **It opens**\n  always. {link}\n- plain\n')
        self.assert_good('')
        self.write('docs/guarantees.md', f'# G\n\n- **It opens.** So.\n- **It shuts.** {link}\n')
        self.assert_refused(None, 'docs/guarantees.md:3: promise: no test is linked to "It opens."')

    def test_question(self):
        """an answer has its parts and says how it is known, with a proof of that kind"""
        def page(known):
            parts = ''.join(f'**{part}** Yes.\n\n' for part in interview.PARTS[:4])
            return (f'# Q\n\n## Does it open?\n<!-- id: open -->\n{parts}**How it is known:** {known}\n\n'
                    '**Run it:** `tools/quiz --prove open`\n')
        self.write('tests/shut_test.cc', 'TEST_CASE("shuts") {}\n')
        link = '[test](../../tests/shut_test.cc "shuts")'
        for known in (f'demonstrated — {link}', 'cited — [a page](https://lwn.net/)'):
            self.assert_good(page(known))
        for known, says in ((f'measured — {link}', 'says measured, and has test'),
                            ('obvious', 'says obvious, and has no proof'),
                            (f'demonstrated — {link.replace("shuts", "gone")}', 'has no test "gone"')):
            self.assert_refused(page(known), 'taps.md:3: question: "Does it open?": ', says)
        self.assert_refused('# Q\n\n## Does it open?\n\nYes.\n', 'part missing or empty: In full.')

    def test_fact(self):
        """a fact that no page cites is refused"""
        self.write('tests/facts/eof_test.cc', '\nTEST_CASE("eof is 0") {}\n')
        self.assert_refused('', 'tests/facts/eof_test.cc:2: fact: no page', 'cites "eof is 0"')
        self.assert_good('[test](../../tests/facts/eof_test.cc "eof is 0")\n')


if __name__ == '__main__':
    tap.Runner.group = 'tools/docs'
    unittest.main(argv=sys.argv[:1], testRunner=tap.Runner)
