#!/usr/bin/env python3
"""The front page tells the truth: readme_test.py ROOT PATH_OF_MINIMAL

Its server is short, and serves; its table has every stage. That the server is the example to the
letter, and that links lead somewhere, is what `tools/docs check` looks at.
"""

import pathlib
import re
import socket
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'support'))
import tap  # noqa: E402

ROOT = pathlib.Path(sys.argv[1])
MINIMAL = sys.argv[2]
README = (ROOT / 'README.md').read_text()


class Readme(unittest.TestCase):
    def test_code_is_short(self):
        """the server on the front page is examples/minimal.cc, in at most 25 lines"""
        (block,) = re.findall(r'^<!-- file: examples/minimal.cc -->\n```cpp\n(.*?)^```', README,
                              re.M | re.S)
        self.assertLessEqual(len(block.splitlines()), 25)

    def test_code_serves(self):
        """the server on the front page echoes"""
        server = subprocess.Popen([MINIMAL], stdout=subprocess.PIPE, text=True)
        try:
            host, port = re.fullmatch(r'listening on (.*):(\d+)\n',
                                      server.stdout.readline()).groups()
            with socket.create_connection((host, int(port)), timeout=10) as client:
                client.sendall(b'hello')
                client.shutdown(socket.SHUT_WR)
                self.assertEqual(client.makefile('rb').read(), b'hello')
        finally:
            server.kill()
            server.wait()
            server.stdout.close()

    def test_code_says_why(self):
        """the server on the front page says why it cannot start, exit 1"""
        done = subprocess.run(['sh', '-c', 'ulimit -n 8; exec "$0"', MINIMAL], text=True, timeout=60,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        self.assertEqual((done.returncode, done.stdout), (1, ''))
        self.assertRegex(done.stderr, r'\Aminimal: .*: Too many open files\n\Z')

    def test_every_stage_is_in_the_table(self):
        """the table on the front page has every stage, in order"""
        stages = sorted(p.name for p in (ROOT / 'stages').iterdir() if p.is_dir())
        self.assertEqual(re.findall(r'^\| \[([^]]+)\]', README, re.M), stages)


if __name__ == '__main__':
    tap.Runner.group = 'README'
    unittest.main(argv=sys.argv[:1], testRunner=tap.Runner)
