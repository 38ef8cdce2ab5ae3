"""Counts the tests of a Meson run: count_tests.py LOG_DIRECTORY EXIT_STATUS_OF_MESON_TEST

Prints what failed, with the TAP comments on it (Meson keeps those in its log), or without any with
the last lines that the program wrote to stderr; then one line "N passed, N failed" (and ", N
skipped" where there are any). Exits 0 when at least one test passed
and none failed.

Meson writes two logs, and neither is enough. testlog.junit.xml has one <testcase> for each subtest
of a TAP program, but does not show everything (Meson 1.0.1): a program that crashed, left early or
ran into its timeout looks as if it had passed, as far as it came. testlog.json has one line for
each program, with the verdict on it as a whole. So:

- a program with subtests counts as its subtests, and as one failure more where the program failed
  although no subtest did;
- any other program counts as one test;
- a TAP program that says nothing, or does not end with its plan ("1..N"), has failed: Meson calls
  the first skipped and the second passed, and both may hide tests that never ran.
"""

import json
import pathlib
import re
import sys
import xml.etree.ElementTree as ElementTree

MOST_LINES = 40  # of comments on one failed test
PASSED = {'OK', 'EXPECTEDFAIL'}
PLAN = re.compile(r'^1\.\.[0-9]', re.MULTILINE)
# Meson copies what a test prints into the XML as it is; these characters XML does not allow.
NOT_XML = re.compile('[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]')
PLAN_OF_NONE = re.compile(r'^1\.\.0\s*#\s*skip', re.MULTILINE | re.IGNORECASE)


def subtests(directory):
    """The TAP programs of the JUnit log: {program: [(subtest, 'passed'|'failed'|'skipped')]}."""
    log = directory / 'testlog.junit.xml'
    if not log.exists():
        return {}
    programs = {}
    text = NOT_XML.sub('?', log.read_text('utf-8', 'replace'))
    for suite in ElementTree.fromstring(text.encode('utf-8')).iter('testsuite'):
        # "project.program" has subtests; the suite named "project" alone holds all other programs.
        program = suite.get('name', '').partition('.')[2]
        if not program:
            continue
        cases = programs[program] = []
        for case in suite.iter('testcase'):
            if case.find('failure') is not None or case.find('error') is not None:
                verdict = 'failed'
            elif case.find('skipped') is not None:
                verdict = 'skipped'
            else:
                verdict = 'passed'
            cases.append((case.get('name', '?'), verdict))
    return programs


def comments(output):
    """{subtest: the comment lines that follow its "not ok"}, of what a TAP program printed."""
    found, current = {}, None
    for line in output.splitlines():
        if line.startswith('not ok '):
            current = found[line[len('not ok '):]] = []
        elif line.startswith('#') and current is not None:
            current.append(line)
        else:
            current = None
    return found


def show(failed):
    """A line for each, and as much of its comments as is worth reading in passing."""
    for name, lines in failed:
        print('failed:', name)
        for line in lines[:MOST_LINES]:
            print('   ', line)
        if len(lines) > MOST_LINES:
            print(f'    … and {len(lines) - MOST_LINES} lines more in testlog.txt')


def count(directory, meson_status):
    """(passed, skipped, [(what failed, lines on it)]) of the logs in `directory`."""
    passed, skipped, failed = 0, 0, []
    log = directory / 'testlog.json'
    with_subtests = subtests(directory)
    for line in log.read_text('utf-8').splitlines() if log.exists() else []:
        program = json.loads(line)
        name, verdict, output = program['name'], program['result'], program.get('stdout') or ''
        cases, before = with_subtests.get(name, []), len(failed)
        if cases:
            passed += sum(1 for _, each in cases if each == 'passed')
            skipped += sum(1 for _, each in cases if each == 'skipped')
            said = comments(output)
            bad = [(f'{name}: {case}', said.get(case, [])) for case, each in cases
                   if each == 'failed']
            if not bad and verdict not in PASSED | {'SKIP'}:
                bad = [(f'{name}: {verdict}, after {len(cases)} subtests', [])]
            elif not bad and not PLAN.search(output):
                bad = [(f'{name}: ended without its plan, after {len(cases)} subtests', [])]
            failed += bad
        elif verdict in PASSED:
            passed += 1
        elif verdict == 'SKIP':
            # Only TAP programs are skipped with exit status 0.
            if program.get('returncode') == 0 and not PLAN_OF_NONE.search(output):
                failed.append((f'{name}: ran no test', []))
            else:
                skipped += 1
        else:
            failed.append((f'{name}: {verdict}', []))
        last_words = (program.get('stderr') or '').splitlines()[-MOST_LINES:]
        failed[before:] = [(what, said or last_words) for what, said in failed[before:]]
    if meson_status != 0 and not failed:
        failed.append((f'meson test: exit status {meson_status}', []))
    return passed, skipped, failed


def main():
    passed, skipped, failed = count(pathlib.Path(sys.argv[1]), int(sys.argv[2]))
    show(failed)
    if not passed and not failed:
        print('no test ran')
    print(f'{passed} passed, {len(failed)} failed' + (f', {skipped} skipped' if skipped else ''))
    return 0 if passed and not failed else 1


if __name__ == '__main__':
    sys.exit(main())
