#!/usr/bin/env python3
"""The library as its users get it: install_test.py SOURCE_ROOT BUILD_DIR

Installs the build into a folder of its own, and builds the README's server against that with the
compiler alone, with Meson and with CMake, and against the source tree as a Meson subproject. Does
what the guide says, too, word for word, where a mount namespace keeps that from the machine. Each
server must serve. The tarball of `meson dist` has all files, and is what the Meson wrap takes.
"""

import functools
import os
import pathlib
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'support'))
import tap  # noqa: E402

SOURCE = pathlib.Path(sys.argv[1])
BUILD = pathlib.Path(sys.argv[2])
CXX = shlex.split(os.environ.get('CXX', 'c++'))
# The lines that docs/guide/using.md shows, with what they need around them.
MESON_FILE = """project('user', 'cpp', default_options: ['cpp_std=c++20'])
rung_dep = dependency('rung', fallback: ['rung', 'rung_dep'])
executable('server', 'server.cc', dependencies: rung_dep)
"""
WRAP_DEPENDENCY = "rung_dep = dependency('rung')\n"
DIST = 'meson dist -C build --no-tests'
CMAKE_FILE = """cmake_minimum_required(VERSION 3.16)
project(user CXX)
set(CMAKE_CXX_STANDARD 20)
find_package(PkgConfig REQUIRED)
pkg_check_modules(RUNG REQUIRED IMPORTED_TARGET rung)
add_executable(server server.cc)
target_link_libraries(server PkgConfig::RUNG)
"""
CMAKE_PACKAGE_FILE = """cmake_minimum_required(VERSION 3.16)
project(user CXX)
find_package(rung 0.1 REQUIRED)
add_executable(server server.cc)
target_link_libraries(server rung::rung)
"""
# In a mount namespace: what is written below these directories goes to memory, and is gone with the
# last process.
PRIVATE_MOUNTS = """set -e
mkdir -p layers
mount -t tmpfs none layers
for directory in /usr/local /etc /var; do
    mkdir -p "layers$directory/upper" "layers$directory/work"
    layer=$PWD/layers$directory
    mount -t overlay none -o "lowerdir=$directory,upperdir=$layer/upper,workdir=$layer/work" \\
        "$directory"
done
"""


def run(*command, **options):
    """The command's output; its failure shows what it said."""
    done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600,
                          check=False, **options)
    if done.returncode != 0:
        raise AssertionError(f'{command} exits with {done.returncode}:\n{done.stdout}')
    return done.stdout


def git(*arguments):
    return run('git', '-c', 'safe.directory=*', '-C', SOURCE, *arguments)


@functools.cache
def dist_tarball():
    """What `meson dist` makes of the last commit."""
    if not (SOURCE / '.git').exists() or shutil.which('git') is None:
        raise unittest.SkipTest('this is no checkout of git')
    env = dict(os.environ, GIT_CONFIG_COUNT='1', GIT_CONFIG_KEY_0='safe.directory',
               GIT_CONFIG_VALUE_0='*')
    run(*shlex.split(DIST.replace('-C build', '--allow-dirty')), cwd=BUILD, env=env)
    return next((BUILD / 'meson-dist').glob('rung-*.tar.xz'))


class Install(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.top = pathlib.Path(cls.folder.name)
        cls.root = cls.top / 'root'
        run('meson', 'install', '-C', BUILD, '--no-rebuild', '--destdir', cls.root)
        cls.pc = next(cls.root.rglob('rung.pc'))
        cls.lib = cls.pc.parent.parent
        # The .pc file names the final prefix; everything stands below `root` instead.
        cls.env = dict(os.environ, PKG_CONFIG_PATH=str(cls.pc.parent),
                       PKG_CONFIG_SYSROOT_DIR=str(cls.root), LD_LIBRARY_PATH=str(cls.lib))

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def user_project(self, **files):
        place = self.top / self.id().rpartition('.')[2]
        place.mkdir()
        shutil.copy(SOURCE / 'examples' / 'minimal.cc', place / 'server.cc')
        for name, text in files.items():
            (place / name.replace('_', '.')).write_text(text)
        return place

    def assert_serves(self, *program, **options):
        server = subprocess.Popen(program, stdout=subprocess.PIPE, text=True,
                                  **{'env': self.env, **options})
        try:
            line = re.fullmatch(r'listening on (.*):(\d+)\n', server.stdout.readline())
            self.assertIsNotNone(line, 'the server does not start')
            host, port = line.groups()
            with socket.create_connection((host, int(port)), timeout=10) as client:
                client.sendall(b'hello')
                client.shutdown(socket.SHUT_WR)
                self.assertEqual(client.makefile('rb').read(), b'hello')
        finally:
            server.kill()
            server.wait()
            server.stdout.close()

    def test_headers(self):
        """every header of lib/ is installed, and one that has the version"""
        headers = sorted([*(p.relative_to(SOURCE / 'lib') for p in (SOURCE / 'lib').rglob('*.h')),
                          pathlib.Path('rung/version.h')])
        include = next(self.root.rglob('TcpServer.h')).parents[2]
        self.assertEqual(
            sorted(p.relative_to(include) for p in (include / 'rung').rglob('*.h')), headers)

    def test_compiler_alone(self):
        """a server builds with the compiler and pkg-config, on the shared library"""
        place = self.user_project()
        flags = run('pkg-config', '--cflags', '--libs', 'rung', env=self.env).split()
        run(*CXX, '-std=c++20', 'server.cc', '-o', 'server', *flags, cwd=place)
        self.assertIn('librung.so', run('ldd', place / 'server', env=self.env))
        self.assert_serves(place / 'server')

    def test_static(self):
        """a server builds on the static library"""
        place = self.user_project()
        flags = run('pkg-config', '--cflags', 'rung', env=self.env).split()
        run(*CXX, '-std=c++20', '-pthread', 'server.cc', '-o', 'server', *flags,
            self.lib / 'librung.a', cwd=place)
        self.assertNotIn('librung.so', run('ldd', place / 'server', env=self.env))
        self.assert_serves(place / 'server')

    def test_meson(self):
        """a Meson project finds the installed library"""
        place = self.user_project(meson_build=MESON_FILE)
        run('meson', 'setup', 'b', cwd=place, env=self.env)
        run('ninja', '-C', 'b', cwd=place)
        self.assertIn('librung.so', run('ldd', place / 'b' / 'server', env=self.env))
        self.assert_serves(place / 'b' / 'server')

    def test_meson_subproject(self):
        """a Meson project takes the source tree as a subproject, and installs nothing of it"""
        place = self.user_project(meson_build=MESON_FILE)
        (place / 'subprojects').mkdir()
        (place / 'subprojects' / 'rung').symlink_to(SOURCE)
        env = dict(os.environ, PKG_CONFIG_LIBDIR='/nonexistent')
        run('meson', 'setup', '-Dunity=on', '-Dunity_size=100', 'b', cwd=place, env=env)
        built = run('ninja', '-C', 'b', cwd=place)
        self.assertNotIn('_test.cc', built)
        self.assertEqual(run('meson', 'introspect', '--installed', 'b', cwd=place), '{}\n')
        self.assert_serves(place / 'b' / 'server')

    def test_dist(self):
        """`meson dist` packs every file of the commit, and that builds in a path with a space"""
        place = self.top / 'my dist'
        with tarfile.open(dist_tarball()) as tar:
            tar.extractall(place)
            packed = {name.partition('/')[2]: bool(mode & 0o100)
                      for name, mode in ((file.name, file.mode) for file in tar if not file.isdir())}
        tracked = re.findall('^100(644|755) .*\\t(.*)$', git('ls-tree', '-r', 'HEAD'), re.M)
        self.assertEqual(packed, {name: mode == '755' for mode, name in tracked})
        source, = place.iterdir()
        run('meson', 'setup', '-Dstages=final', '-Dtests=false', 'b', cwd=source)
        run('ninja', '-C', 'b', '../lib/rung/base/UniqueFd.cc^', cwd=source)

    def test_wrap(self):
        """a Meson project takes the tarball through the wrap, from a folder or from a URL"""
        tarball = dist_tarball()
        digest = tarball.with_name(tarball.name + '.sha256sum').read_text().split()[0]
        url = f'[wrap-file]\nsource_url = {tarball.as_uri()}\nsource_hash = {digest}\n'
        wrap = (SOURCE / 'packaging' / 'rung.wrap').read_text()
        meson_file = MESON_FILE.replace(MESON_FILE.splitlines(True)[1], WRAP_DEPENDENCY)
        for text in wrap, wrap.replace('[wrap-file]\n', url):
            with self.subTest(text):
                place = self.user_project(meson_build=meson_file)
                folder = place / 'subprojects'
                (folder / 'packagefiles').mkdir(parents=True)
                if text == wrap:
                    shutil.copy(tarball, folder / 'packagefiles')
                (folder / 'rung.wrap').write_text(text)
                run('meson', 'setup', '--wrap-mode=forcefallback', 'b', cwd=place)
                run('ninja', '-C', 'b', '../server.cc^', cwd=place)
                shutil.rmtree(place)

    def test_kinds(self):
        """-Ddefault_library says which kinds of library are installed"""
        for kind, wanted in (('static', {'librung.a'}), ('shared', {'librung.so.0.1.0'})):
            run('meson', 'setup', f'-Ddefault_library={kind}', '-Dtests=false', '-Dexamples=false',
                self.top / kind, SOURCE)
            installed = run('meson', 'introspect', '--installed', self.top / kind)
            self.assertEqual(set(re.findall(r'/(librung\.[^/"]*)": ', installed)), wanted)

    def test_cmake(self):
        """a CMake project finds the installed library through pkg-config"""
        if shutil.which('cmake') is None:
            self.skipTest('cmake is not installed')
        place = self.user_project(CMakeLists_txt=CMAKE_FILE)
        run('cmake', '-S', '.', '-B', 'b', cwd=place, env=self.env)
        run('cmake', '--build', 'b', cwd=place, env=self.env)
        self.assert_serves(place / 'b' / 'server')

    def test_cmake_package(self):
        """a CMake project finds the package, from where it was moved to, of a version that will do"""
        if shutil.which('cmake') is None:
            self.skipTest('cmake is not installed')
        moved = self.top / 'moved to'
        shutil.copytree(self.root, moved, symlinks=True)
        prefix = next(moved.rglob('include')).parent
        for kind, gone in (('shared', None), ('static', 'librung.so*')):
            with self.subTest(kind):
                for library in moved.rglob(gone) if gone else ():
                    library.unlink()
                place = self.user_project(CMakeLists_txt=CMAKE_PACKAGE_FILE)
                run('cmake', '-S', '.', '-B', 'b', f'-DCMAKE_PREFIX_PATH={prefix}', cwd=place)
                run('cmake', '--build', 'b', cwd=place)
                self.assertEqual('librung.so' in run('ldd', place / 'b' / 'server'),
                                 kind == 'shared')
                self.assert_serves(place / 'b' / 'server', env=os.environ)
                shutil.rmtree(place)
        question = 'cmake_minimum_required(VERSION 3.16)\nproject(user CXX)\n' \
            'find_package(rung %s QUIET)\nmessage("found ${rung_FOUND}")\n'
        for wanted, found in (('', 1), ('0', 1), ('0.1.0 EXACT', 1), ('0.1.1', 0), ('0.0', 0),
                              ('0.2', 0), ('1', 0)):
            with self.subTest(wanted):
                place = self.user_project(CMakeLists_txt=question % wanted)
                said = run('cmake', '-S', '.', '-B', 'b', f'-DCMAKE_PREFIX_PATH={prefix}', cwd=place)
                self.assertIn(f'found {found}', said)
                shutil.rmtree(place)

    def test_version(self):
        """a program can ask for the version, which is Meson's"""
        version = run('pkg-config', '--modversion', 'rung', env=self.env).strip()
        major, minor, patch = map(int, version.split('.'))
        place = self.user_project(version_cc=f"""
            #include <string_view>
            #include "rung/version.h"
            static_assert(RUNG_VERSION == std::string_view("{version}"));
            #if RUNG_VERSION_NUMBER != {major * 10000 + minor * 100 + patch}
            #error "not the number"
            #endif
            static_assert(RUNG_VERSION_MAJOR == {major} && RUNG_VERSION_MINOR == {minor} &&
                          RUNG_VERSION_PATCH == {patch});
            """)
        flags = run('pkg-config', '--cflags', 'rung', env=self.env).split()
        run(*CXX, '-std=c++20', '-fsyntax-only', *flags, 'version.cc', cwd=place)

    def test_guide(self):
        """the guide shows the lines that are tried here"""
        guide = (SOURCE / 'docs' / 'guide' / 'using.md').read_text()
        for line in [*MESON_FILE.splitlines()[1:], *CMAKE_FILE.splitlines()[3:5],
                     CMAKE_FILE.splitlines()[-1], CMAKE_PACKAGE_FILE.splitlines()[2],
                     CMAKE_PACKAGE_FILE.splitlines()[-1], DIST, WRAP_DEPENDENCY.strip(),
                     'g++ -std=c++20 server.cc -o server $(pkg-config --cflags --libs rung)']:
            self.assertIn(line + '\n', guide)

    def test_guide_commands(self):
        """the guide's commands, word for word: the server finds the installed library"""
        place = self.user_project()
        unshare = ['unshare', '--mount'] + ['--map-root-user'] * (os.geteuid() != 0)
        for tool in ('unshare', 'g++', 'ldconfig'):
            if shutil.which(tool, path=os.environ['PATH'] + ':/sbin:/usr/sbin') is None:
                self.skipTest(f'{tool} is not installed')
        probe = subprocess.run([*unshare, 'sh', '-c', PRIVATE_MOUNTS], cwd=place, text=True,
                               stderr=subprocess.PIPE, check=False)
        if probe.returncode != 0:
            self.skipTest(f'no private mounts: {probe.stderr.strip().splitlines()[-1]}')
        guide = (SOURCE / 'docs' / 'guide' / 'using.md').read_text()
        install, use = re.findall(r'```sh\n(.*?)```', guide, re.DOTALL)[:2]
        self.assertIn('\nsudo ldconfig\n', install)
        self.assertTrue(use.endswith('\n./server\n'), use)
        rung = place / 'rung'
        for name in ('lib', 'stages'):
            shutil.copytree(SOURCE / name, rung / name)
        for name in ('meson.build', 'meson_options.txt'):
            shutil.copy(SOURCE / name, rung)
        # The library as one file is a fifth of the work. The server's line on stdout is the first.
        install = install.replace('meson setup', 'meson setup -Dunity=on -Dunity_size=100')
        script = (f'{PRIVATE_MOUNTS}cd rung\n{{\n{install.replace("sudo ", "")}}} >&2\ncd ..\n'
                  + use.replace('\n./server\n', '\nexec ./server\n'))
        # Nothing may help the dynamic linker, or pkg-config.
        env = {name: value for name, value in os.environ.items()
               if name != 'LD_LIBRARY_PATH' and not name.startswith('PKG_CONFIG')}
        env['PATH'] += ':/sbin:/usr/sbin'
        with tempfile.TemporaryFile('w+') as log:
            try:
                self.assert_serves(*unshare, 'sh', '-c', script, cwd=place, env=env, stderr=log)
            except AssertionError:
                log.seek(0)
                self.fail('the commands say at the end:\n' + log.read()[-2000:])

    def test_symbols(self):
        """the shared library exports what is in namespace rung, and nothing else"""
        if shutil.which('nm') is None:
            self.skipTest('nm is not installed')
        lines = run('nm', '-DC', '--defined-only', self.lib / 'librung.so').splitlines()
        names = [line.split(' ', 2)[2] for line in lines]
        self.assertGreater(len(names), 100)
        self.assertEqual([name for name in names if 'rung::' not in name], [])
        self.assertEqual([name for name in names if name.startswith('std::')], [])


if __name__ == '__main__':
    tap.Runner.group = 'install'
    unittest.main(argv=sys.argv[:1], testRunner=tap.Runner)
