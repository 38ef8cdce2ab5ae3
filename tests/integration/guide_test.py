#!/usr/bin/env python3
"""The programs that docs/guide/using.md shows do what it says: guide_test.py PROGRAM...

The arguments are the paths of guide-client, guide-embedding, guide-logging, guide-stop,
guide-threads and guide-timers.
"""

import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'support'))
from server_process import needs_descriptors  # noqa: E402
import tap  # noqa: E402

PROGRAMS = {pathlib.Path(path).name: path for path in sys.argv[1:]}


class Guide(unittest.TestCase):
    def serve(self, name):
        server = subprocess.Popen([PROGRAMS[name]], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, text=True)

        def clean_up():
            server.kill()
            server.wait()
            server.stdout.close()
            server.stdin.close()
        self.addCleanup(clean_up)
        host, port = re.fullmatch(r'listening on (.*):(\d+)\n', server.stdout.readline()).groups()
        client = socket.create_connection((host, int(port)), timeout=20)
        self.addCleanup(client.close)
        return server, client

    def run_to_end(self, name, *arguments):
        return subprocess.run([PROGRAMS[name], *arguments], text=True, capture_output=True,
                              timeout=20, check=True).stdout

    def test_timers(self):
        """guide-timers: three ticks, nothing of what was cancelled, and the end"""
        self.assertEqual(self.run_to_end('guide-timers'), 'tick 1\ntick 2\ntick 3\ndone\n')

    def test_logging(self):
        """guide-logging: all lines are in the file when the program has ended"""
        with tempfile.TemporaryDirectory() as folder:
            self.assertEqual(self.run_to_end('guide-logging', f'{folder}/server'), '')
            (file,) = pathlib.Path(folder).iterdir()
            self.assertRegex(file.name, r'^server\.\d{8}-\d{6}\..+\.\d+\.log$')
            lines = file.read_text().splitlines()
        self.assertEqual(len(lines), 4)
        for line, text in zip(lines, ['INFO  line 1 of 3, half of it: 0.5',
                                      'INFO  line 2 of 3, half of it: 1',
                                      'INFO  line 3 of 3, half of it: 1.5',
                                      'WARN  that was all']):
            self.assertRegex(line, rf'^\d{{8}} \d\d:\d\d:\d\d\.\d{{6}}Z \d+ {text} - '
                                   r'logging\.cc:\d+$')

    def test_threads(self):
        """guide-threads: each line gets its sum, however the lines arrive"""
        _, client = self.serve('guide-threads')
        answers = client.makefile('r')
        client.sendall(b'12')
        client.sendall(b'3\n99')
        self.assertEqual(answers.readline(), '6\n')
        client.sendall(b'\n')
        self.assertEqual(answers.readline(), '18\n')

    def test_half_close(self):
        """guide-threads: two hundred clients half-close before their answers are ready"""
        needs_descriptors(self, 512)
        _, first = self.serve('guide-threads')
        clients = [socket.create_connection(first.getpeername(), timeout=20) for _ in range(200)]
        for number, client in enumerate(clients):
            self.addCleanup(client.close)
            client.sendall(b'%d\n' % number)
            client.shutdown(socket.SHUT_WR)
        answers = [client.makefile('r').read() for client in clients]
        self.assertEqual(answers, [f'{sum(map(int, str(n)))}\n' for n in range(200)])

    def test_stop(self):
        """guide-stop: an idle client is closed; SIGTERM lets the others end, and counts them"""
        server, client = self.serve('guide-stop')
        client.sendall(b'x')
        self.assertEqual(client.makefile('rb').read(), b'x')  # until the server closed
        busy = socket.create_connection(client.getpeername(), timeout=20)
        busy.sendall(b'y')
        self.assertEqual(busy.recv(1), b'y')
        server.send_signal(signal.SIGTERM)
        self.assertEqual(busy.recv(1), b'')
        busy.close()
        self.assertEqual(server.stdout.read(), '1 drained, 0 cut\n')
        self.assertEqual(server.wait(20), 0)

    def test_embedding(self):
        """guide-embedding: poll(2) carries the loop; a command says good-bye to all, and ends it"""
        server, client = self.serve('guide-embedding')
        answers = client.makefile('r')
        client.sendall(b'hello\n')
        self.assertEqual(answers.readline(), 'hello\n')
        server.stdin.write('end\n')
        server.stdin.flush()
        self.assertEqual(answers.read(), 'bye\n')
        answers.close()
        client.close()
        self.assertEqual(server.stdout.read(), '1 accepted, 1 ended by this side\n')
        self.assertEqual(server.wait(20), 0)

    def test_client(self):
        """guide-client: the server is not there, then hangs up, then answers"""
        with socket.create_server(('127.0.0.1', 0)) as gone:
            address = gone.getsockname()
        where = '%s:%d' % address
        with subprocess.Popen([PROGRAMS['guide-client'], where], stdout=subprocess.PIPE,
                              text=True) as client:
            self.addCleanup(client.kill)
            refused = f'connect to {where}: Connection refused; again\n'
            self.assertEqual(client.stdout.readline(), refused)
            with socket.create_server(address) as server:
                server.settimeout(20)
                for last in (False, True):
                    peer = server.accept()[0]
                    with peer:
                        self.assertEqual(peer.recv(6, socket.MSG_WAITALL), b'hello\n')
                        if last:
                            peer.sendall(b'good day\n')
                            self.assertEqual(peer.recv(1), b'')
            said = client.stdout.read()
            while said.startswith(refused):
                said = said[len(refused):]
            self.assertEqual(said, 'down\nthe answer: good day\ndown\n')
            self.assertEqual(client.wait(20), 0)


if __name__ == '__main__':
    tap.Runner.group = 'guide'
    unittest.main(argv=sys.argv[:1], testRunner=tap.Runner)
