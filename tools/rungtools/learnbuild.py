"""Compiling a stage and its tests with ninja alone, an object for each file, as fast as can be."""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

from . import ROOT
from .process import BuildFailed

FLAGS = '-std=c++20 -pthread -O0 -g1'
# What an empty body makes unused is no fault of the learner.
WARNINGS = ('-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wold-style-cast '
            '-Wnon-virtual-dtor -Wno-unused-parameter -Wno-unused-function')
MAIN = ('tests/support/test_main.cc', 'tests/support/Allocations.cc')
SANITIZERS = {'none': '', 'address': '-fsanitize=address', 'undefined': '-fsanitize=undefined',
              'thread': '-fsanitize=thread'}
UNITY = 20  # files at a time, of those that nobody changes


def compiler():
    """The command: that of CXX, else g++, through ccache where there is one."""
    if 'CXX' in os.environ:
        return os.environ['CXX']
    name = next((n for n in ('g++', 'clang++') if shutil.which(n)), None)
    if name is None:
        raise BuildFailed('there is no C++ compiler; tools/learn doctor tells how to install one')
    return ('ccache ' if shutil.which('ccache') else '') + name


def linker():
    """The fastest that is there."""
    return next((f'-fuse-ld={n}' for n in ('lld', 'gold') if shutil.which(f'ld.{n}')), '')


def runner(sanitize):
    """Words in front of a program compiled so: ThreadSanitizer of these years cannot live with as many
    random bits in addresses as newer kernels use."""
    bits = Path('/proc/sys/vm/mmap_rnd_bits')
    try:
        many = 'thread' in sanitize and int(bits.read_text()) > 28
    except (OSError, ValueError):  # root alone may read it on some machines
        many = 'thread' in sanitize
    command = ['setarch', os.uname().machine, '-R']
    return command if many and shutil.which('setarch') and \
        subprocess.run([*command, 'true'], capture_output=True).returncode == 0 else []


def escaped(path):
    return str(path).replace('$', '$$').replace(' ', '$ ').replace(':', '$:')


def shell(path):
    """A path within a command of ninja's."""
    return shlex.quote(str(path).replace('$', '$$'))


class Build:
    """A build.ninja in `folder`. `includes` are searched in order; `more` are flags for all."""

    def __init__(self, folder, includes, more=''):
        self.folder = folder
        self.lines = [
            f'flags = {FLAGS} {more} ' + ' '.join(f'-I{shell(path)}' for path in includes),
            'rule cxx', f'  command = {compiler()} $flags $more -MMD -MF $out.d -c $in -o $out',
            '  depfile = $out.d', '  deps = gcc', '  description = compiles $what',
            'rule link', f'  command = {compiler()} -pthread {linker()} {more} $in -o $out',
            '  description = links $what']

    def object(self, name, source, more=''):
        """Names an object; the path of it."""
        out = f'o/{name}.o'
        self.lines += [f'build {escaped(out)}: cxx {escaped(source)}', f'  more = {more}',
                       f'  what = {name}']
        return out

    def together(self, name, sources, more=''):
        """The same for files that are compiled a few at a time."""
        objects = []
        for at in range(0, len(sources), UNITY):
            unit = self.folder / 'o' / f'{name}-{at // UNITY}.cc'
            write(unit, ''.join(f'#include "{path}"\n' for path in sources[at:at + UNITY]))
            objects.append(self.object(f'{name}-{at // UNITY}', unit, more))
        return objects

    def program(self, name, objects):
        self.lines += [f'build {name}: link ' + ' '.join(escaped(path) for path in objects),
                       f'  what = {name}']
        return self.folder / name

    def main(self, more=''):
        """The objects of main() and of what all tests need."""
        return [self.object(f'main{n}', ROOT / path, more) for n, path in enumerate(MAIN)]

    def save(self):
        write(self.folder / 'build.ninja', '\n'.join(self.lines) + '\n')

    def make(self, targets, show=None, jobs=None):
        """Builds; returns what was said, or raises BuildFailed with it. `show` is given each line."""
        program = shutil.which('ninja') or shutil.which('ninja-build')
        if program is None:
            raise BuildFailed('ninja is not installed; tools/learn doctor tells how to install it')
        # ccache would make paths relative, and an error must name the learner's file.
        environment = {name: value for name, value in os.environ.items() if name != 'CCACHE_BASEDIR'}
        process = subprocess.Popen([program, '-C', self.folder, *([f'-j{jobs}'] if jobs else []),
                                    *map(str, targets)], text=True, errors='replace', env=environment, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        said = []
        with process:
            for line in process.stdout:
                said.append(line)
                if show:
                    show(line)
        if process.returncode != 0:
            raise BuildFailed(''.join(said))
        return ''.join(said)


def write(path, text):
    """Unless the file holds it already, so that nothing is compiled in vain."""
    if not path.is_file() or path.read_text(encoding='utf-8') != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding='utf-8')
