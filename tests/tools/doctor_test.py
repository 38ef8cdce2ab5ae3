#!/usr/bin/env python3
"""tools/learn doctor, on this machine and on worse ones: programs are hidden from it, or others
stand in their place."""

import contextlib
import io
import os
import pathlib
import re
import resource
import shlex
import subprocess
import sys
import tempfile
import unittest
from unittest import mock

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / 'tests' / 'support'), str(ROOT / 'tools')]
sys.dont_write_bytecode = True
import tap  # noqa: E402
from rungtools import doctor  # noqa: E402

COMPILERS = ('c++', 'g++', 'clang++')


class Doctor(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix='a folder ')
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name).resolve()
        self.bin = self.folder / 'bin'
        self.bin.mkdir()
        self.scratch = self.folder / 'scratch'
        self.scratch.mkdir()
        change = mock.patch.dict(os.environ)
        change.start()
        self.addCleanup(change.stop)

    def hide(self, *names):
        """As if these were not installed."""
        for place in os.environ['PATH'].split(os.pathsep):
            with contextlib.suppress(OSError):  # PATH may name what is not there
                for program in os.scandir(place):
                    if program.name not in names and not os.path.lexists(self.bin / program.name):
                        (self.bin / program.name).symlink_to(program.path)
        os.environ['PATH'] = str(self.bin)

    def fake(self, name, script):
        """A program of ours in place of another."""
        path = self.bin / name
        path.unlink(missing_ok=True)
        path.write_text(f'#!/bin/sh\n{script}\n')
        path.chmod(0o755)
        if not os.environ['PATH'].startswith(str(self.bin)):
            os.environ['PATH'] = f'{self.bin}{os.pathsep}{os.environ["PATH"]}'
        return path

    def compiler(self, script):
        """CXX is a program of ours, in a folder with a space in its name."""
        os.environ['CXX'] = shlex.quote(str(self.fake('c++', script)))

    def machine(self, kind=None):
        """What the checks are given; `kind` as if the compiler had been looked at."""
        machine = doctor.Machine(self.folder, self.scratch)
        if kind:
            machine.kind, machine.version = kind, 12
        return machine

    def lines(self, check, machine=None):
        """(state, text, what is to be installed) of each line of a check."""
        return [(line.state, line.text, line.install) for line in check(machine or self.machine())]

    def line(self, check, machine=None):
        (line,) = self.lines(check, machine)
        return line

    def run_whole(self, *words):
        """(exit status, output) of `tools/learn doctor` in `folder`, in a process of its own."""
        done = subprocess.run(
            [sys.executable, '-B', '-c', 'import sys; sys.path.insert(0, sys.argv[1])\n'
             'from rungtools.doctor import main; sys.exit(main(sys.argv[2:]))', ROOT / 'tools', *words],
            cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            stdin=subprocess.DEVNULL, timeout=120, check=False)
        return done.returncode, done.stdout

    def test_here(self):
        """where the tests run, what builds them is found, and nothing is left in the folder"""
        before = sorted(self.folder.iterdir())
        status, said = self.run_whole()
        lines = said.splitlines()
        for line in lines[:-1]:
            self.assertRegex(line, r'\A(ok {6}|missing |note {4}) \S')
        # git and patch are not needed for the tests, and the machine may be a narrow one.
        for what in ('Linux', 'C[+][+]20: .* is (g[+][+]|clang) ', 'Meson 1', 'Ninja 1', 'doctest 2'):
            self.assertRegex(said, rf'(?m)^ok       {what}')
        missing = [line for line in lines if line.startswith('missing')]
        self.assertEqual(status, 1 if missing else 0, said)
        self.assertEqual(lines[-1] == 'Nothing that is needed is missing.', not missing, said)
        self.assertEqual(sorted(self.folder.iterdir()), before)

    def test_nothing_there(self):
        """without compiler, Meson, git and gdb it names their packages, all in one command, and exits 1"""
        self.hide(*COMPILERS, 'meson', 'git', 'gdb', 'sudo', 'apt-get')
        os.environ.pop('CXX', None)
        self.fake('apt-get', 'echo "nothing may be installed" >&2; exit 1')
        status, said = self.run_whole('.')
        self.assertEqual(status, 1, said)
        packages = doctor.known_packages()
        last = said.splitlines()[-1]
        self.assertRegex(last, r'\A\d+ missing\. To install: .*apt-get install ')
        for thing in ('compiler', 'meson', 'git'):
            name = re.escape(packages[thing][1])
            self.assertRegex(said, rf'(?m)^missing  .* To install: .*apt-get install {name}$')
            self.assertRegex(last, rf' {name}( |$)')
        self.assertRegex(said, r'(?m)^note     gdb.* To install: .*apt-get install gdb$')
        self.assertNotIn('gdb', last)
        self.assertNotIn('nothing may', said)

    def test_elsewhere(self):
        """without apt-get it says the names, and does not speak of a command"""
        self.hide('apt-get')
        said = doctor.install_command(['g++', 'git'])
        self.assertIn('g++ git', said)
        self.assertNotIn('install', said)

    def test_names(self):
        """each thing that a check wants to be installed has a package in tools/setup.sh"""
        text = (ROOT / 'tools/rungtools/doctor.py').read_text('utf-8')
        known = doctor.known_packages()
        wanted = re.findall(r"(?s)(?:missing|note)\([^()]*(?:\([^()]*\)[^()]*)*,\s*'([\w-]+)'\)", text)
        self.assertGreaterEqual(len(set(wanted)), 6)
        self.assertLessEqual(set(wanted) | {'pkg-config', 'git', 'patch'}, set(known))

    def test_meson_build(self):
        """the oldest Meson is that of meson.build"""
        found = re.search(r"meson_version: '>= ([\d.]+)'", (ROOT / 'meson.build').read_text())[1]
        self.assertEqual(doctor.as_text(doctor.MESON), found)

    def test_usage(self):
        """--help explains; a folder that is not there, or an option that is none, is refused, exit 2"""
        status, said = self.run_whole('--help')
        self.assertEqual(status, 0)
        self.assertIn('tools/learn doctor', said)
        for words in (['gone'], ['--gone']):
            status, said = self.run_whole(*words)
            self.assertEqual(status, 2)
            self.assertIn('gone', said)

    def test_cxx_gone(self):
        """a CXX that names nothing is told, and is not replaced by another compiler"""
        os.environ['CXX'] = 'no-such-c++'
        state, text, install = self.line(doctor.check_compiler)
        self.assertEqual((state, install), ('missing', 'compiler'))
        self.assertIn('CXX names no-such-c++', text)

    def test_cxx_is_none(self):
        """a CXX that is no compiler is told with what it said"""
        self.compiler('echo "c++: error: I compile nothing"; exit 1')
        state, text, _ = self.line(doctor.check_compiler)
        self.assertEqual(state, 'missing')
        self.assertIn('I compile nothing', text)

    def test_old_compiler(self):
        """a compiler that is too old is told with its version; a newer package of it is not promised"""
        for macros, kind, version in (('#define __GNUC__ 10', 'g++', 10),
                                      ('#define __GNUC__ 4\n#define __clang_major__ 13', 'clang', 13)):
            self.compiler(f"printf '%s\\n' {shlex.quote(macros)}")
            state, text, install = self.line(doctor.check_compiler)
            self.assertEqual((state, install), ('missing', None))
            self.assertIn(f'is {kind} {version}, and must be', text)

    def test_compiler_without_library(self):
        """a compiler of the right age that does not link a program is missing something"""
        self.compiler('case "$*" in *-dM*) echo "#define __GNUC__ 12" ;; '
                      '*) echo "latch: fatal error: no such file"; exit 1 ;; esac')
        state, text, _ = self.line(doctor.check_compiler)
        self.assertEqual(state, 'missing')
        self.assertIn('latch: fatal error: no such file', text)

    def test_meson(self):
        """an old Meson, one that does not start, and none"""
        self.fake('meson', 'echo 0.56.2')
        state, text, install = self.line(doctor.check_meson)
        self.assertEqual((state, install), ('missing', None))
        self.assertIn('0.56.2', text)
        self.fake('meson', 'exit 1')
        self.assertEqual(self.line(doctor.check_meson)[::2], ('missing', 'meson'))
        self.hide('meson')
        (self.bin / 'meson').unlink()
        self.assertEqual(self.line(doctor.check_meson)[::2], ('missing', 'meson'))

    def test_ninja(self):
        """Ninja may be called ninja-build, as in some systems"""
        self.hide('ninja')
        self.fake('ninja-build', 'echo 1.10.2')
        self.assertEqual(self.line(doctor.check_ninja), ('ok', 'Ninja 1.10.2', None))

    def test_old_doctest(self):
        """a doctest that is too old, by its header"""
        (self.folder / 'doctest').mkdir()
        (self.folder / 'doctest/doctest.h').write_text(''.join(
            f'#define DOCTEST_VERSION_{part} {value}\n'
            for part, value in (('MAJOR', 2), ('MINOR', 3), ('PATCH', 8))))
        os.environ['CPLUS_INCLUDE_PATH'] = str(self.folder)
        state, text, _ = self.line(doctor.check_doctest)
        self.assertEqual(state, 'missing')
        self.assertIn('2.3.8', text)

    def sanitized(self, script):
        """The lines about sanitizers, where what the compiler builds is `script`."""
        self.compiler('for path; do :; done\ncat >"$path" <<\\END\n#!/bin/sh\n'
                      f'{script}\nEND\nchmod +x "$path"')
        return self.lines(doctor.check_sanitizers, self.machine('g++'))

    def test_random_addresses(self):
        """TSan that dies of random addresses: setarch -R, or the sysctl that mends it"""
        fatal = 'echo "FATAL: ThreadSanitizer: unexpected memory mapping 0x5"; exit 66'
        self.fake('setarch', 'shift; FIXED=1 exec "$@"')
        asan, tsan = self.sanitized(f'[ -n "$FIXED" ] || {{ {fatal}; }}')
        self.assertEqual(tsan[0], 'note')
        self.assertIn('Start programs with setarch -R', tsan[1])
        self.assertIn('vm.mmap_rnd_bits=28', tsan[1])
        self.fake('setarch', 'echo "setarch: not permitted"; exit 1')
        asan, tsan = self.sanitized(fatal)
        self.assertEqual(tsan[0], 'note')
        self.assertIn('setarch -R does not help', tsan[1])
        self.assertIn('vm.mmap_rnd_bits=28', tsan[1])

    def test_random_failure(self):
        """a sanitizer that fails now and then is noticed"""
        counter = shlex.quote(str(self.folder / 'counter'))
        self.fake('setarch', 'exit 1')
        third = f'echo >>{counter}; [ $(wc -l <{counter}) = 3 ]'
        for state, text, _ in self.sanitized(
                f'if {third}; then rm {counter}; echo ERROR: bad luck; exit 1; fi'):
            self.assertEqual(state, 'note')
            self.assertIn('bad luck', text)

    def test_no_sanitizer(self):
        """a compiler without sanitizers is told with the package of their library"""
        self.compiler('echo "ld: error: cannot find libclang_rt.asan.a"; exit 1')
        for kind, package in (('clang', 'libclang-rt-12-dev'), ('g++', 'libgcc-12-dev')):
            for state, text, _ in self.lines(doctor.check_sanitizers, self.machine(kind)):
                self.assertEqual(state, 'note')
                self.assertIn('cannot find libclang_rt.asan.a', text)
                self.assertIn(package, text)

    def test_gdb(self):
        """a gdb that may not look into a process is noted, with the reason"""
        self.fake('gdb', 'case $1 in --version) echo "GNU gdb 13.1" ;; '
                         '*) echo "ptrace: Operation not permitted."; exit 1 ;; esac')
        state, text, _ = self.line(doctor.check_gdb)
        self.assertEqual(state, 'note')
        self.assertIn('ptrace: Operation not permitted.', text)

    def test_linker(self):
        """the first linker that links is named; without one, its package"""
        self.compiler('case "$*" in *fuse-ld=gold*) for path; do :; done; >"$path" ;; '
                      '*) exit 1 ;; esac')
        self.assertEqual(self.line(doctor.check_linker, self.machine('g++'))[:2],
                         ('ok', 'a fast linker: gold'))
        self.fake('c++', 'exit 1')
        self.assertEqual(self.line(doctor.check_linker, self.machine('g++'))[::2], ('note', 'linker'))

    def test_descriptors(self):
        """few descriptors: ulimit -n where that helps, and the hard limit where it does not"""
        for limits, how in (((100, 4096), 'In this shell: ulimit -n 1024'), ((100, 512), 'ulimit -n 512'),
                            ((100, 100), 'The hard limit is 100'),
                            ((100, resource.RLIM_INFINITY), 'ulimit -n 1024')):
            with mock.patch('resource.getrlimit', lambda _, limits=limits: limits):
                state, text, _ = self.line(doctor.check_descriptors)
            self.assertEqual(state, 'missing')
            self.assertIn(how, text)
        for soft in (128, resource.RLIM_INFINITY):
            with mock.patch('resource.getrlimit', lambda _, soft=soft: (soft, soft)):
                self.assertEqual(self.line(doctor.check_descriptors)[0], 'ok')

    def test_no_network(self):
        """without loopback something is missing; without IPv6 tests are skipped"""
        with mock.patch('socket.create_server', side_effect=OSError(101, 'Network is unreachable')):
            self.assertEqual(self.line(doctor.check_loopback)[0], 'missing')
        with mock.patch('socket.socket.bind', side_effect=OSError(99, 'Cannot assign address')):
            state, text, _ = self.line(doctor.check_ipv6)
        self.assertEqual(state, 'note')
        self.assertIn('skipped', text)

    def test_space(self):
        """less than a gigabyte is too little, and so is a folder that nobody may write"""
        with mock.patch('shutil.disk_usage') as usage:
            usage.return_value.free = 4 * 10**8
            state, text, _ = self.line(doctor.check_space)
        self.assertEqual(state, 'missing')
        self.assertIn('0.4 GB', text)
        with mock.patch('os.access', lambda *_: False):
            state, text, _ = self.line(doctor.check_space)
        self.assertEqual(state, 'missing')
        self.assertIn('may not write', text)

    def test_clock(self):
        """a clock that begins in 1970, one behind the checkout, and one that files do not follow"""
        newest = max((ROOT / name).stat().st_mtime for name in ('meson.build', 'tools', 'stages'))
        for now, what in ((3600, 'the year 1970'), (newest - 7200, '2.0 hours in the future')):
            with mock.patch('time.time', lambda now=now: now):
                state, text, _ = self.line(doctor.check_clock)
            self.assertEqual(state, 'missing')
            self.assertIn(what, text)
        with mock.patch.object(doctor, 'written_at', lambda _: 0):
            self.assertEqual(self.line(doctor.check_clock)[0], 'note')

    def test_broken_check(self):
        """a check that fails itself is one line, and the others go on"""
        def broken(_machine):
            raise OSError(5, 'Input/output error')
            yield

        def whole(_machine):
            yield doctor.ok('whole')

        checks = [('first', broken, True), ('second', broken, False), ('third', whole, True)]
        with mock.patch.object(doctor, 'CHECKS', checks):
            lines = list(doctor.findings(None))
        self.assertEqual([line.state for line in lines], ['missing', 'note', 'ok'])
        self.assertIn('first: cannot be looked at: [Errno 5] Input/output error', lines[0].text)

    def test_not_linux(self):
        """elsewhere than on Linux it names the page that helps"""
        with mock.patch('sys.platform', 'darwin'), mock.patch('platform.system', lambda: 'Darwin'):
            state, text, _ = self.line(doctor.check_system)
        self.assertEqual(state, 'missing')
        self.assertIn('Darwin', text)
        page, title = re.search(r'(docs/\S+\.md), "(.*)"', text).groups()
        self.assertIn(f'\n## {title}\n', (ROOT / page).read_text('utf-8'))

    def test_interrupted(self):
        """Ctrl-C ends it with 130"""
        with mock.patch.object(doctor, 'report', side_effect=KeyboardInterrupt), \
                contextlib.redirect_stdout(io.StringIO()):
            self.assertEqual(doctor.main([str(self.folder)]), 130)


if __name__ == '__main__':
    tap.Runner.group = 'tools/learn doctor'
    unittest.main(argv=sys.argv[:1], testRunner=tap.Runner)
