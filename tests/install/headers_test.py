#!/usr/bin/env python3
"""The public headers in the programs of strangers: headers_test.py SOURCE_ROOT

Each alone, all together among hostile neighbours, and what a program is told that cannot have them.
"""

import concurrent.futures
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / 'support'))
import tap  # noqa: E402

SOURCE = pathlib.Path(sys.argv[1])
LIB = SOURCE / 'lib'
CXX = shlex.split(os.environ.get('CXX', 'c++'))
WARNINGS = ('-Wall', '-Wextra', '-Wconversion', '-Wshadow', '-Werror')
HEADERS = sorted(str(path.relative_to(LIB)) for path in LIB.rglob('*.h'))


def compiled(compiler, *arguments, text=''):
    """What the compiler has to say; '' when it takes the program."""
    if '-S' not in arguments:
        arguments = ('-fsyntax-only', *arguments)
    done = subprocess.run([*compiler, '-I', LIB, *arguments], input=text, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300, check=False)
    return done.stdout or (f'exit status {done.returncode}' if done.returncode else '')


class Headers(unittest.TestCase):
    def takes(self, compiler, *arguments):
        if said := compiled(compiler, *arguments):
            self.fail(f'{compiler} says\n{said}')

    def together(self, name):
        """All among hostile neighbours; the standard's own headers come first, without warnings."""
        if shutil.which(name) is None:
            self.skipTest(f'no {name} here')
        ours = [f'#include "{header}"' for header in HEADERS]
        theirs = {line for header in HEADERS for line in
                  re.findall('^#include <.*>$', (LIB / header).read_text(), re.M)}
        with tempfile.TemporaryDirectory() as folder:
            lists = []
            for what, lines in (('RUNG_HEADERS', ours), ('STANDARD_HEADERS', sorted(theirs))):
                path = pathlib.Path(folder, what)
                path.write_text('\n'.join(lines) + '\n')
                lists.append(f'-D{what}="{path}"')
            for standard in ('c++20', 'c++2b'):
                with self.subTest(standard=standard):
                    self.takes([name], f'-std={standard}', *WARNINGS, *lists, HERE / 'neighbours.cc')

    def test_gcc(self):
        """g++ compiles all headers among hostile neighbours, as C++20 and C++23"""
        self.together('g++')

    def test_clang(self):
        """clang++ compiles all headers among hostile neighbours, as C++20 and C++23"""
        self.together('clang++')

    def test_alone(self):
        """each header compiles alone, without a warning"""
        def alone(header):
            self.takes(CXX, '-std=c++20', *WARNINGS, '-include', header, '-x', 'c++', '-')
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as threads:
            list(threads.map(alone, HEADERS))

    def test_optimised(self):
        """callbacks that capture nothing give no warning in an optimised program"""
        # g++ -O2 saw that the bytes of an empty lambda were copied, and had never been written.
        program = """
            #include "rung/net/Channel.h"
            #include "rung/net/EventLoop.h"
            int main() {
              rung::EventLoop loop;
              rung::Channel channel(&loop, 0);
              channel.setCloseCallback([] {});
              rung::Task task([] {});
              rung::Task moved(std::move(task));
              loop.queueInLoop(std::move(moved));
            }"""
        for level in ('-O1', '-O2', '-O3'):
            with self.subTest(level):
                self.assertEqual(compiled(CXX, '-std=c++20', level, '-S', '-o', '/dev/null', *WARNINGS,
                                          '-x', 'c++', '-', text=program), '')

    def test_syslog(self):
        """<syslog.h> beside the short macros is an error that says what to do, in either order"""
        ours, theirs = '#include "rung/base/Logging.h"\n', '#include <syslog.h>\n'
        said = compiled(CXX, '-std=c++20', '-x', 'c++', '-', text=theirs + ours)
        self.assertIn('RUNG_NO_SHORT_MACROS', said)
        said = compiled(CXX, '-std=c++20', '-x', 'c++', '-', text=ours + theirs)
        self.assertIn('LOG_EMERG', said)
        self.assertIn('RUNG_NO_SHORT_MACROS', (LIB / 'rung/base/Logging.h').read_text())

    def test_old_standard(self):
        """each header tells a C++17 program first that rung needs C++20"""
        def told(compiler, header):
            return 'rung needs C++20' in compiled(compiler, '-std=c++17', '-Wfatal-errors', '-x', 'c++',
                                                  '-', text=f'#include "{header}"\n')
        for name in filter(shutil.which, ('g++', 'clang++')):
            with self.subTest(name), concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as threads:
                good = threads.map(lambda header, name=name: told([name], header), HEADERS)
                self.assertEqual([header for header, is_good in zip(HEADERS, good) if not is_good], [])


if __name__ == '__main__':
    tap.Runner.group = 'headers'
    unittest.main(argv=sys.argv[:1], testRunner=tap.Runner)
