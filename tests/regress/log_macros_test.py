#!/usr/bin/env python3
"""What must not compile, and says why: log_macros_test.py LIB

Each case is a file that the compiler sees alone. What compiles is tried here only where the
opposite order or option does not.
"""

import os
import pathlib
import shlex
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'support'))
import tap  # noqa: E402

LIB = sys.argv[1]
CXX = shlex.split(os.environ.get('CXX', 'c++'))
SYSLOG = '#include <syslog.h>\n'
LOGGING = '#include "rung/base/Logging.h"\n'
NAMES = ('TRACE', 'DEBUG', 'INFO', 'WARN', 'ERROR', 'FATAL', 'SYSERR', 'SYSFATAL')
LONG = '#define RUNG_NO_SHORT_MACROS\n'
HEADERS = sorted(path.relative_to(LIB) for path in pathlib.Path(LIB, 'rung').rglob('*.h'))


def errors(source, standard='c++20', options=()):
    """The compiler's error messages, in order."""
    done = subprocess.run([*CXX, f'-std={standard}', '-fsyntax-only', '-Wall', '-Wextra', '-Werror',
                           *options, '-I', LIB, '-x', 'c++', '-'],
                          input=source, text=True, capture_output=True, timeout=60, check=False)
    found = [line for line in done.stderr.splitlines() if 'error:' in line]
    if (done.returncode == 0) == bool(found):
        raise AssertionError(f'exit status {done.returncode}:\n{done.stderr}')
    return found


class LogMacros(unittest.TestCase):
    def test_syslog_first(self):
        """<syslog.h> before Logging.h is an error with a sentence that says what to do"""
        self.assertIn('define RUNG_NO_SHORT_MACROS', errors(SYSLOG + LOGGING)[0])

    def test_syslog_second(self):
        """<syslog.h> after Logging.h is an error, for LOG_INFO would be a number silently"""
        use = 'void f(int x) { (void)(LOG_INFO << x); }\n'
        self.assertIn('poisoned', errors(LOGGING + SYSLOG + use)[0])

    def test_long_names(self):
        """with RUNG_NO_SHORT_MACROS both orders compile, and LOG_INFO is that of <syslog.h>"""
        use = 'void f(int x) { RUNG_LOG_INFO << x; syslog(LOG_INFO, "%d", x); }\n'
        self.assertEqual(errors(LONG + SYSLOG + LOGGING + use), [])
        self.assertEqual(errors(LONG + LOGGING + SYSLOG + use), [])

    def test_no_short_names(self):
        """with RUNG_NO_SHORT_MACROS there is no short name"""
        check = ''.join(f'#ifdef LOG_{name}\n#error "LOG_{name} is there"\n#endif\n' for name in NAMES)
        self.assertEqual(errors(LONG + LOGGING + check), [])
        found = errors(LOGGING + check)
        self.assertEqual(len(found), len(NAMES), found)
        for name, error in zip(NAMES, found):
            self.assertIn(f'LOG_{name} is there', error)

    def test_another_macro(self):
        """a macro of another library by any of the names is an error with the sentence"""
        for name in NAMES:
            self.assertIn('define RUNG_NO_SHORT_MACROS',
                          errors(f'#define LOG_{name} 1\n' + LOGGING)[0])

    def test_old_standard(self):
        """below C++20 the first error of each header, if there is any, says what is needed"""
        refused = 0
        for header in HEADERS:
            with self.subTest(header=str(header)):
                found = errors(f'#include "{header}"\n', 'c++17', ['-Wfatal-errors'])
                self.assertTrue(not found or 'rung needs C++20' in found[0], found)
                refused += bool(found)
        self.assertGreater(refused, len(HEADERS) / 2)

    def test_int128(self):
        """a number of 128 bits is refused, where it was cut to 64"""
        use = 'void f(__int128 x) { LOG_INFO << x; }\n'
        self.assertIn('deleted', errors(LOGGING + use, 'gnu++20')[0])


if __name__ == '__main__':
    tap.Runner.group = 'log macros'
    unittest.main(argv=sys.argv[:1], testRunner=tap.Runner)
