"""A unittest runner that speaks TAP, so that Meson's log holds a line for each test.

    unittest.main(argv=[...], testRunner=tap.Runner)

A test is named by the first line of its docstring. What a failed test has to say follows it, as
comments.
"""

import sys
import unittest


class Result(unittest.TestResult):
    """Prints "ok N - name" for each test as it ends, and remembers whether all were."""

    def __init__(self, group):
        super().__init__()
        self.group = group
        self.number = 0

    def startTest(self, test):
        super().startTest(test)
        self.problems = []
        self.reason = None

    def stopTest(self, test):
        super().stopTest(test)
        name = test.shortDescription() or test.id().rpartition('.')[2]
        self.report(name, self.problems, self.reason)

    def report(self, name, problems, reason=None):
        self.number += 1
        verdict = 'not ok' if problems else 'ok'
        skip = f' # SKIP {reason}' if reason and not problems else ''
        print(f'{verdict} {self.number} - {self.group}: {name}{skip}')
        for line in '\n'.join(problems).splitlines():
            print('#', line)
        sys.stdout.flush()

    def addError(self, test, err):
        super().addError(test, err)
        if isinstance(test, unittest.TestCase):
            self.problems.append(self.errors[-1][1])
        else:  # setUpClass or setUpModule: there is no test that starts and stops
            self.report(str(test), [self.errors[-1][1]])

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.problems.append(self.failures[-1][1])

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.problems += [subtest._subDescription(), self._exc_info_to_string(err, test)]

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        if isinstance(test, unittest.TestCase):
            self.reason = reason
        else:
            self.report(str(test), [], reason)


class Runner:
    """For `testRunner`. `Runner.group` is put in front of each name."""

    group = 'test'

    def __init__(self, **_options):
        pass

    def run(self, test):
        result = Result(self.group)
        test(result)
        print(f'1..{result.number}', flush=True)
        return result
