"""Looks for what rung and its exercises need, and says how to install what is missing.

One line for each thing: `ok`, `missing` or `note`. A note is a thing that helps and is not needed.
Installs nothing. The compiler is the one that CXX names. Exits 0 when nothing is missing, and 1
when something is.
"""

import argparse
import contextlib
import glob
import importlib.util
import os
import platform
import re
import resource
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from . import ROOT
from .process import run

PYTHON, MESON, DOCTEST = (3, 11), (1, 0, 1), (2, 4)
COMPILERS = {'g++': 12, 'clang': 14}
DESCRIPTORS = 128
FREE = 10**9
LIMIT = 60  # seconds for one program; a compiler behind a slow disk takes some

CXX20 = '''#include <latch>
#include <semaphore>
int main() { std::counting_semaphore<2> s{1}; std::latch l{1}; s.acquire(); l.count_down(); }
'''
THREADS = '''#include <thread>
int status = 1;
int main() {
  int* one = new int(1);
  std::thread([=] { status -= *one; }).join();
  delete one;
  return status;
}
'''
TRIES = 5  # where addresses are too random, a sanitizer fails now and then
LESS_RANDOM = 'sudo sysctl vm.mmap_rnd_bits=28'
MACRO = re.compile(r'^#define (\w+) (.+)$', re.M)


class Line:
    """What a check has found. `install` is a thing of tools/setup.sh's list."""

    def __init__(self, state, text, install=None):
        self.state, self.text, self.install = state, text, install


def ok(text):
    return Line('ok', text)


def missing(text, install=None):
    return Line('missing', text, install)


def note(text, install=None):
    return Line('note', text, install)


# --- What tools/setup.sh knows. ---

def known_packages():
    """{thing: (what for, Debian's name of its package)}."""
    said = subprocess.run(['sh', '-euc', '. "$1"; known_packages', 'sh', ROOT / 'tools/setup.sh'],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    lines = [line.split() for line in said.stdout.splitlines()]
    return {thing: (purpose, package) for purpose, thing, package in lines}


def install_command(packages):
    """How to install packages on this system. Elsewhere than on Debian, only what they are."""
    words = ' '.join(packages)
    if shutil.which('apt-get') is None:
        return f'{words} (that is the name in Debian)'
    lists = glob.glob('/var/lib/apt/lists/*_Packages*')
    commands = ([] if lists else ['apt-get update']) + [f'apt-get install {words}']
    if os.geteuid() == 0:
        return ' && '.join(commands)
    if shutil.which('sudo'):
        return ' && '.join(f'sudo {command}' for command in commands)
    return 'as root: ' + ' && '.join(commands)


# --- The machine, as the checks see it. ---

class Machine:
    """`folder` is where a workspace is to be; `scratch` is a folder for trials."""

    def __init__(self, folder, scratch):
        self.folder, self.scratch = folder, scratch
        self.cxx = self.find_compiler()
        self.kind = self.version = None

    @staticmethod
    def find_compiler():
        """The words of CXX, or the compiler that Meson would take; nothing where there is none."""
        try:
            words = shlex.split(os.environ.get('CXX', ''))
        except ValueError:  # a quotation mark that stands alone
            return None
        if words:
            return words if shutil.which(words[0]) else None
        return next(([name] for name in ('c++', 'g++', 'clang++') if shutil.which(name)), None)

    def compile(self, source, *flags):
        """(the program or None, what the compiler said)."""
        text, program = self.scratch / 'trial.cc', self.scratch / 'trial'
        text.write_text(source)
        program.unlink(missing_ok=True)
        command = [*self.cxx, '-std=c++20', '-pthread', *flags, text, '-o', program]
        status, said = run(command, LIMIT,
                           env={**os.environ, 'CCACHE_DISABLE': '1', 'LC_ALL': 'C'})
        return (program if status == 0 and program.exists() else None), said

    def macros(self, source, *flags):
        """({name: value} of what the preprocessor defines after `source`, what it said)."""
        text = self.scratch / 'macros.cc'
        text.write_text(source)
        status, said = run([*self.cxx, *flags, '-E', '-dM', text], LIMIT)
        return dict(MACRO.findall(said)) if status == 0 else {}, said


def version_of(*command):
    """(the numbers, the text) of the first version that the command prints, or None."""
    if shutil.which(command[0]) is None:
        return None
    try:
        status, said = run(command, LIMIT)
    except OSError:
        return None
    found = re.search(r'\d+(?:\.\d+)+', said)
    return (tuple(map(int, found[0].split('.'))), found[0]) if status == 0 and found else None


def complaint(said):
    """The line of an output that tells most about a failure."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    telling = [line for line in lines if re.search(r'FATAL|(?i:error|cannot|not found)', line)]
    return (telling or lines or ['it says nothing'])[0][:160]


def as_text(numbers):
    return '.'.join(map(str, numbers))


# --- The checks. Each yields lines. ---

def check_system(_machine):
    if sys.platform == 'linux':
        yield ok(f'Linux {platform.release()}')
    else:
        yield missing(f'Linux: this is {platform.system()}, which has no epoll. A container will '
                      'do: docs/tutorial/00-set-up.md, "Without Linux"')


def check_python(_machine):
    here = platform.python_version()
    if sys.version_info < PYTHON:
        yield missing(f'Python {as_text(PYTHON)} or newer: {sys.executable} is {here}. Debian 12 '
                      'has a newer one')
    elif importlib.util.find_spec('tomllib') is None:
        yield missing(f'Python: {sys.executable} was installed without its part tomllib', 'python3')
    else:
        yield ok(f'Python {here}')


def check_compiler(machine):
    wanted = os.environ.get('CXX', '').strip()
    needs = ' or '.join(f'{name} {least}' for name, least in COMPILERS.items())
    if machine.cxx is None:
        if wanted:
            yield missing(f'a C++20 compiler: CXX names {wanted}, which is not here', 'compiler')
        else:
            yield missing(f'a C++20 compiler: {needs}, or newer', 'compiler')
        return
    name = ' '.join(machine.cxx)
    macros, said = machine.macros('')
    for kind, macro in (('clang', '__clang_major__'), ('g++', '__GNUC__')):
        if macro in macros:
            machine.kind, machine.version = kind, int(macros[macro])
            break
    is_what = f'{name} is {machine.kind} {machine.version}'
    if machine.kind is None:
        yield missing(f'a C++20 compiler: {name} is not {needs}, or newer: {complaint(said)}')
    elif machine.version < COMPILERS[machine.kind]:
        yield missing(f'a C++20 compiler: {is_what}, and must be {needs}, or newer. Debian 12 has '
                      'both')
    else:
        program, said = machine.compile(CXX20)
        if program is None:
            yield missing(f'a C++20 compiler: {is_what}, but does not build a small program: '
                          f'{complaint(said)}', 'compiler')
        else:
            yield ok(f'C++20: {is_what}, and builds a program with <semaphore> and <latch>')


def check_meson(_machine):
    found = version_of('meson', '--version')
    if found is None:
        yield missing(f'Meson {as_text(MESON)} or newer', 'meson')
    elif found[0] < MESON:
        yield missing(f'Meson {as_text(MESON)} or newer: this is {found[1]}. Debian 12 has a newer '
                      'one; elsewhere: python3 -m pip install --user meson')
    else:
        yield ok(f'Meson {found[1]}')


def check_ninja(_machine):
    found = version_of('ninja', '--version') or version_of('ninja-build', '--version')
    yield ok(f'Ninja {found[1]}') if found else missing('Ninja', 'ninja')


def check_doctest(machine):
    include = '#include <doctest/doctest.h>\n'
    if machine.cxx is None:  # read it, since nothing else can
        paths = [Path(top, 'doctest/doctest.h') for top in ('/usr/include', '/usr/local/include')]
        text = ''.join(path.read_text('utf-8') for path in paths if path.exists())
        macros = dict(MACRO.findall(text))
    else:
        macros = machine.macros(include)[0]
        if not macros and shutil.which('pkg-config'):
            status, flags = run(['pkg-config', '--cflags', 'doctest'], LIMIT)
            macros = machine.macros(include, *flags.split())[0] if status == 0 else {}
    try:
        version = tuple(int(macros[f'DOCTEST_VERSION_{part}'])
                        for part in ('MAJOR', 'MINOR', 'PATCH'))
    except (KeyError, ValueError):
        yield missing(f'doctest {as_text(DOCTEST)} or newer: there is no <doctest/doctest.h>',
                      'doctest')
        return
    if version < DOCTEST:
        yield missing(f'doctest {as_text(DOCTEST)} or newer: this is {as_text(version)}')
    else:
        yield ok(f'doctest {as_text(version)}')


def check_programs(_machine):
    for name in ('pkg-config', 'git', 'patch'):
        found = version_of(name, '--version')
        yield ok(f'{name} {found[1]}') if found else missing(name, name)


def check_sanitizers(machine):
    """Each is tried some times, since it may fail by chance where addresses are too random."""
    if machine.kind is None:
        return
    for name, flag in (('ASan', 'address'), ('TSan', 'thread')):
        what = f'{name} (-fsanitize={flag}), which shows some of the bugs'
        program, said = machine.compile(THREADS, f'-fsanitize={flag}', '-g')
        if program is None:
            library = 'libclang-rt' if machine.kind == 'clang' else 'libgcc'
            yield note(f'{what}: a small program does not build: {complaint(said)}. '
                       f'To install: {install_command([f"{library}-{machine.version}-dev"])}')
            continue
        said = failure_of([program])
        if said is None:
            yield ok(f'{name}: a small program compiles and runs')
        elif failure_of(['setarch', '-R', program]) is None:
            yield note(f'{what}: addresses are too random here. Start programs with setarch -R; '
                       f'or, until the next boot: {LESS_RANDOM}')
        elif 'unexpected memory mapping' in said:
            yield note(f'{what}: addresses are too random here, and setarch -R does not help. '
                       f'Until the next boot: {LESS_RANDOM} (for a container, on its host)')
        else:
            yield note(f'{what}: a small program compiles and does not run: {complaint(said)}')


def failure_of(command):
    """What a program says that fails in one of some runs, or None."""
    for _ in range(TRIES):
        try:
            status, said = run(command, 10)
        except OSError as error:
            return str(error)
        if status != 0:
            return said or ('it does not end' if status is None else f'it ends with {status}')
    return None


def check_gdb(_machine):
    """gdb may be there and not be allowed to look into a process: so it looks into one."""
    what = 'gdb, which names the line at which a hang waits'
    found = version_of('gdb', '--version')
    if found is None:
        yield note(what, 'gdb')
        return
    process = subprocess.Popen(['sleep', str(2 * LIMIT)], stdin=subprocess.DEVNULL)
    try:
        _, said = run(['gdb', '-nx', '-batch', '-iex', 'set debuginfod enabled off', '-p',
                       str(process.pid), '-ex', 'info threads'], LIMIT)
    finally:
        process.kill()
        process.wait()
    if re.search(r'^\* 1 ', said, re.M):
        yield ok(f'gdb {found[1]}, and it may look into a process')
        return
    refused = re.search(r'^.*(?:ptrace|[Cc]ould not attach).*$', said, re.M)
    why = refused[0] if refused else complaint(said)
    advice = ''
    with contextlib.suppress(OSError, ValueError):
        if int(Path('/proc/sys/kernel/yama/ptrace_scope').read_text()) > 0:
            advice = '. Until the next boot: sudo sysctl kernel.yama.ptrace_scope=0'
    yield note(f'{what}: it may not look into a process: {why}{advice}')


def check_linker(machine):
    if machine.kind is None:
        return
    for linker in ('lld', 'gold'):
        if machine.compile('int main() {}\n', f'-fuse-ld={linker}')[0] is not None:
            yield ok(f'a fast linker: {linker}')
            return
    yield note('a fast linker, lld or gold', 'linker')


def check_ccache(_machine):
    found = version_of('ccache', '--version')
    yield ok(f'ccache {found[1]}') if found else \
        note('ccache, which compiles nothing twice', 'ccache')


def check_descriptors(_machine):
    infinite = resource.RLIM_INFINITY
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == infinite or soft >= DESCRIPTORS:
        yield ok(f'descriptors: {"no limit" if soft == infinite else soft}')
        return
    if hard == infinite or hard >= DESCRIPTORS:
        how = f'In this shell: ulimit -n {1024 if hard == infinite else min(hard, 1024)}'
    else:
        how = f'The hard limit is {hard}. As root: ulimit -n 1024'
    yield missing(f'descriptors: a process may have {soft}; the tests take {DESCRIPTORS}. {how}')


def check_proc(_machine):
    try:
        os.listdir('/proc/self/fd')
        Path('/proc/self/stat').read_bytes()
        Path(f'/proc/{os.getppid()}/stat').read_bytes()
        Path('/proc/self/task', os.listdir('/proc/self/task')[0], 'stat').read_bytes()
    except OSError as error:
        yield missing(f'/proc, which tells about processes: {error}. As root: mount -t proc proc '
                      '/proc')
    else:
        yield ok('/proc can be read')


def check_loopback(_machine):
    try:
        with socket.create_server(('127.0.0.1', 0)) as server, \
                socket.create_connection(server.getsockname(), timeout=5):
            pass
    except OSError as error:
        yield missing(f'the loopback interface: 127.0.0.1: {error}. As root: ip link set lo up')
    else:
        yield ok('loopback: 127.0.0.1 connects')


def check_ipv6(_machine):
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as server:
            server.bind(('::1', 0))
    except OSError as error:
        yield note(f'IPv6: ::1: {error}. The tests of IPv6 are skipped')
    else:
        yield ok('IPv6: ::1')


def check_space(machine):
    free = shutil.disk_usage(machine.folder).free
    if not os.access(machine.folder, os.W_OK):
        yield missing(f'space: you may not write in {machine.folder}')
    elif free < FREE:
        yield missing(f'space: {free / 1e9:.1f} GB are free in {machine.folder}, of '
                      f'{FREE / 1e9:.0f} GB for a workspace and its build')
    else:
        yield ok(f'space: {free / 1e9:.0f} GB are free in {machine.folder}')


def check_clock(machine):
    """Meson and Ninja compare times of files, with one another and with the clock."""
    now = time.time()
    year = time.gmtime(now).tm_year
    files = max((ROOT / name).stat().st_mtime for name in ('meson.build', 'tools', 'stages'))
    how = 'To set it: sudo timedatectl set-ntp true'
    if not 2024 <= year < 2100:
        yield missing(f'a clock: it says that this is the year {year}. {how}')
    elif files > now + 60:
        yield missing(f'a clock: files of the checkout are {(files - now) / 3600:.1f} hours in the '
                      f'future, and Meson refuses that. {how}')
    elif abs(written_at(machine.scratch) - now) > 5:
        yield note(f'clock: a new file in {machine.folder} has not the time of now; Ninja may '
                   'build too much, or too little')
    else:
        yield ok(f'clock: {time.strftime("%Y-%m-%d %H:%M", time.gmtime(now))} UTC')


def written_at(folder):
    path = folder / 'now'
    path.write_text('now')
    return path.stat().st_mtime


def check_size(_machine):
    cores = os.cpu_count() or 1
    with contextlib.suppress(AttributeError):  # where there is no Linux
        cores = len(os.sched_getaffinity(0))
    text = f'{cores} core{"s" if cores > 1 else ""}'
    with contextlib.suppress(OSError, TypeError):
        available = re.search(r'^MemAvailable:\s*(\d+) kB', Path('/proc/meminfo').read_text(), re.M)
        gigabytes = int(available[1]) * 1024 / 1e9
        text += f', {gigabytes:.1f} GB of free memory'
        if gigabytes < 0.5 * min(cores, 4):
            yield note(f'{text}: that is little for a compiler on each core. Build with ninja -j1')
            return
    yield ok(text)


# (what it is called if the check itself fails, the check, whether it is needed)
CHECKS = [
    ('Linux', check_system, True),
    ('Python', check_python, True),
    ('the compiler', check_compiler, True),
    ('Meson', check_meson, True),
    ('Ninja', check_ninja, True),
    ('doctest', check_doctest, True),
    ('pkg-config, git and patch', check_programs, True),
    ('the sanitizers', check_sanitizers, False),
    ('gdb', check_gdb, False),
    ('the linker', check_linker, False),
    ('ccache', check_ccache, False),
    ('descriptors', check_descriptors, True),
    ('/proc', check_proc, True),
    ('loopback', check_loopback, True),
    ('IPv6', check_ipv6, False),
    ('space', check_space, True),
    ('the clock', check_clock, True),
    ('the size', check_size, False),
]


def findings(machine):
    for name, check, needed in CHECKS:
        try:
            yield from check(machine)
        except (OSError, subprocess.SubprocessError) as error:
            yield Line('missing' if needed else 'note', f'{name}: cannot be looked at: {error}')


def report(machine):
    """Prints a line for each finding. Whether nothing is missing."""
    packages = known_packages()
    number, wanted = 0, []
    for line in findings(machine):
        text = line.text
        if line.install:
            package = packages[line.install][1]
            text += f'. To install: {install_command([package])}'
        if line.state == 'missing':
            number += 1
            wanted += [package] if line.install else []
        print(f'{line.state:8} {text}', flush=True)
    if number == 0:
        print('Nothing that is needed is missing.')
        return True
    print(f'{number} missing.', *([f'To install: {install_command(wanted)}'] if wanted else []))
    return False


@contextlib.contextmanager
def scratch_in(folder):
    """A folder for trials: there, where a workspace is to be, if that can be written."""
    try:
        place = tempfile.TemporaryDirectory(prefix='.doctor-', dir=folder)
    except OSError:
        place = tempfile.TemporaryDirectory(prefix='doctor-')
    with place as path:
        yield Path(path)


def main(arguments):
    parser = argparse.ArgumentParser(prog='tools/learn doctor', description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folder', nargs='?', type=Path, default=Path('.'), metavar='DIR',
                        help='where you want to work (here)')
    folder = parser.parse_args(arguments).folder.resolve()
    if not folder.is_dir():
        parser.error(f'{folder} is no directory')
    try:
        with scratch_in(folder) as scratch:
            return 0 if report(Machine(folder, scratch)) else 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `tools/learn doctor | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        print(f'{"missing":8} space: a small file cannot be written: {error}')
        return 1
