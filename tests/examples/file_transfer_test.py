#!/usr/bin/env python3
"""The file server, in its three ways and as a receiver, among clients of all kinds:
file_transfer_test.py PATH_OF_FILE_TRANSFER [ARGUMENT...]
"""

import hashlib
import os
import pathlib
import random
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'support'))
from server_process import (  # noqa: E402
    KIB, MIB, PATIENCE, SANITIZED, SLOW, Server, ServerTest, receive, receive_all, reset, wait_until)
import server_process  # noqa: E402

UPLOAD = pathlib.Path(__file__).resolve().parents[2] / 'examples/file-transfer/upload.py'
# C1 controls, a right-to-left override, characters without width, and bytes that are no UTF-8.
HIDDEN = [f'a{c}b'.encode() for c in '\x7f\x80\x9b\xad\u200b\u202e\u2066\ufeff\U000e0041'] + [
    b'a\x9bb', b'a\xc1\xbfb', b'a\xe0\x82\x9bb', b'a\xed\xa0\x80', b'a\xf4\x90\x80\x80', b'a\xe4\xbd']
WAYS = ('whole', 'chunks', 'sendfile')


def digest(data):
    return hashlib.sha256(data).digest()


class TransferTest(ServerTest):
    def setUp(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix='rung-transfer-'))
        self.addCleanup(shutil.rmtree, self.directory)


class CommandLine(TransferTest):
    def test_help(self):
        """--help names the options on stdout, exit 0"""
        done = self.run_to_end('--help')
        self.assertEqual((done.returncode, done.stderr), (0, ''))
        for option in ('--file', '--how', '--receive', '--max-size', '--stall-seconds'):
            self.assertIn(option, done.stdout)

    def test_bad_arguments(self):
        """bad arguments are named on stderr, exit 2"""
        for bad, named in ((['--file', 'x', '--how', 'quickly'], 'quickly'), ([], '--receive'),
                           (['--file', 'x', '--receive', 'y'], '--receive'),
                           (['--receive', 'x', '--max-size', '-1'], '-1'), (['--colour'], 'colour')):
            with self.subTest(arguments=bad):
                done = self.run_to_end(*bad)
                self.assertEqual((done.returncode, done.stdout), (2, ''))
                self.assertIn(named, done.stderr)

    def test_bad_files(self):
        """a file or directory that is not there, or is something else, is named in one line, exit 1"""
        missing, plain = self.directory / 'missing', self.directory / 'plain'
        plain.write_bytes(b'x')
        for bad in (['--file', str(missing)], ['--file', str(self.directory)],
                    ['--receive', str(missing)], ['--receive', str(plain)]):
            with self.subTest(arguments=bad):
                done = self.run_to_end(*bad)
                self.assertEqual((done.returncode, done.stdout), (1, ''))
                self.assertIn(bad[1], done.stderr)
                self.assertEqual(done.stderr.count('\n'), 1, done.stderr)

    def test_taken_port(self):
        """a port that another server has is named in one line on stderr, exit 1, in every way"""
        server = self.serve('--receive', str(self.directory))
        for how in WAYS:
            done = self.run_to_end('--port', str(server.port), '--file', __file__, '--how', how)
            self.assertEqual((done.returncode, done.stdout), (1, ''))
            self.assertIn(str(server.port), done.stderr)
            self.assertEqual(done.stderr.count('\n'), 1, done.stderr)


class Sending(TransferTest):
    def start(self, how, size, *arguments):
        self.data = random.Random(size).randbytes(size)
        path = self.directory / f'file-{how}'
        path.write_bytes(self.data)
        return self.serve('--file', str(path), '--how', how, *arguments)

    def assert_serves(self, server):
        with server.connect() as client:
            self.assertTrue(receive_all(client) == self.data, 'the bytes are others')

    def each(self, size, *arguments):
        for how in WAYS:
            with self.subTest(how=how):
                yield self.start(how, size, *arguments)

    def test_sizes(self):
        """files of many sizes arrive whole, in each of the three ways"""
        for size in (0, 1, 65535, 65536, 65537, 5 * MIB + 1):
            for server in self.each(size, '--threads', '1'):
                self.assert_serves(server)
                server.end()

    def test_many(self):
        """20 clients at once on two threads each get 5 MiB"""
        for server in self.each(5 * MIB, '--threads', '2'):
            got = [b''] * 20

            def fetch(number):
                with server.connect() as client:
                    got[number] = receive_all(client)
            threads = [threading.Thread(target=fetch, args=[number]) for number in range(20)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertTrue(all(data == self.data for data in got), [len(data) for data in got])
            server.end()

    def test_half_close_and_chatter(self):
        """a client that half-closes at once, or talks, gets its file all the same"""
        for server in self.each(8 * MIB):
            for say in (lambda client: client.shutdown(socket.SHUT_WR),
                        lambda client: client.sendall(b'GET / HTTP/1.0\r\n\r\n')):
                with server.connect(receive_buffer=16 * KIB) as client:
                    say(client)
                    self.assertTrue(receive_all(client) == self.data, 'the bytes are others')
            server.end()

    def test_resets(self):
        """150 clients that reset in the middle leave nothing behind; SIGPIPE does not end it"""
        for server in self.each(4 * MIB, '--threads', '2'):
            self.assert_serves(server)
            idle = None
            for number in range(150):
                client = server.connect(receive_buffer=16 * KIB)
                if number % 2:
                    receive(client, 1000)
                reset(client)
                if number == 49:
                    self.assert_serves(server)
                    wait_until(lambda: self.connections(server) == 0, 'all have gone')
                    idle = server.descriptors()
            wait_until(lambda: server.descriptors() <= idle, 'all descriptors are given back')
            self.assert_serves(server)
            server.end()

    @staticmethod
    def connections(server):
        """Sockets of the server, less the one that listens."""
        count = 0
        for entry in os.listdir(f'/proc/{server.pid}/fd'):
            try:
                count += os.readlink(f'/proc/{server.pid}/fd/{entry}').startswith('socket:')
            except OSError:
                pass
        return count - 1

    def test_never_reads(self):
        """30 clients that never read: what they cost in each way; others are served; they are cut"""
        for server in self.each(8 * MIB, '--stall-seconds', '1'):
            self.assert_serves(server)
            before = server.resident()
            stuck = [self.client(server, receive_buffer=16 * KIB) for _ in range(30)]
            self.assert_serves(server)
            wait_until(lambda: self.connections(server) >= 30, 'all are connected')
            grown = server.resident() - before
            print(f'# {server.process.args[-2]}: {grown / MIB:.1f} MiB more for 30 stuck clients')
            if not SANITIZED and server.process.args[-2] != 'whole':
                self.assertLess(grown, 8 * MIB)
            wait_until(lambda: self.connections(server) == 0, 'they are cut', 8 * SLOW)
            for client in stuck:
                client.close()
            self.assert_serves(server)
            server.end()

    def serve(self, *arguments, **options):
        # The way last but one, for test_never_reads.
        how = arguments.index('--how')
        arguments = (*arguments[:how], *arguments[how + 2:], *arguments[how:how + 2])
        return super().serve(*arguments, **options)

    def test_shorter(self):
        """a file that is cut short under way ends the client, with a line in the log"""
        for server in self.each(16 * MIB):
            if server.process.args[-2] == 'whole':
                server.end()
                continue  # it has the file in memory
            client = self.client(server, receive_buffer=16 * KIB)
            self.assertEqual(len(receive(client, 1000)), 1000)
            os.truncate(server.process.args[server.process.args.index('--file') + 1], 1000)
            with self.assertRaises(ConnectionResetError):  # a FIN would look like the end of the file
                receive_all(client)
            self.assertIn('has become shorter', server.log_text())
            client.close()
            server.end()

    def test_stop(self):
        """SIGTERM: a client that reads gets the rest of its file; one that does not is cut; exit 0"""
        for server in self.each(16 * MIB, '--threads', '1'):
            if server.process.args[-2] == 'chunks':
                # Stopping says that no more is sent: what is not queued yet is not sent.
                server.end()
                continue
            stuck = self.client(server, receive_buffer=16 * KIB)
            client = self.client(server, receive_buffer=16 * KIB)
            self.assertTrue(receive(client, 1000) == self.data[:1000])
            server.signal(15)
            self.assertTrue(receive_all(client) == self.data[1000:], 'the bytes are others')
            client.close()
            self.assertEqual(server.wait(6 + 2 * SLOW), 0, server.tail())
            stuck.close()


class Receiving(TransferTest):
    def start(self, *arguments):
        self.place = self.directory / 'in'
        self.place.mkdir(exist_ok=True)
        return self.serve('--receive', str(self.place), *arguments)

    @staticmethod
    def header(name, data, size=None, sha=None):
        return (struct.pack('!H', len(name)) + name
                + struct.pack('!Q', len(data) if size is None else size) + (sha or digest(data)))

    def upload(self, server, name, data, **header):
        """The answer."""
        with server.connect() as client:
            try:
                client.sendall(self.header(name, data, **header) + data)
            except (BrokenPipeError, ConnectionResetError):
                pass
            return receive_all(client).decode()

    def files(self):
        return sorted(path.name for path in self.place.iterdir())

    def assert_serves(self, server):
        self.visits = getattr(self, 'visits', 0) + 1
        name = f'visit-{self.visits}'
        self.assertEqual(self.upload(server, name.encode(), b'visit'), 'ok\n')
        self.assertEqual((self.place / name).read_bytes(), b'visit')
        (self.place / name).unlink()

    def test_known_digests(self):
        """the SHA-256 of the standard's examples is accepted, and any other is refused"""
        server = self.start()
        for number, (data, known) in enumerate((
                (b'', 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'),
                (b'abc', 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'),
                (b'abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq',
                 '248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1'),
                (b'a' * 1_000_000,
                 'cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0'))):
            sha = bytes.fromhex(known)
            self.assertEqual(self.upload(server, b'good-%d' % number, data, sha=sha), 'ok\n')
            wrong = bytes([sha[0] ^ 1]) + sha[1:]
            self.assertEqual(self.upload(server, b'bad-%d' % number, data, sha=wrong),
                             'error: the SHA-256 is another\n')
        self.assertEqual(self.files(), [f'good-{number}' for number in range(4)])

    def test_lengths(self):
        """each length around the ends of SHA-256's blocks, against Python's hashlib"""
        server = self.start('--threads', '2')
        data = random.Random(1).randbytes(200)
        for size in (*range(50, 70), *range(118, 132)):
            self.assertEqual(self.upload(server, b'%d' % size, data[:size]), 'ok\n')
            self.assertEqual((self.place / str(size)).read_bytes(), data[:size])

    def test_client(self):
        """upload.py sends 20 MiB, the log shows progress; the same again is refused"""
        server = self.start('--threads', '1')
        file = self.directory / 'large'
        file.write_bytes(random.Random(2).randbytes(20 * MIB))
        command = [sys.executable, str(UPLOAD), '127.0.0.1', str(server.port), str(file)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30 * SLOW,
                              check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ''))
        self.assertIn(hashlib.sha256(file.read_bytes()).hexdigest(), done.stdout)
        self.assertTrue((self.place / 'large').read_bytes() == file.read_bytes())
        self.assertGreaterEqual(server.log_text().count(f' of {20 * MIB} bytes'), 5)
        done = subprocess.run(command, capture_output=True, text=True, timeout=30 * SLOW,
                              check=False)
        self.assertEqual((done.returncode, done.stdout), (1, ''))
        self.assertIn('File exists', done.stderr)

    def test_single_bytes(self):
        """an upload that comes byte by byte is an upload"""
        server = self.start()
        client = self.client(server)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in self.header(b'slow', b'byte by byte') + b'byte by byte':
            client.sendall(bytes([byte]))
        self.assertEqual(receive_all(client), b'ok\n')
        self.assertEqual((self.place / 'slow').read_bytes(), b'byte by byte')

    def test_names(self):
        """names that lead elsewhere or would trouble a terminal are refused, and nothing is written"""
        server = self.start()
        for name in (b'../x', b'/etc/x', b'a/b', b'..', b'.', b'.hidden', b'a\0b', b'a\nb', b'\x1b[2J',
                     b'x' * 201, *HIDDEN):
            with self.subTest(name=name):
                self.assertRegex(self.upload(server, name, b'x'), '^error: (not a plain|a name has)')
        self.assertEqual(self.upload(server, b'', b'x'), 'error: a name has 1 to 200 bytes\n')
        self.assertEqual((self.files(), sorted(os.listdir(self.directory))), ([], ['in']))
        good = ['gr\xfc\xdfe.txt', '\u4f60\u597d', '\U0001f44b\U0010ffff', '\xa0\ud7ff\ue000']
        for name in good:
            self.assertEqual(self.upload(server, name.encode(), b'x'), 'ok\n')
        self.assertEqual(self.files(), sorted(good))
        self.assert_serves(server)

    def test_no_overwriting(self):
        """a name that is taken stays as it is: also a symbolic link, and one taken meanwhile"""
        server = self.start()
        (self.place / 'link').symlink_to(self.directory / 'elsewhere')
        self.assertEqual(self.upload(server, b'link', b'x'), 'error: File exists\n')
        client = self.client(server)
        client.sendall(self.header(b'race', b'xy') + b'x')
        wait_until(lambda: server.unread() == 0, 'the header is read')
        (self.place / 'race').write_bytes(b'first')
        client.sendall(b'y')
        self.assertEqual(receive_all(client), b'error: File exists\n')
        self.assertEqual((self.place / 'race').read_bytes(), b'first')
        self.assertFalse((self.directory / 'elsewhere').exists())

    def test_sizes(self):
        """sizes above --max-size, up to 2^64 - 1, are refused before a byte is stored"""
        server = self.start('--max-size', '1000')
        self.assertEqual(self.upload(server, b'fits', b'x' * 1000), 'ok\n')
        for size in (1001, 1 << 63, (1 << 64) - 1):
            self.assertEqual(self.upload(server, b'large', b'x', size=size),
                             'error: more than 1000 bytes\n')
        self.assertEqual(self.files(), ['fits'])

    def test_truncated(self):
        """uploads that end, reset or stall in the header or the file leave no file and no descriptor"""
        server = self.start('--stall-seconds', '1')
        self.assert_serves(server)
        wait_until(lambda: 'down' in server.log_text(), 'the visitor is gone')
        idle = server.descriptors()
        whole = self.header(b'part', bytes(100_000)) + bytes(99_999)
        for length in (0, 1, 2, 5, 40, len(whole) - 100_000, len(whole)):
            with self.subTest(length=length):
                client = self.client(server)
                client.sendall(whole[:length])
                client.shutdown(socket.SHUT_WR)
                self.assertEqual(receive_all(client), b'error: the file ended early\n')
                client.close()
                client = server.connect()
                client.sendall(whole[:length])
                reset(client)
        stalled = self.client(server)
        stalled.sendall(whole)
        self.assertEqual(receive_all(stalled), b'')
        stalled.close()
        wait_until(lambda: server.descriptors() == idle, 'all descriptors are given back')
        self.assertEqual(self.files(), [])
        self.assert_serves(server)

    def test_kill(self):
        """kill -9 in the middle of an upload leaves no file"""
        server = self.start()
        client = self.client(server)
        client.sendall(self.header(b'part', bytes(MIB)) + bytes(1000))
        wait_until(lambda: server.unread() == 0, 'it is read')
        server.kill()
        self.assertEqual(self.files(), [])

    def test_garbage(self):
        """300 clients that send random bytes and reset, and one that sends them without end: no harm"""
        server = self.start('--threads', '2')
        self.assert_serves(server)
        before, source = server.resident(), random.Random(4)
        for _ in range(300):
            client = server.connect()
            client.sendall(source.randbytes(source.randrange(300)))
            reset(client)
        endless, begin, sent = self.client(server), time.monotonic(), 0
        with self.assertRaises(OSError):
            while time.monotonic() - begin < PATIENCE:
                sent += endless.send(b'\xff' * 64 * KIB)
        print(f'# cut after {sent / MIB:.0f} MiB; {(server.resident() - before) / MIB:.1f} MiB more')
        if not SANITIZED:
            self.assertLess(server.resident() - before, 8 * MIB)
        self.assertEqual(self.files(), [])
        self.assert_serves(server)

    def wrapped(self, script, *arguments):
        """The server behind a shell script, which ends in exec "$@"."""
        self.place = self.directory / 'in'
        self.place.mkdir(exist_ok=True)
        wrapper = self.directory / 'wrapper'
        wrapper.write_text(f'#!/bin/sh\n{script}\n')
        wrapper.chmod(0o700)
        return Server(self, str(wrapper), '--receive', str(self.place), *arguments)

    def test_file_limit(self):
        """a file above the limit of the process (ulimit -f) is an error for its client alone"""
        server = self.wrapped(f'ulimit -f 400\nexec "{self.program}" "$@"')
        self.assertEqual(self.upload(server, b'large', bytes(MIB)), 'error: File too large\n')
        self.assertEqual(self.files(), [])
        self.assert_serves(server)

    def test_disk_full(self):
        """a disk that is full is an error for the client; the room is there again for the next"""
        mount = 'mount -t tmpfs -o size=2m none "$0" && exec "$@"'
        probe = self.directory / 'probe'
        probe.mkdir()
        if subprocess.run(['unshare', '-m', 'sh', '-c', mount, str(probe), 'true'],
                          capture_output=True, check=False).returncode != 0:
            self.skipTest('may not mount a small file system here')
        server = self.wrapped(
            f"exec unshare -m sh -c '{mount}' '{self.directory / 'in'}' '{self.program}' \"$@\"")
        for number in range(3):
            self.assertEqual(self.upload(server, b'large', bytes(3 * MIB)),
                             'error: No space left on device\n')
            self.assertEqual(self.upload(server, b'fits-%d' % number, bytes(500 * KIB)), 'ok\n')


if __name__ == '__main__':
    server_process.main('file-transfer')
