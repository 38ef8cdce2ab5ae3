#!/usr/bin/env python3
"""What the echo server promises to clients that mean well: echo_test.py PATH_OF_ECHO [ARGUMENT...]

One test alone: echo_test.py build/release/examples/echo -k late_reader
"""

import hashlib
import os
import pathlib
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'support'))
from server_process import (  # noqa: E402
    DOWN, KIB, LOG_LINE, MIB, SANITIZED, SLOW, UP, ServerTest, fill, receive, receive_all, reset,
    wait_until)
import server_process  # noqa: E402


class CommandLine(ServerTest):
    def test_help(self):
        """--help prints the usage on stdout and exits 0"""
        done = self.run_to_end('--help')
        self.assertEqual(done.returncode, 0)
        self.assertIn('usage', done.stdout.lower())
        for option in ('--address', '--port', '--listen', '--threads', '--high-water'):
            self.assertIn(option, done.stdout)
        self.assertEqual(done.stderr, '')

    def test_bad_arguments(self):
        """bad arguments print the usage on stderr and exit 2"""
        for bad in (
                ['--colour'], ['extra'], [''], ['-p', '1'],
                ['--address'], ['--port'], ['--listen'], ['--threads'], ['--high-water'],
                ['--port', 'http'], ['--port', ''], ['--port', '12x'], ['--port', ' 12'],
                ['--port', '65536'], ['--port', '-1'], ['--port', '4294967297'],
                ['--threads', 'two'], ['--threads', '-1'], ['--threads', '1.5'],
                ['--threads', '99999999999'],
                ['--log-level', ''], ['--log-level', 'loud'],
                ['--high-water', 'much'], ['--high-water', '-1'],
                ['--high-water', '99999999999999999999999']):
            with self.subTest(arguments=bad):
                done = self.run_to_end(*bad)
                self.assertEqual(done.returncode, 2)
                self.assertIn('usage', done.stderr.lower())
                self.assertEqual(done.stdout, '')

    def test_bad_address(self):
        """a bad address is named in one line on stderr, exit 1: it must not become 0.0.0.0"""
        for bad in ('300.1.2.3', 'nonsense', '1.2.3', '::g'):
            with self.subTest(address=bad):
                done = self.run_to_end('--address', bad, '--port', '0')
                self.assertEqual(done.returncode, 1)
                self.assertIn(bad, done.stderr)
                self.assertEqual(done.stderr.count('\n'), 1, done.stderr)
                self.assertEqual(done.stdout, '')

    def test_taken_port(self):
        """a port that another server has is named in one line on stderr, exit 1"""
        server = self.serve()
        done = self.run_to_end('--port', str(server.port))
        self.assertEqual(done.returncode, 1)
        self.assertIn(str(server.port), done.stderr)
        self.assertEqual(done.stderr.count('\n'), 1, done.stderr)
        self.assertEqual(done.stdout, '')
        self.assert_serves(server)


class Serving(ServerTest):
    def test_announcement(self):
        """the first line names address and port, for IPv4 and IPv6"""
        server = self.serve()
        self.assertEqual(server.announcement, f'listening on 127.0.0.1:{server.port}\n')
        self.assert_serves(server)
        try:
            with socket.socket(socket.AF_INET6) as probe:
                probe.bind(('::1', 0))
        except OSError:
            self.skipTest('no IPv6 here')
        server = self.serve('--address', '::1')
        self.assertEqual(server.announcement, f'listening on [::1]:{server.port}\n')
        self.assert_serves(server)

    def test_log(self):
        """with --verbose, the log says of each connection when it came, from where, what it sent and which loop"""
        server = self.serve()
        client = self.client(server)
        peer = '{}:{}'.format(*client.getsockname())
        client.sendall(b'twelve bytes')
        self.assertEqual(receive(client, 12), b'twelve bytes')
        client.close()
        server.wait_for_log(DOWN, 1)
        lines = [LOG_LINE.fullmatch(line) for line in server.lines()]
        self.assertTrue(all(lines), server.tail())
        self.assertEqual([line['text'] for line in lines],
                         [f'{peer} up on loop 0', f'{peer} down after 12 bytes on loop 0'])

    def test_quiet(self):
        """without --verbose, connections leave no line in the log"""
        server = self.serve(verbose=False)
        self.assert_serves(server)
        reset(self.client(server))
        self.assert_serves(server)
        self.assertEqual(server.lines(), [])

    def test_log_level(self):
        """--log-level is the lowest level that the log has: debug is as --verbose, warn has no line of info"""
        server = self.serve('--log-level', 'DEBUG', verbose=False)
        self.assert_serves(server)
        server.wait_for_log(DOWN, 1)
        server = self.serve('--log-level', 'warn', verbose=False)
        self.assert_serves(server)
        server.end()  # which is a line of info
        self.assertEqual(server.lines(), [])

    def test_bytes(self):
        """10 MiB come back unchanged, with and without threads"""
        data = random.Random(10).randbytes(10 * MIB)
        for threads in ('0', '2'):
            with self.subTest(threads=threads):
                server = self.serve('--threads', threads)
                client = self.client(server)
                sender = threading.Thread(target=client.sendall, args=[data])
                sender.start()
                echoed = receive(client, len(data))
                sender.join()
                self.assertEqual(len(echoed), len(data))
                self.assertTrue(echoed == data, 'the bytes are others')
                client.close()
                down = server.wait_for_log(DOWN, 1)[0]
                self.assertEqual(int(down['bytes']), len(data))

    def test_single_bytes(self):
        """1,000 messages of one byte come back one by one"""
        server = self.serve('--threads', '1')
        client = self.client(server)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number in range(1000):
            byte = bytes([number % 256])
            client.sendall(byte)
            self.assertEqual(client.recv(2), byte)

    def test_round_robin(self):
        """connections go to the loops in turn, and stay there"""
        server = self.serve('--threads', '3')
        clients = [self.client(server) for _ in range(30)]
        for number, client in enumerate(clients):
            client.sendall(b'%04d' % number)
        for number, client in enumerate(clients):
            self.assertEqual(receive(client, 4), b'%04d' % number)
        ups = {m['peer']: int(m['loop']) for m in server.wait_for_log(UP, 30)}
        loops = [ups['{}:{}'.format(*client.getsockname())] for client in clients]
        self.assertEqual(loops, [1, 2, 3] * 10)
        for client in clients:
            client.close()
        downs = {m['peer']: int(m['loop']) for m in server.wait_for_log(DOWN, 30)}
        self.assertEqual(downs, ups)

    def test_each_loop_is_a_thread(self):
        """loops 1 to N are threads of their own: each logs with one thread id, all different"""
        server = self.serve('--threads', '3')
        clients = [self.client(server) for _ in range(9)]
        server.wait_for_log(UP, len(clients))
        threads = {}
        for line in map(LOG_LINE.fullmatch, server.lines()):
            if line and (up := UP.search(line['text'])):
                threads.setdefault(up['loop'], set()).add(line['thread'])
        self.assertEqual(sorted(threads), ['1', '2', '3'])
        self.assertTrue(all(len(ids) == 1 for ids in threads.values()), threads)
        self.assertEqual(len(set.union(*threads.values()) - {str(server.pid)}), 3, threads)


# Becomes the program, with descriptor N as its number 3, as sd_listen_fds(3) has it.
PASS = 'exec 3<&{}; export LISTEN_PID=$$ LISTEN_FDS={} LISTEN_FDNAMES={}; exec "$@"'


class Listening(ServerTest):
    def setUp(self):
        super().setUp()
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = f'{directory.name}/echo.sock'

    def test_bad_listen(self):
        """a bad --listen is named in one line on stderr, exit 1"""
        for bad in ('127.0.0.1:70000', ':8080', '127.0.0.1', '127.0.0.1:-1', 'unix:', 'unix:@',
                    'unix:/' + 'x' * 107, '/run/x.sock', 'localhost:80'):
            with self.subTest(listen=bad):
                done = self.run_to_end('--listen', bad)
                self.assertEqual(done.returncode, 1)
                self.assertIn(bad, done.stderr)
                self.assertEqual(done.stderr.count('\n'), 1, done.stderr)
                self.assertEqual(done.stdout, '')

    def test_ip_address(self):
        """--listen takes host and port"""
        server = self.serve('--listen', '127.0.0.1:0')
        self.assertRegex(server.announcement, r'^listening on 127\.0\.0\.1:[1-9]\d*\n$')
        self.assert_serves(server)

    def test_unix_socket(self):
        """--listen unix:PATH serves there, and removes the file at the end"""
        server = self.serve('--listen', f'unix:{self.path}', '--threads', '2')
        self.assertEqual(server.announcement, f'listening on unix:{self.path}\n')
        self.assert_serves(server)
        data = random.Random(7).randbytes(MIB)
        client = self.client(server)
        sender = threading.Thread(target=client.sendall, args=[data])
        sender.start()
        self.assertTrue(receive(client, len(data)) == data, 'the bytes are others')
        sender.join()
        client.close()
        done = self.run_to_end('--listen', f'unix:{self.path}')
        self.assertEqual((done.returncode, done.stderr),
                         (1, f'echo: bind unix:{self.path}: Address already in use\n'))
        server.process.terminate()
        self.assertEqual(server.process.wait(server_process.PATIENCE), 0)
        self.assertEqual(os.listdir(os.path.dirname(self.path)), [])

    def test_abstract_name(self):
        """--listen unix:@NAME serves there"""
        server = self.serve('--listen', f'unix:@rung-echo-{os.getpid()}')
        self.assert_serves(server)

    def test_killed(self):
        """a socket file that a killed server has left is replaced"""
        first = self.serve('--listen', f'unix:{self.path}')
        first.process.kill()
        first.process.wait()
        self.assertTrue(os.path.exists(self.path))
        self.assert_serves(self.serve('--listen', f'unix:{self.path}'))

    def pass_socket(self, listener, *arguments, count=1, names='echo'):
        script = PASS.format(listener.fileno(), count, names)
        return self.serve(*arguments, prefix=('sh', '-c', script, 'sh'),
                          pass_fds=[listener.fileno()])

    def test_passed_socket(self):
        """the socket of LISTEN_FDS is served, by one server and then by its successor"""
        with socket.create_server(('127.0.0.1', 0)) as listener:
            first = self.pass_socket(listener)
            self.assertEqual(first.port, listener.getsockname()[1])
            self.assert_serves(first)
            first.process.terminate()
            self.assertEqual(first.process.wait(server_process.PATIENCE), 0)
            # Nobody serves now; the client waits until the next one does.
            with socket.create_connection(listener.getsockname()) as client:
                client.sendall(b'early')
                self.assert_serves(self.pass_socket(listener, '--threads', '1'))
                self.assertEqual(receive(client, 5), b'early')

    def test_bad_passed_socket(self):
        """what is wrong with the socket of LISTEN_FDS is named in one line, exit 1"""
        with socket.socket() as idle:
            for count, names, arguments, why in (
                    (1, 'echo', (), 'descriptor 3 does not listen'),
                    (1, 'a:b', (), "LISTEN_FDNAMES is 'a:b'"),
                    ('x', 'echo', (), "LISTEN_FDS is 'x'"),
                    (1, 'echo', ('--listen', 'unix:@x'), '--listen unix:@x beside')):
                done = subprocess.run(
                    ['sh', '-c', PASS.format(idle.fileno(), count, names), 'sh', self.program,
                     *arguments], capture_output=True, text=True, timeout=server_process.PATIENCE,
                    pass_fds=[idle.fileno()])
                self.assertEqual(done.returncode, 1)
                self.assertIn(why, done.stderr)
                self.assertEqual(done.stderr.count('\n'), 1, done.stderr)

    def test_systemd(self):
        """systemd-socket-activate starts it at the first connection, which is served"""
        activate = shutil.which('systemd-socket-activate')
        if not activate:
            self.skipTest('no systemd-socket-activate here')
        clients = []

        def connect():
            wait_until(lambda: os.path.exists(self.path), 'systemd-socket-activate listens')
            client = socket.socket(socket.AF_UNIX)
            self.addCleanup(client.close)
            client.settimeout(server_process.PATIENCE)
            wait_until(lambda: client.connect_ex(self.path) == 0, 'a connection')
            clients.append(client)
        server = self.serve(prefix=(activate, '-l', self.path), before=connect)
        self.assertEqual(server.announcement, f'listening on unix:{self.path}\n')
        clients[0].sendall(b'the first')
        self.assertEqual(receive(clients[0], 9), b'the first')
        clients[0].close()
        self.assert_serves(server)

    def test_curl(self):
        """curl --unix-socket reaches it, and gets its own request back"""
        curl = shutil.which('curl')
        if not curl:
            self.skipTest('no curl here')
        self.serve('--listen', f'unix:{self.path}')
        with subprocess.Popen(
                [curl, '--silent', '--no-buffer', '--http0.9', '--unix-socket', self.path,
                 '--max-time', str(server_process.PATIENCE), 'http://localhost/hello'],
                stdout=subprocess.PIPE, text=True) as client:
            self.assertEqual(client.stdout.readline(), 'GET /hello HTTP/1.1\n')
            client.terminate()


class HalfClose(ServerTest):
    SIZE = 100 * MIB

    def send(self, client, result):
        """Sends SIZE bytes and half-closes. Puts the digest, or what went wrong, into `result`."""
        source, digest = random.Random(100), hashlib.sha256()
        try:
            for _ in range(self.SIZE // MIB):
                block = source.randbytes(MIB)
                digest.update(block)
                client.sendall(block)
            client.shutdown(socket.SHUT_WR)
            result.append(digest.hexdigest())
        except OSError as error:
            result.append(repr(error))

    def check_all_comes_back(self, client, sender, result):
        digest, count = hashlib.sha256(), 0
        while piece := client.recv(1 << 18):
            digest.update(piece)
            count += len(piece)
        sender.join()
        self.assertEqual(count, self.SIZE)
        self.assertEqual([digest.hexdigest()], result)

    def test_late_reader(self):
        """100 MiB come back to a client that sends all, half-closes, and reads late"""
        server = self.serve('--threads', '1')
        client, result = self.client(server), []
        sender = threading.Thread(target=self.send, args=[client, result])
        sender.start()
        time.sleep(0.5 * SLOW)  # the story: the reader comes late, when all buffers are full
        self.check_all_comes_back(client, sender, result)
        server.wait_for_log(DOWN, 1)

    def test_end_before_output(self):
        """100 MiB come back although the server met the end of input before it could send them

        A server that takes the end of input for the end of the connection throws away what it has
        not sent yet.
        """
        server = self.serve('--threads', '1', '--high-water', str(2 * self.SIZE))
        client, result = self.client(server, receive_buffer=64 * KIB), []
        sender = threading.Thread(target=self.send, args=[client, result])
        sender.start()
        sender.join()  # nothing is read meanwhile: the server holds it all
        wait_until(lambda: server.unread() == 0, 'the server has read what was sent')
        time.sleep(0.5 * SLOW)  # the story: it has also met the end of input
        self.check_all_comes_back(client, sender, result)
        server.wait_for_log(DOWN, 1)

    def test_small(self):
        """what came together with the end of input is echoed before the connection closes"""
        server = self.serve()
        for size in (0, 1, 100, 5000):
            with self.subTest(size=size):
                client = self.client(server)
                client.sendall(b'x' * size)
                client.shutdown(socket.SHUT_WR)
                self.assertEqual(receive_all(client), b'x' * size)


class BackPressure(ServerTest):
    def check(self, *arguments):
        server = self.serve('--threads', '1', *arguments)
        self.assert_serves(server)
        before = server.resident()
        client = self.client(server)
        sent = fill(client, 300 * MIB)
        self.assertLess(sent, 300 * MIB, 'the server reads on from a client that reads nothing')
        if not SANITIZED:
            self.assertLess(server.resident() - before, 30 * MIB)
        self.assert_serves(server)  # on the same loop
        self.check_rests(server)
        # It goes on as the client reads: first to the end of what is there, then with more.
        self.assertEqual(len(receive(client, sent)), sent)
        client.sendall(b'and on')
        self.assertEqual(receive(client, 6), b'and on')
        client.shutdown(socket.SHUT_WR)
        self.assertEqual(receive_all(client), b'')
        self.assert_quiet(server, 3)

    def test_default_mark(self):
        """a client that never reads is paused: memory is bounded, others are served, it resumes"""
        self.check()

    def test_small_mark(self):
        """--high-water 4096 does the same with little memory"""
        self.check('--high-water', '4096')

    def test_many(self):
        """20 clients that never read hold no more memory than their marks allow"""
        server = self.serve('--high-water', str(256 * KIB))
        self.assert_serves(server)
        before = server.resident()
        clients = [self.client(server) for _ in range(20)]
        for client in clients:
            client.setblocking(False)
        block, sent, last = bytes(64 * KIB), 0, time.monotonic()
        while time.monotonic() - last < 0.5 * SLOW:
            for client in clients:
                try:
                    sent += client.send(block)
                    last = time.monotonic()
                except BlockingIOError:
                    pass
            self.assertLess(sent, 1000 * MIB, 'the server reads on from clients that read nothing')
            time.sleep(0.001)
        if not SANITIZED:
            self.assertLess(server.resident() - before, 30 * MIB)
        self.assert_serves(server)
        for client in clients:
            reset(client)
        server.wait_for_log(DOWN, 22)
        self.assert_quiet(server, 22)


if __name__ == '__main__':
    server_process.main('echo')
