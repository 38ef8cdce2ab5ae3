#!/usr/bin/env python3
"""tools/bench: statistics, tables, plots, what it refuses, and that it leaves nothing behind.

Nothing is measured here.
"""

import math
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve()
TOOLS = HERE.parents[2] / 'tools'
sys.path[:0] = [str(HERE.parents[1] / 'support'), str(TOOLS)]
sys.dont_write_bytecode = True
import server_process  # noqa: E402
import tap  # noqa: E402
from rungtools import benchlist, benchruns, benchtables  # noqa: E402


def experiment(**options):
    return benchlist.Experiment(
        name='made', title='for the test', base='raw', peers=['raw', 'other'],
        metrics=[benchlist.Metric('ns', 'ns a thing'), benchlist.Metric('lost', 'lost')],
        measure=None, **options)


VALUES = {'other': {'ns': [30.0, 20.0, 10.0], 'lost': [0, 0, 7]},
          'raw': {'ns': [10.0, 10.0, 20.0], 'lost': [1, 2, 3]}}


class Statistics(unittest.TestCase):
    def test_spread(self):
        """the spread is the median between the extremes"""
        self.assertEqual(benchtables.spread([9, 1, 2]), (2, 1, 9))
        self.assertEqual(benchtables.spread([4, 2]), (3, 2, 4))
        with self.assertRaisesRegex(ValueError, 'no figures'):
            benchtables.spread([])

    def test_ratios(self):
        """medians are divided by medians, and rounds by the same round"""
        self.assertEqual(benchtables.ratios(VALUES['other']['ns'], VALUES['raw']['ns']),
                         (2.0, 0.5, 3.0))

    def test_ratios_without_pairs(self):
        """rounds that have no partner are refused"""
        with self.assertRaisesRegex(ValueError, '2 rounds cannot be compared with 1'):
            benchtables.ratios([1, 2], [1])

    def test_ratio_to_nothing(self):
        """a base of zero gives no ratio, and no error"""
        self.assertTrue(all(math.isnan(ratio) for ratio in benchtables.ratios([1, 2], [0, 1])))

    def test_numbers(self):
        """numbers are short, and have no exponent"""
        for value, text in ((0, '0'), (0.00123, '0.0012'), (0.1234, '0.123'), (12.345, '12.3'),
                            (123.4, '123'), (7, '7'), (5406123.4, '5,406,123'), (math.nan, '–')):
            self.assertEqual(benchtables.number(value), text)


class Reports(unittest.TestCase):
    def test_table(self):
        """a table has the base first, and the ratios to it"""
        rows = [line for line in benchtables.table(experiment(), VALUES).splitlines()
                if line.startswith('|')]
        self.assertEqual(rows, [
            '| peer | ns a thing | min – max | ÷ raw | min – max | lost |',
            '| --- | ---: | ---: | ---: | ---: | ---: |',
            '| raw | 10 | 10 – 20 | 1.00 | 1.00 – 1.00 | 2 |',
            '| other | 20 | 10 – 30 | 2.00 | 0.50 – 3.00 | 0 |'])

    def test_table_without_base(self):
        """where the base is missing, the first of those that are there takes its place"""
        text = benchtables.table(experiment(), {'other': VALUES['other']})
        self.assertIn('÷ other', text)
        self.assertNotIn('raw', text)

    def test_plots(self):
        """both kinds of plot are drawn, if gnuplot is there"""
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "it's.svg"
            programs = [benchtables.bars(experiment(), VALUES, path),
                        benchtables.curves('x', benchlist.Metric('ns', 'ns'),
                                        {10: VALUES, 100: VALUES}, path)]
            for program in programs:
                problem = benchtables.plot(program)
                if problem == 'gnuplot is not installed':
                    self.skipTest(problem)
                self.assertEqual(problem, '')
                self.assertIn('</svg>', path.read_text())
                path.unlink()

    def test_machine(self):
        """the machine is recorded"""
        machine = benchtables.machine(TOOLS.parent)
        self.assertIn('Linux', machine['kernel'])
        self.assertGreaterEqual(machine['cores'], 1)


class Programs(unittest.TestCase):
    def setUp(self):
        self.programs = benchruns.Programs('.')
        self.addCleanup(self.programs.end_all)

    def test_failure(self):
        """a program that fails is named, with the last that it said"""
        with self.assertRaisesRegex(benchruns.Failed, '^sh -c .*: second$'):
            self.programs.run(['sh', '-c', 'echo first >&2; echo second >&2; exit 3'],
                              self.programs.all_cores)
        self.assertEqual(self.programs.running, set())

    def test_patience(self):
        """a program that takes too long is ended"""
        with self.assertRaisesRegex(benchruns.Failed, 'sleep: not done after 0.01 s'):
            self.programs.run(['sleep', '60'], self.programs.all_cores, patience=0.01)
        self.assertEqual(self.programs.running, set())

    def test_end_all(self):
        """what still runs is ended, with its children"""
        process = self.programs.start(['sh', '-c', 'sleep 60 & echo $!; wait'],
                                      self.programs.client_core)
        child = int(process.stdout.readline())
        self.assertEqual(os.getpgid(child), process.pid)
        self.programs.end_all()
        self.assertEqual(process.returncode, -9)
        server_process.wait_until(lambda: server_process.is_over(child), 'the end of the child')

    def test_pinning(self):
        """a program runs on the core that it is given"""
        (core,) = self.programs.client_core
        output = self.programs.run(
            [sys.executable, '-c', 'import os; print(*os.sched_getaffinity(0))'], {core})
        self.assertEqual(output.split(), [str(core)])


class CommandLine(unittest.TestCase):
    def assert_refused(self, arguments, words):
        done = subprocess.run([sys.executable, TOOLS / 'bench', *arguments], text=True,
                              capture_output=True, check=False, stdin=subprocess.DEVNULL)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn(words, done.stderr)
        self.assertEqual(done.stdout, '')

    def test_refusals(self):
        """wrong arguments are refused before anything is built, and named"""
        for arguments, words in (
                (['--rounds', '0'], "'0' is not a number from 1 to 1000"),
                (['--rounds', 'many'], "'many' is not a number from 1 to 1000"),
                (['--out', str(TOOLS)], f'{TOOLS} exists, and is not an empty folder'),
                (['--out', str(HERE)], f'{HERE} exists, and is not an empty folder'),
                (['--only'], 'expected one argument'),
                (['everything'], 'unrecognized arguments: everything')):
            with self.subTest(arguments=arguments):
                self.assert_refused(arguments, words)


if __name__ == '__main__':
    tap.Runner.group = 'tools/bench'
    unittest.main(argv=sys.argv[:1], testRunner=tap.Runner)
