"""What the tests of the examples share: the command line that all have, and hostile clients."""

import pathlib
import signal
import socket
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'support'))
from server_process import (  # noqa: E402
    MIB, PATIENCE, SANITIZED, SLOW, ServerTest, reset, wait_until)


def figure(text):
    """A measured figure, as a comment in the output of the test."""
    print(f'# {text}', flush=True)


def flood(client, block, limit):
    """Sends `block` over and over without reading, until nothing has gone out for a while, the
    server ends the connection, or it has had the time to. The number of bytes sent."""
    sent, begin = 0, time.monotonic()
    last = begin
    client.setblocking(False)
    try:
        while (sent < limit and time.monotonic() - last < 0.5 * SLOW
               and time.monotonic() - begin < 2 * PATIENCE):
            try:
                sent += client.send(block[sent % len(block):])
                last = time.monotonic()
            except BlockingIOError:
                time.sleep(0.01)
    except (BrokenPipeError, ConnectionResetError):
        pass
    client.settimeout(PATIENCE)
    return sent


def trickle(client, data):
    """Sends one byte a segment."""
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in data:
        client.sendall(bytes([byte]))


def sending(client, data):
    """Sends on a thread of its own, whatever the server does; join() it."""
    def send():
        try:
            client.sendall(data)
        except OSError:
            pass  # the server has ended the connection, as the test will see
    thread = threading.Thread(target=send)
    thread.start()
    return thread


class ExampleTest(ServerTest):
    def check_memory(self, server, before, mebibytes, what):
        """The server has not grown by more than that since it had `before`."""
        grown = server.resident() - before
        figure(f'{what}: {grown / MIB:.1f} MiB more')
        if not SANITIZED:
            self.assertLess(grown, mebibytes * MIB)

    def check_flood(self, server, block, what):
        """A client that sends what can never be a message, and never stops, is cut in the end; no
        memory stays behind, and others are served."""
        idle = server.descriptors()
        self.assert_serves(server)
        before = server.resident()
        client = self.client(server)
        begin = time.monotonic()
        sent = flood(client, block, 1 << 50)
        figure(f'{what}: cut after {time.monotonic() - begin:.1f} s and {sent // MIB} MiB')
        wait_until(lambda: server.descriptors() == idle, 'it is cut')
        self.check_memory(server, before, 8, what)
        self.assert_serves(server)

    def check_resets(self, server, descriptors, ways, each=100):
        """Clients that reset in many ways leave nothing behind."""
        self.needs_descriptors(400)
        for way in ways:
            for _ in range(each):
                client = server.connect()
                way(client)
                reset(client)
        wait_until(lambda: server.descriptors() == descriptors, 'all descriptors are given back')
        self.assert_serves(server)
        wrong = [line for line in server.lines() if ' ERROR ' in line or ' FATAL ' in line]
        self.assertEqual(wrong, [])


class CommandLine:
    """Mixed into an ExampleTest: what every server among the examples does with its arguments."""

    options = ()  # those of this program alone
    threads = ('0', '2')  # for --threads; none, if it has no such option
    refused = ()  # lists of arguments, and what the message must name

    def test_help(self):
        """--help prints the usage on stdout and exits 0"""
        done = self.run_to_end('--help')
        self.assertEqual((done.returncode, done.stderr), (0, ''))
        self.assertIn('usage', done.stdout)
        for option in ('--address', '--port', '--help', *self.options):
            self.assertIn(f'  {option} ', done.stdout)
        self.assertEqual('  --threads ' in done.stdout, bool(self.threads))

    def test_bad_arguments(self):
        """a bad argument is named on stderr, with the usage, exit 2"""
        threads = [['--threads', number] for number in ('two', '-1', '257') if self.threads]
        for bad in (['--colour'], ['extra'], ['--port'], ['--port', 'http'], ['--port', ''],
                    ['--port', '65536'], ['--port', '-1'], ['--port', '1.5'], *threads,
                    *([option] for option in self.options), *self.refused):
            with self.subTest(arguments=bad):
                done = self.run_to_end(*bad)
                self.assertEqual((done.returncode, done.stdout), (2, ''))
                first, usage = done.stderr.split('\n', 1)
                self.assertIn(bad[0].lstrip('-'), first)
                if len(bad) > 1:
                    self.assertIn(bad[1], first)
                self.assertIn('usage', usage)

    def test_bad_address(self):
        """a bad address is named in one line on stderr, exit 1"""
        done = self.run_to_end('--address', '1.2.3')
        self.assertEqual((done.returncode, done.stdout, done.stderr.count('\n')), (1, '', 1))
        self.assertIn('1.2.3', done.stderr)

    def test_taken_port(self):
        """a port that another server has is named in one line on stderr, exit 1"""
        server = self.serve()
        done = self.run_to_end('--port', str(server.port))
        self.assertEqual((done.returncode, done.stdout, done.stderr.count('\n')), (1, '', 1))
        self.assertIn(str(server.port), done.stderr)
        self.assert_serves(server)

    def test_signals(self):
        """SIGTERM and SIGINT end it with exit status 0, with and without threads"""
        for number in (signal.SIGTERM, signal.SIGINT):
            for threads in [('--threads', count) for count in self.threads] or [()]:
                with self.subTest(signal=number, threads=threads):
                    server = self.serve(*threads)
                    self.assert_serves(server)
                    client = self.client(server)
                    server.signal(number)
                    self.assertEqual(client.recv(1), b'')
                    client.close()
                    self.assertEqual(server.wait(8 * SLOW), 0, server.tail())
