#!/usr/bin/env python3
"""tools/mutate: the committed lists fit the library, bad data is refused by name, and each operator
makes the faults that it says.
"""

import contextlib
import io
import pathlib
import subprocess
import sys
import tempfile
import types
import unittest
from unittest import mock

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / 'tests/support'))
sys.path.insert(0, str(ROOT / 'tools'))
sys.dont_write_bytecode = True
import server_process  # noqa: E402
import tap  # noqa: E402
from rungtools import mutate, mutatelists, mutateops, mutaterun  # noqa: E402

SCRIPT = ROOT / 'tools/mutate'


def why_no_clang():
    try:
        mutateops.module()
    except mutateops.Missing as error:
        return str(error)
    return None


NO_CLANG = why_no_clang()
GOOD = '[a-name] net/X.cc | poller | what it is\n<<<<\nold\n====\nnew\n>>>>\n'
NAME = 'net/X.cc f compare: `a < b;` becomes `a <= b;`'
ENTRIES = f'# Comment.\n\n= equivalent: Both are the\n  same.\n{mutatelists.as_entry(NAME)}\n'


class TreeTest(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.addCleanup(self.directory.cleanup)
        self.tree = pathlib.Path(self.directory.name)
        (self.tree / 'lib/rung/net').mkdir(parents=True)

    def write(self, text, name='X.cc'):
        (self.tree / 'lib/rung/net' / name).write_text(text, 'utf-8')


class ListsTest(TreeTest):
    def problems(self, data, source):
        self.write(source)
        return mutate.problems_of(mutatelists.load_named(data), self.tree)

    @unittest.skipIf(NO_CLANG, NO_CLANG)
    def test_committed(self):
        """every fault still fits the library"""
        result = subprocess.run([sys.executable, SCRIPT, '--check'], capture_output=True, text=True)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)

    def test_enough(self):
        """there are at least forty-five with a name, each told in a line, on tests that exist"""
        faults = mutatelists.load_named(mutate.NAMED.read_text('utf-8'))
        self.assertGreaterEqual(len(faults), 45)
        tests = {path.name[:-len('_test.cc')] for path in ROOT.glob('stages/*/tests/*_test.cc')}
        tests |= {path.name[:-len('_test.cc')] for path in ROOT.glob('tests/*/*_test.cc')}
        for fault in faults:
            self.assertLessEqual(set(fault.tests), tests | set(mutaterun.GROUPS), fault.name)
        self.assertEqual(mutate.problems_of(faults, ROOT), [])

    def test_applies(self):
        """a fault that fits is put in, once"""
        self.assertEqual(self.problems(GOOD, 'an old one'), [])
        self.assertEqual(mutatelists.load_named(GOOD)[0].applied(self.tree), 'an new one')

    def test_missing(self):
        """one that no longer fits is named, with the file"""
        [problem] = self.problems(GOOD, 'nothing')
        self.assertRegex(problem, r'a-name: .* 0 times in net/X.cc')

    def test_ambiguous(self):
        """one that fits in two places is named"""
        [problem] = self.problems(GOOD, 'old old')
        self.assertRegex(problem, r'a-name: .* 2 times in net/X.cc')

    def test_file(self):
        """one for a file that is gone is named"""
        [problem] = mutate.problems_of(mutatelists.load_named(GOOD), self.tree)
        self.assertRegex(problem, r'a-name: there is no file net/X.cc')

    def test_data(self):
        """data that cannot be read is refused"""
        for text, message in (('[a b] x\n', 'not "'),
                              (GOOD.replace('>>>>\n', ''), 'without a line'),
                              (GOOD.replace('new', 'old'), 'changes nothing'),
                              (GOOD + GOOD, 'there twice')):
            with self.assertRaisesRegex(mutate.BadList, message):
                mutatelists.load_named(text)

    def test_survivors(self):
        """a verdict holds for the survivors under it, and bad ones are refused"""
        self.assertEqual(mutatelists.load_survivors(ENTRIES),
                         {NAME: ('equivalent', 'Both are the same.')})
        for old, new, message in (('equivalent', 'fine', 'not "= VERDICT'),
                                  ('becomes', 'is', 'not "FILE FUNCTION'),
                                  (ENTRIES[12:-len(mutatelists.as_entry(NAME)) - 1], '',
                                   'before any verdict'),
                                  ('#', '= performance: no\n\n#', 'without a fault')):
            with self.assertRaisesRegex(mutate.BadList, message):
                mutatelists.load_survivors(ENTRIES.replace(old, new))
        with self.assertRaisesRegex(mutate.BadList, 'there twice'):
            mutatelists.load_survivors(ENTRIES + ENTRIES)

    def test_arguments(self):
        """a name that is none is refused"""
        result = subprocess.run([sys.executable, SCRIPT, 'no-such'], capture_output=True, text=True)
        self.assertEqual(result.returncode, 2)
        self.assertIn("'no-such'", result.stderr)


class GeneratedTest(TreeTest):
    def made(self, text, operator=None, name='X.cc'):
        """(operator, the line it becomes) of each fault that can be made; each is put in."""
        if NO_CLANG:
            self.skipTest(NO_CLANG)
        self.write(text, name)
        faults = mutateops.generate(self.tree, [f'net/{name}'])
        for fault in faults:
            self.assertNotEqual(fault.applied(self.tree), text)
            self.assertRegex(fault.name, mutatelists.GENERATED)
        return [fault.name.rpartition('becomes ')[2].strip('`') for fault in faults
                if operator in (None, fault.operator)]

    def test_drop(self):
        """drop: a call, a break, a return without a value, what the log is told"""
        text = '''#define LOG_INFO false ? void() : g(1 < 2)
void g(int);
void f(int n) {
  g(n);
  if (n) return;
  while (n) break;
  LOG_INFO;
  (void)n;
}
'''
        self.assertEqual(self.made(text, 'drop'), [';', 'if (n) ;', 'while (n) ;', ';'])
        self.assertEqual(self.made(text, 'compare'), [])

    def test_lock(self):
        """lock: a variable that holds a mutex"""
        text = '''struct MutexLock { explicit MutexLock(int); };
void f() {
  const MutexLock lock(1);
  const int number = 2;
}
'''
        self.assertEqual(self.made(text, 'lock'), [''])

    def test_early(self):
        """early: a function that does more than one thing"""
        text = '''int n;
void f() { n = 1; }
void g() { n = 1; n = 2; }
bool h() { n = 1; return n; }
int i() { return n; }
int& j() { return n; }
'''
        self.assertEqual(self.made(text, 'early'), [
            'void g() { return; n = 1; n = 2; }', 'bool h() { return true; n = 1; return n; }',
            'bool h() { return false; n = 1; return n; }', 'int i() { return {}; return n; }'])

    def test_compare(self):
        """compare: the built-in ones and those of classes"""
        text = '''struct A { bool operator<(const A&) const; bool operator==(const A&) const; };
bool f(A a, A b) { return a < b; }
bool g(int a, int b) { return a == b; }
bool h(A a, A b) { return a != b; }
'''
        self.assertEqual(self.made(text, 'compare'), [
            'bool f(A a, A b) { return a <= b; }', 'bool f(A a, A b) { return a >= b; }',
            'bool g(int a, int b) { return a != b; }', 'bool h(A a, A b) { return a == b; }'])

    def test_negate(self):
        """negate: what no comparison and no ! asks"""
        text = '''void g();
void f(bool a, bool b, int n) {
  if (a) g();
  if (!a) g();
  if (n == 1) g();
  while (a && b) g();
  for (; b;) g();
  do g(); while (b);
  n = a ? 1 : 2;
}
'''
        self.assertEqual(self.made(text, 'negate'), [
            'if (!(a)) g();', 'while (!(a && b)) g();', 'for (; !(b);) g();',
            'do g(); while (!(b));', 'n = !(a) ? 1 : 2;'])
        self.assertEqual(self.made(text, 'not'), ['if (a) g();'])
        self.assertEqual(self.made(text, 'logic'), ['while (a || b) g();'])

    def test_numbers(self):
        """sign, constant, bool: literals and what is computed"""
        text = '''constexpr unsigned kLimit = 1'000u;
bool f(int n) {
  char place[9];
  if (n > 1'000u) return 0xff;
  for (int i = 0; n > 5; ++i) n -= i;
  return n++ - 2;
}
bool g() { return true; }
'''
        self.assertEqual(self.made(text, 'sign'), [
            'for (int i = 0; n > 5; ++i) n += i;', 'return n-- - 2;', 'return n++ + 2;'])
        self.assertEqual(self.made(text, 'constant')[:3], [
            'if (n > 1001u) return 0xff;', 'if (n > 999u) return 0xff;',
            'for (int i = 1; n > 5; ++i) n -= i;'])
        self.assertEqual(self.made(text, 'bool'), [
            'bool g() { return false; }'])
        self.assertEqual(self.made('bool f(int n) { return n < 1; }\n', 'bool'), [
            'bool f(int n) { return true; }', 'bool f(int n) { return false; }'])

    def test_header(self):
        """only functions count; a template in a header is compiled wherever it is used"""
        text = '''#pragma once
constexpr int kLimit = 7;
struct X {
  int f() { return 1; }
  template <class T> T g() { return 2; }
  int limit_ = 3;
};
'''
        self.made(text, name='X.h')
        faults = {fault.new: fault.everywhere
                  for fault in mutateops.generate(self.tree, ['net/X.h'])
                  if fault.operator == 'constant'}
        self.assertEqual(faults, {'2': False, '0': False, '3': True, '1': True})

    def test_names(self):
        """a name tells the class and the function; of two that are alike the second has a number"""
        self.made('namespace n { struct A { void f(); }; int x; }\n'
                  'void n::A::f() {\n  x = 5;\n  x = 5;\n}\n')
        names = [fault.name for fault in mutateops.generate(self.tree, ['net/X.cc'])
                 if fault.operator == 'drop']
        self.assertEqual(names, ['net/X.cc A::f drop: `x = 5;` becomes `;`',
                                 'net/X.cc A::f drop: `x = 5;` becomes `;` (2)'])

    def test_no_module(self):
        """without clang's Python module it says what to install"""
        with mock.patch.dict(sys.modules, {'clang': None}), \
                self.assertRaisesRegex(mutateops.Missing, 'Debian: python3-clang'):
            mutateops.module()


class ReportTest(TreeTest):
    def report(self, results, entries, made=(NAME,)):
        """(whether all is well, the text) of results by name."""
        tried = [(mutatelists.Fault('net/X.cc', name, 'a', 'b'), mutaterun.Result(verdict, 1, 'T'))
                 for name, verdict in results.items()]
        entries = mutatelists.load_survivors(entries)
        stale = mutate.no_longer_made(entries, [mutatelists.Fault('', name, '', '') for name in made])
        with contextlib.redirect_stdout(io.StringIO()) as text:
            return mutate.report(tried, stale, entries), text.getvalue()

    def test_judged(self):
        """a survivor with an entry is well; only what is equivalent is taken out of the rate"""
        results = {NAME: 'survived', 'one': 'killed', 'two': 'stillborn'}
        self.assertEqual(self.report(results, ENTRIES), (
            True, '\nkilled 1 of 2, 1 judged equivalent, rate 100.0 %\n'))
        self.assertEqual(self.report(results, ENTRIES.replace('equivalent', 'performance')), (
            True, '\nkilled 1 of 2, 0 judged equivalent, 1 performance, rate 50.0 %\n'))

    def test_unjudged(self):
        """a survivor without an entry fails, and is shown as an entry would be"""
        good, text = self.report({NAME: 'survived'}, '')
        self.assertFalse(good)
        self.assertIn('without an entry:\n\n' + mutatelists.as_entry(NAME), text)

    def test_stale(self):
        """an entry whose fault is noticed now fails, and one whose line is gone"""
        good, text = self.report({NAME: 'killed'}, ENTRIES)
        self.assertFalse(good)
        self.assertIn('but noticed now:\n\n' + NAME, text)
        good, text = self.report({}, ENTRIES, made=())
        self.assertFalse(good)
        self.assertIn('can no longer be made:\n\n' + NAME, text)

    def test_sample(self):
        """a sample is the first so many that compile, whatever the number of jobs"""
        verdicts = ['killed', 'stillborn', 'survived', 'stillborn', 'killed', 'killed']
        for jobs in (1, 2, 8):
            tried = mutate.attempts(range(6), lambda n: mutaterun.Result(verdicts[n], 1, ''),
                                    jobs, 3)
            self.assertEqual(sorted(fault for fault, _ in tried), [0, 1, 2, 3, 4])

    def test_resumed(self):
        """what is known is kept: a noticed fault until its file changes, a survivor until any"""
        self.write('one')
        self.write('one', 'Y.cc')
        killed, survived = (mutatelists.Fault('net/X.cc', name, 'one', '') for name in 'ab')
        results = mutate.Results(self.tree / 'results', self.tree)
        results.add(killed, mutaterun.Result('killed', 1, 'a\ttest\n'))
        results.add(survived, mutaterun.Result('survived', 1, ''))

        def known():
            again = mutate.Results(self.tree / 'results', self.tree)
            return [result and result.verdict for result in map(again.of, (killed, survived))]
        self.assertEqual(known(), ['killed', 'survived'])
        self.write('two', 'Y.cc')
        self.assertEqual(known(), ['killed', None])
        self.write('two')
        self.assertEqual(known(), [None, None])


class RunTest(unittest.TestCase):
    def test_verdicts(self):
        """what a test says is told in a word"""
        self.assertEqual(mutaterun.failure(1, 'TEST CASE:  one\n\nERROR'), 'one')
        self.assertEqual(mutaterun.failure(1, 'not ok 3 - two\n'), 'two')
        self.assertEqual(mutaterun.failure(-11, ''), 'ended by SIGSEGV')
        self.assertEqual(mutaterun.failure(None, ''), 'hangs')

    def test_limit(self):
        """what hangs is ended, with all that it started"""
        status, output = mutaterun.run(['sh', '-c', 'sleep 60 & echo $!; sleep 60'], 0.5)
        self.assertIsNone(status)
        child = int(output)
        server_process.wait_until(lambda: server_process.is_over(child), 'the end of the child')

    def test_order(self):
        """the tests named like the file come first, then those that include it; quick ones first"""
        def made(name, seconds, text=''):
            test = mutaterun.Test('faults')
            test.name, test.seconds, test.text, test.source = name, seconds, text, name
            return test
        tests = [made('slow', 9), made('other', 1), made('timer_heap_more', 1),
                 made('user', 1, '#include "rung/net/TimerHeap.h"'), made('timer_heap', 0.1)]
        build = types.SimpleNamespace(tests=tests, kills=mutaterun.collections.Counter())
        fault = mutatelists.Fault('net/TimerHeap.cc', '', '', '')
        self.assertEqual([test.name for test in mutaterun.Build.order(build, fault)],
                         ['timer_heap', 'timer_heap_more', 'user', 'other', 'slow'])
        build.kills[fault.path, tests[0]] = 1000
        self.assertEqual(mutaterun.Build.order(build, fault)[0].name, 'slow')


if __name__ == '__main__':
    tap.Runner.group = 'tools/mutate'
    unittest.main(argv=sys.argv[:1], testRunner=tap.Runner)
