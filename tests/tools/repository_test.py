#!/usr/bin/env python3
"""What is in the repository is used: repository_test.py ROOT

A profile that a program left behind had been committed once, and nobody saw it.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'support'))
import tap  # noqa: E402

ROOT = pathlib.Path(sys.argv[1])
CORPUS = re.compile(r'(tests/fuzz/)corpus/(\w+)/[^/]+')  # read by its directory


def is_text(content):
    try:
        return '\0' not in content.decode()
    except UnicodeDecodeError:
        return False


def unread(files):
    """The binary ones among {path: content} that no text names, and no fuzz target reads."""
    texts = [content.decode() for content in files.values() if is_text(content)]
    found = []
    for path, content in files.items():
        corpus = CORPUS.fullmatch(path)
        if is_text(content) or corpus and corpus[1] + corpus[2] + '_fuzz.cc' in files:
            continue
        name = re.compile(rf'(?<![\w.-]){re.escape(path.rpartition("/")[2])}(?![\w-])')
        if not any(map(name.search, texts)):
            found.append(path)
    return found


class Repository(unittest.TestCase):
    def test_rule(self):
        """a binary file must be named by a text, or be an input of a fuzz target"""
        files = {'logo.png': b'\0', 'x.profraw': b'\0', 'docs/a.bin': b'\xff', 'README.md': b'logo.png',
                 '.gitignore': b'*.profraw', 'tests/fuzz/a_fuzz.cc': b'', 'main.cc': 'ü'.encode(),
                 'tests/fuzz/corpus/a/1': b'\0', 'tests/fuzz/corpus/b/1': b'\0', 'bin': b'not-a.bin'}
        self.assertEqual(unread(files), ['x.profraw', 'docs/a.bin', 'tests/fuzz/corpus/b/1'])

    def test_repository(self):
        """this repository has no binary file that nothing reads"""
        if not (ROOT / '.git').exists() or shutil.which('git') is None:
            self.skipTest('this is no checkout of git')
        names = subprocess.run(['git', '-c', 'safe.directory=*', '-C', ROOT, 'ls-files', '-z'], text=True,
                               stdout=subprocess.PIPE, check=True).stdout.split('\0')
        self.assertEqual(unread({name: (ROOT / name).read_bytes() for name in names
                                 if (ROOT / name).is_file()}), [])

    def test_tools(self):
        """tools/ has what people run, and nothing else; its package is beside it"""
        self.assertEqual([path.name for path in sorted((ROOT / 'tools').iterdir())
                          if path.is_dir() or not os.access(path, os.X_OK)],
                         ['rungtools'])


if __name__ == '__main__':
    tap.Runner.group = 'repository'
    unittest.main(argv=sys.argv[:1], testRunner=tap.Runner)
