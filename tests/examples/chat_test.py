#!/usr/bin/env python3
"""The chat server among members who mean well and others who do not:
chat_test.py PATH_OF_CHAT PATH_OF_CHAT_CLIENT PATH_OF_CHAT_LOAD [ARGUMENT...]
"""

import itertools
import os
import pathlib
import re
import socket
import struct
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'support'))
from server_process import (  # noqa: E402
    KIB, MIB, PATIENCE, SANITIZED, SLOW, ServerTest, receive, receive_all, reset, wait_until)
import server_process  # noqa: E402

DROPPED = re.compile(r'dropped: reads too slowly')
DISMISSED = re.compile(r'dismissed: ')


def frame(body):
    return struct.pack('!I', len(body)) + body


class ChatTest(ServerTest):
    client_program = load_program = ''

    def read(self, client):
        """The next message, or None when the server has closed."""
        header = receive(client, 4)
        if not header:
            return None
        body = receive(client, struct.unpack('!I', header)[0])
        return body.decode(errors='replace')

    def read_until(self, client, wanted):
        """The messages before `wanted`."""
        before = []
        while (message := self.read(client)) != wanted:
            self.assertIsNotNone(message, f'closed before {wanted!r}, after {before}')
            before.append(message)
        return before

    def member(self, server, name, **options):
        client = self.client(server, **options)
        client.sendall(frame(name.encode()))
        self.read_until(client, f'* {name} joined')
        return client

    def assert_serves(self, server):
        """Two newcomers hear each other."""
        self.visits = getattr(self, 'visits', 0) + 1
        names = [f'guest-{self.visits}-{i}' for i in range(2)]
        one, two = [self.member(server, name) for name in names]
        one.sendall(frame(b'still there?'))
        for client in (one, two):
            self.read_until(client, f'{names[0]}: still there?')
            client.close()


class CommandLine(ChatTest):
    def test_help(self):
        """--help of all three names their options on stdout, exit 0"""
        for program, options in ((self.program, ('--threads', '--max-frame', '--high-water')),
                                 (self.client_program, ('--port', '--name')),
                                 (self.load_program, ('--members', '--messages', '--window'))):
            done = subprocess.run([program, '--help'], capture_output=True, text=True,
                                  timeout=PATIENCE, check=False)
            self.assertEqual((done.returncode, done.stderr), (0, ''))
            for option in options:
                self.assertIn(option, done.stdout)

    def test_bad_arguments(self):
        """bad arguments are named on stderr, exit 2"""
        for bad in (['--max-frame', '0'], ['--max-frame', 'x'], ['--high-water', '-1'],
                    ['--name-seconds', '0'], ['--port', '65536'], ['extra']):
            with self.subTest(arguments=bad):
                done = self.run_to_end(*bad)
                self.assertEqual((done.returncode, done.stdout), (2, ''))
                self.assertIn(bad[-1], done.stderr)

    def test_taken_port(self):
        """a port that another server has is named in one line on stderr, exit 1"""
        server = self.serve()
        done = self.run_to_end('--port', str(server.port))
        self.assertEqual((done.returncode, done.stdout), (1, ''))
        self.assertIn(str(server.port), done.stderr)
        self.assertEqual(done.stderr.count('\n'), 1, done.stderr)


class Talking(ChatTest):
    def test_three_members(self):
        """joining, talking and leaving reach everybody, on the same loop and on others"""
        server = self.serve('--threads', '2')
        ann = self.member(server, 'ann')
        bob = self.client(server)
        bob.sendall(frame(b'bob'))
        self.assertEqual(self.read(bob), '* here: ann bob')
        self.read_until(bob, '* bob joined')
        cleo = self.member(server, 'cleo')  # the same loop as ann's
        ann.sendall(frame(b'hello') + frame('grüße'.encode()))
        for client in (ann, bob, cleo):
            self.read_until(client, 'ann: hello')
            self.assertEqual(self.read(client), 'ann: grüße')
        bob.close()
        for client in (ann, cleo):
            self.read_until(client, '* bob left')
        self.member(server, 'bob')  # the name is free again

    def test_single_bytes(self):
        """frames that come byte by byte are whole frames"""
        server = self.serve('--threads', '1')
        ann = self.client(server)
        ann.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in frame(b'ann') + frame(b'one') + frame(b'two'):
            ann.sendall(bytes([byte]))
        self.read_until(ann, 'ann: one')
        self.assertEqual(self.read(ann), 'ann: two')

    def test_half_close(self):
        """who half-closes leaves; who does so before telling a name was never there"""
        server = self.serve('--threads', '2')
        ann, bob = self.member(server, 'ann'), self.member(server, 'bob')
        nobody = self.client(server)
        nobody.shutdown(socket.SHUT_WR)
        self.assertEqual(receive_all(nobody), b'')
        bob.shutdown(socket.SHUT_WR)
        self.assertEqual(self.read_until(ann, '* bob left'), ['* bob joined'])

    def test_load(self):
        """40 members of 25 messages each on 3 loops: all 40,000 deliveries, in each sender's order"""
        server = self.serve('--threads', '3', verbose=False)
        done = subprocess.run(
            [self.load_program, '--port', str(server.port), '--members', '40', '--messages', '25'],
            capture_output=True, text=True, timeout=30 * SLOW, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ''))
        self.assertIn('40000 deliveries', done.stdout)
        self.assert_quiet(server, 40)

    def test_terminal_client(self):
        """chat-client sends lines, shows messages, and no control character of another member"""
        server = self.serve()
        ann = self.member(server, 'ann')
        bob = subprocess.Popen(
            [self.client_program, '--port', str(server.port), '--name', 'bob'],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            bob.stdin.write('hi\n')
            bob.stdin.flush()
            self.assertEqual(self.read_until(ann, 'bob: hi'), ['* bob joined'])
            # Controls of one byte and of two, a right-to-left override, and a byte that is no UTF-8.
            ann.sendall(frame('\x1b[2Jgone?\r\n\x9b2J \u202e\u4f60'.encode()) + frame(b'\x9b')
                        + frame(b'that is all'))
            # Only then the end of his input: he may be on another loop than she is, and later.
            shown = list(itertools.takewhile(lambda line: line != 'ann: that is all\n', bob.stdout))
            _, err = bob.communicate('', PATIENCE)
        finally:
            bob.kill()
            bob.wait()
        self.assertEqual((bob.returncode, err), (0, ''))
        self.assertEqual(shown[0], '* here: ann bob\n')
        self.assertEqual(shown[-2:], ['ann: ?[2Jgone????2J ?\u4f60\n', 'ann: ?\n'])
        self.read_until(ann, '* bob left')

    def test_terminal_client_refused(self):
        """chat-client says when the name is taken, and when there is no server"""
        server = self.serve()
        self.member(server, 'ann')
        done = self.run_client(server.port, 'ann')
        self.assertEqual(done.stdout, "! the name 'ann' is taken\n")
        with socket.socket() as unused:
            unused.bind(('127.0.0.1', 0))
            port = unused.getsockname()[1]
            done = self.run_client(port, 'ann')
        self.assertEqual(done.returncode, 1)
        self.assertIn(f'127.0.0.1:{port}', done.stderr)

    def run_client(self, port, name):
        reader, writer = os.pipe()  # stdin stays open until the client ends by itself
        try:
            return subprocess.run(
                [self.client_program, '--port', str(port), '--name', name], stdin=reader,
                capture_output=True, text=True, timeout=PATIENCE, check=False)
        finally:
            os.close(reader)
            os.close(writer)


class Hostile(ChatTest):
    def refusal(self, server, data):
        client = self.client(server)
        client.sendall(data)
        answer = self.read(client)
        self.assertEqual(receive_all(client), b'')
        return answer

    def test_wrong_lengths(self):
        """a length of 0, of 2^32-1, one above the limit, and HTTP: told why, closed, not stored"""
        server = self.serve('--threads', '2', '--max-frame', '1000')
        before = server.resident()
        for data in (b'\0\0\0\0', b'\xff\xff\xff\xff', frame(b'ann') + struct.pack('!I', 1001),
                     b'GET / HTTP/1.1\r\n\r\n'):
            with self.subTest(data=data):
                client = self.client(server)
                client.sendall(data)
                self.read_until(client, '! a message has 1 to 1000 bytes')
                client.shutdown(socket.SHUT_WR)
                self.assertEqual(receive_all(client), b'')
        self.assertEqual(len(server.matches(DISMISSED)), 4, server.tail())
        if not SANITIZED:
            self.assertLess(server.resident() - before, 4 * MIB)
        self.assert_serves(server)

    def test_largest(self):
        """a message of exactly the limit arrives"""
        server = self.serve('--max-frame', '1000')
        ann = self.member(server, 'ann')
        ann.sendall(frame(b'x' * 1000))
        self.assertEqual(self.read(ann), 'ann: ' + 'x' * 1000)

    def test_names(self):
        """names that are taken, too long, or look like something else are refused"""
        server = self.serve()
        self.member(server, 'ann')
        self.assertEqual(self.refusal(server, frame(b'ann')), "! the name 'ann' is taken")
        # The last ones: no width, a direction that turns, a control of two bytes, no UTF-8.
        for bad in (b'x' * 33, b'a b', b'*', b'!', b'a\x1b[2J', b'ann: hi', b'a\nb', b'\0',
                    'ann\u200b'.encode(), '\u202eann'.encode(), 'a\x9bb'.encode(), b'a\xff'):
            with self.subTest(name=bad):
                self.assertRegex(self.refusal(server, frame(bad)), '^! a name has 1 to 32 letters')
        self.assert_serves(server)

    def test_deaf_to_dismissal(self):
        """one who is dismissed and goes on to send is cut, and what it sends is thrown away"""
        server = self.serve()
        client = self.client(server)
        begin = time.monotonic()
        with self.assertRaises(OSError):
            while time.monotonic() - begin < PATIENCE:
                client.sendall(b'\xff' * 64 * KIB)
        self.assertEqual(len(server.matches(DISMISSED)), 1)
        self.assert_serves(server)

    def test_no_name(self):
        """one who does not tell a name is closed after the time for that, also within a frame"""
        server = self.serve('--name-seconds', '1')
        silent, slow = self.client(server), self.client(server)
        slow.sendall(b'\0\0\0\x08half')
        for client in (silent, slow):
            self.assertEqual(receive_all(client), b'')
        self.assert_serves(server)

    def test_never_reads(self):
        """20 members who never read are dropped with one line each; memory is bounded, others hear all

        The speaker goes on until all 20 are gone. One who reads hears each word, in order.
        """
        server = self.serve('--threads', '2', '--high-water', str(256 * KIB))
        speaker, listener = self.member(server, 'speaker'), self.member(server, 'listener')
        before = server.resident()
        for number in range(20):
            self.member(server, f'deaf-{number}', receive_buffer=4 * KIB)
        spoken, most = 0, 0
        while len(server.matches(DROPPED)) < 20:
            self.assertLess(spoken, 40_000, 'members who read nothing are not dropped')
            text = b'%08d' % spoken + bytes(4000)
            speaker.sendall(frame(text) * 8)
            spoken += 1
            for client in (speaker, listener):
                for _ in range(8):
                    self.read_until(client, 'speaker: ' + text.decode())
            most = max(most, server.resident())
        if not SANITIZED:
            self.assertLess(most - before, 30 * MIB)
        print(f'# {spoken * 8} messages of 4 KB until all were dropped; '
              f'{(most - before) / MIB:.1f} MiB more at most')
        self.assertEqual(len(server.matches(DROPPED)), 20, server.tail())
        self.assert_serves(server)

    def test_flood(self):
        """5 members who send whole messages without end, and never read, are dropped: memory is bounded"""
        server = self.serve('--threads', '3', '--high-water', str(256 * KIB))
        block = frame(bytes(1000)) * 64
        left = {self.member(server, f'flood-{i}', receive_buffer=4 * KIB): b'' for i in range(5)}
        for client in left:
            client.setblocking(False)
        before, most, sent = server.resident(), 0, 0
        deadline = time.monotonic() + PATIENCE
        while left and time.monotonic() < deadline:
            for client, rest in list(left.items()):
                rest = rest or block
                try:
                    count = client.send(rest)
                    left[client] = rest[count:]
                    sent += count
                except BlockingIOError:
                    pass
                except OSError:
                    del left[client]
            most = max(most, server.resident())
        if not SANITIZED:
            self.assertLess(most - before, 60 * MIB)
        print(f'# {sent / MIB:.1f} MiB sent; {(most - before) / MIB:.1f} MiB more at most')
        self.assertEqual(left, {})
        self.assertEqual(len(server.matches(DROPPED)), 5, server.tail())
        self.assert_serves(server)

    def test_resets(self):
        """200 members who reset in the middle of a frame leave, and nothing stays behind"""
        server = self.serve('--threads', '2')
        idle = server.descriptors()
        for number in range(200):
            client = server.connect()
            client.sendall(frame(b'm%d' % number) + frame(b'hello') + b'\0\0\0\x10half')
            reset(client)
        wait_until(lambda: server.descriptors() == idle, 'all descriptors are given back')
        self.assert_quiet(server, 200)

        # The last of them may still wait to be accepted: then they come, and leave, now.
        def alone():
            try:
                with server.connect() as watcher:
                    watcher.sendall(frame(b'watcher'))
                    return self.read(watcher) == '* here: watcher'
            except OSError:
                return False  # the name of the try before is still taken
        wait_until(alone, 'nobody else is there')
        self.assert_serves(server)


if __name__ == '__main__':
    if len(sys.argv) < 4:
        sys.exit(f'usage: {sys.argv[0]} CHAT CHAT_CLIENT CHAT_LOAD [UNITTEST ARGUMENT...]')
    ChatTest.client_program, ChatTest.load_program = map(os.path.abspath, sys.argv[2:4])
    del sys.argv[2:4]
    server_process.main('chat')
