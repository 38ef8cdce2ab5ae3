#!/usr/bin/env python3
""".devcontainer/: the container for those without Linux has what tools/setup.sh knows to be needed."""

import json
import pathlib
import re
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / 'tests' / 'support'), str(ROOT / 'tools')]
sys.dont_write_bytecode = True
import tap  # noqa: E402
from rungtools import doctor  # noqa: E402

FOLDER = ROOT / '.devcontainer'
CONTAINERFILE = (FOLDER / 'Containerfile').read_text('utf-8')


def instructions(text):
    """(name, rest) of each instruction, in order; comments are gone, and continued lines joined."""
    lines = ''.join(line for line in text.splitlines(True) if not line.startswith('#'))
    return [tuple(line.split(None, 1)) for line in lines.replace('\\\n', ' ').splitlines() if line]


def packages(text):
    """What apt-get installs, in order."""
    words = [found for name, rest in instructions(text) if name == 'RUN'
             for found in re.findall(r'apt-get install ([^&|;]*)', rest)]
    return [word for word in ' '.join(words).split() if not word.startswith('-')]


class Container(unittest.TestCase):
    def test_reading(self):
        """packages are found over several lines, without options and comments"""
        text = ('# apt-get install gone\nFROM x:1\nRUN apt-get update && \\\n  apt-get install -y \\\n'
                '    g++ meson && \\\n  rm x\nRUN apt-get install git\nUSER me\n')
        self.assertEqual(packages(text), ['g++', 'meson', 'git'])
        self.assertEqual([name for name, _ in instructions(text)], ['FROM', 'RUN', 'RUN', 'USER'])

    def test_packages(self):
        """its packages are those of tools/setup.sh, but for those that only save time"""
        known = doctor.known_packages().values()
        self.assertEqual(sorted(packages(CONTAINERFILE)),
                         sorted(package for purpose, package in known if purpose != 'speed'))

    def test_system(self):
        """it is a Debian 12, and nothing comes from elsewhere"""
        found = instructions(CONTAINERFILE)
        self.assertEqual([rest for name, rest in found if name == 'FROM'], ['debian:12'])
        self.assertFalse({name for name, _ in found} & {'ADD', 'COPY'})
        self.assertNotRegex(CONTAINERFILE + (FOLDER / 'devcontainer.json').read_text('utf-8'), '://')

    def test_user(self):
        """who works in it is an ordinary user, the same in both files"""
        user = [rest for name, rest in instructions(CONTAINERFILE) if name == 'USER'][-1]
        self.assertRegex(CONTAINERFILE, rf'useradd .*--uid [1-9]\d* {user}\n')
        self.assertEqual(json.loads((FOLDER / 'devcontainer.json').read_text('utf-8'))['remoteUser'],
                         user)

    def test_json(self):
        """devcontainer.json is JSON without comments, and builds the Containerfile beside it"""
        settings = json.loads((FOLDER / 'devcontainer.json').read_text('utf-8'))
        self.assertTrue((FOLDER / settings['build']['dockerfile']).samefile(FOLDER / 'Containerfile'))

    def test_page(self):
        """the set-up page has the way to the container, and its commands name files that exist"""
        page = (ROOT / 'docs/tutorial/00-set-up.md').read_text('utf-8')
        section = re.search(r'^## Without Linux\n(.*?)^## ', page, re.M | re.S)[1]
        named = re.findall(r'\.devcontainer/\w[\w.]*', section)
        self.assertIn('.devcontainer/Containerfile', named)
        for name in named:
            self.assertTrue((ROOT / name).exists(), name)


if __name__ == '__main__':
    tap.Runner.group = 'devcontainer'
    unittest.main(argv=sys.argv[:1], testRunner=tap.Runner)
