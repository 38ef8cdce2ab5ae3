#!/usr/bin/env python3
"""The echo server among clients that reset, hang and flood, without descriptors, and at its end:
echo_faults_test.py PATH_OF_ECHO [ARGUMENT...]
"""

import fcntl
import pathlib
import random
import selectors
import signal
import socket
import struct
import sys
import termios
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'support'))
from server_process import (  # noqa: E402
    DOWN, KIB, MIB, PATIENCE, SANITIZED, SLOW, UP, ServerTest, receive, receive_all, reset,
    wait_until)
import server_process  # noqa: E402


def unsent(client):
    """Bytes that the peer's kernel has not taken yet."""
    return struct.unpack('i', fcntl.ioctl(client, termios.TIOCOUTQ, bytes(4)))[0]


class Resets(ServerTest):
    EACH = 1000

    @staticmethod
    def at_once(server):
        reset(server.connect())

    @staticmethod
    def after_bytes(server):
        client = server.connect()
        client.sendall(b'x' * 100)
        reset(client)

    @staticmethod
    def after_echo(server):
        client = server.connect()
        client.sendall(b'x' * 100)
        client.recv(1)  # 99 bytes, or none, are left unread
        reset(client)

    @staticmethod
    def after_half_close(server):
        client = server.connect()
        client.sendall(b'x' * 100)
        client.shutdown(socket.SHUT_WR)
        reset(client)

    @staticmethod
    def with_output_pending(server):
        client = server.connect(receive_buffer=4096)
        client.setblocking(False)
        try:
            for _ in range(4):
                client.send(bytes(64 * KIB))
        except BlockingIOError:
            pass
        reset(client)

    def test_resets(self):
        """5,000 connections that reset, in five ways: no growth, no leak, no flood of log lines"""
        self.needs_descriptors(400)
        ways = [self.at_once, self.after_bytes, self.after_echo, self.after_half_close,
                self.with_output_pending]
        server = self.serve('--threads', '2')
        idle = server.descriptors()
        for number in range(200):  # memory that is used once and again is no growth
            ways[number % len(ways)](server)
        server.wait_for_log(DOWN, 200)
        before = server.resident()
        for way in ways:
            for _ in range(self.EACH):
                way(server)
        total = 200 + self.EACH * len(ways)
        server.wait_for_log(DOWN, total)
        self.assertEqual(len(server.matches(UP)), total)
        wait_until(lambda: server.descriptors() == idle, 'all descriptors are given back')
        if not SANITIZED:
            self.assertLess(server.resident() - before, 8 * MIB)
        self.assert_quiet(server, total)
        self.assert_serves(server)

    def test_in_the_queue(self):
        """connections that die in the accept queue, 200 at a time, do no harm"""
        self.needs_descriptors(400)
        server = self.serve('--threads', '2')
        idle = server.descriptors()
        for _ in range(5):
            # Stopped, the server cannot accept: each of these is dead before it is looked at.
            server.signal(signal.SIGSTOP)
            try:
                clients = [server.connect() for _ in range(200)]
                for client in clients:
                    reset(client)
            finally:
                server.signal(signal.SIGCONT)
            self.assert_serves(server)
        wait_until(lambda: server.descriptors() == idle, 'all descriptors are given back')
        self.assert_quiet(server, 1005)


class Descriptors(ServerTest):
    def test_too_few(self):
        """64 descriptors and 120 clients: no spinning, and new clients are served once some leave

        A listener that is readable and cannot be accepted from wakes the loop again and again.
        """
        server = self.serve('--threads', '2', descriptors=64)
        idle = server.descriptors()
        clients = [self.client(server) for _ in range(120)]
        served, refused = [], []
        with selectors.DefaultSelector() as selector:
            for client in clients:
                try:
                    client.sendall(b'ping')
                    selector.register(client, selectors.EVENT_READ)
                except OSError:
                    refused.append(client)
            quiet = time.monotonic()
            while time.monotonic() - quiet < 1 * SLOW:
                for key, _ in selector.select(0.1):
                    selector.unregister(key.fileobj)
                    quiet = time.monotonic()
                    try:
                        answer = receive(key.fileobj, 4)
                    except ConnectionResetError:
                        answer = b''
                    (served if answer == b'ping' else refused).append(key.fileobj)
        self.assertGreaterEqual(len(served), 30)
        self.assertLess(len(served), 64)

        self.check_rests(server)

        for client in served:
            client.sendall(b'pong')
            self.assertEqual(receive(client, 4), b'pong')
        self.assertLessEqual(len(server.lines()), 2 * 120 + 20, server.tail())

        for client in clients:
            client.close()
        wait_until(lambda: server.descriptors() == idle, 'the descriptors are free again')
        fresh = [self.client(server) for _ in range(30)]
        for client in fresh:
            client.sendall(b'anew')
            self.assertEqual(receive(client, 4), b'anew')
        for client in fresh:
            client.close()
        wait_until(lambda: server.descriptors() == idle, 'all descriptors are given back')


class Urgent(ServerTest):
    def test_out_of_band(self):
        """2,000 out-of-band bytes among normal ones: nothing is logged, normal bytes come back

        Each of them makes the socket "readable" with nothing to read. A server that logs the EAGAIN
        can be flooded by its peer.
        """
        server = self.serve('--threads', '1')
        client = self.client(server)
        echoed = bytearray()

        def read():
            try:
                while piece := client.recv(1 << 16):
                    echoed.extend(piece)
            except OSError as error:
                echoed.extend(repr(error).encode())
        reader = threading.Thread(target=read)
        reader.start()
        normal = bytearray()
        for number in range(2000):
            piece = b'(%04d)' % number
            client.sendall(piece)
            client.send(b'!', socket.MSG_OOB)
            normal += piece
        client.shutdown(socket.SHUT_WR)
        reader.join(PATIENCE)
        self.assertFalse(reader.is_alive())
        # The kernel makes an urgent byte a normal one when the next arrives before it was read.
        self.assertEqual(bytes(echoed).replace(b'!', b''), bytes(normal))
        server.wait_for_log(DOWN, 1)
        self.assert_quiet(server, 1)
        self.assertEqual(len(server.lines()), 2, server.tail())
        self.assert_serves(server)


class Ending(ServerTest):
    def test_idle(self):
        """SIGTERM and SIGINT end a server without connections at once, exit 0"""
        for number in (signal.SIGTERM, signal.SIGINT):
            for threads in ('0', '2'):
                with self.subTest(signal=number, threads=threads):
                    server = self.serve('--threads', threads)
                    self.assert_serves(server)
                    server.wait_for_log(DOWN, 1)
                    server.signal(number)
                    self.assertEqual(server.wait(4), 0, server.tail())

    def test_drains(self):
        """SIGTERM with 50 connections that have not read their echo: each gets all of it, exit 0"""
        server = self.serve('--threads', '2', '--high-water', str(16 * MIB))
        # Five are owed more than the kernel's buffers hold; the server itself has to keep it.
        sizes = [8 * MIB] * 5 + [600 * KIB] * 45
        clients = [self.client(server, receive_buffer=8 * KIB) for _ in sizes]
        blocks = [random.Random(number).randbytes(size) for number, size in enumerate(sizes)]
        for client, block in zip(clients, blocks):
            client.sendall(block)
        # What is still on its way when the server stops is no longer its business.
        wait_until(lambda: all(unsent(client) == 0 for client in clients) and server.unread() == 0,
                   'the server has read what was sent')
        server.signal(signal.SIGTERM)

        def refused():
            try:
                server.connect().close()
                return False
            except OSError:
                return True
        wait_until(refused, 'no new connections')
        self.assertIsNone(server.process.poll(), 'the server did not wait for its clients')
        echoed = [None] * len(clients)

        def read(number):
            try:
                echoed[number] = receive_all(clients[number])
            except OSError as error:
                echoed[number] = repr(error).encode()
            clients[number].close()
        readers = [threading.Thread(target=read, args=[number]) for number in range(50)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        for block, answer in zip(blocks, echoed):
            self.assertEqual(len(answer), len(block), answer[:100])
            self.assertTrue(answer == block, 'the bytes are others')
        self.assertEqual(server.wait(6 + 2 * SLOW), 0, server.tail())

    def test_deadline(self):
        """SIGTERM with 50 connections that never read and never close: exit 0 after some seconds"""
        server = self.serve('--threads', '2')
        clients = [self.client(server) for _ in range(50)]
        for client in clients[:25]:
            client.setblocking(False)
            try:
                for _ in range(64):
                    client.send(bytes(64 * KIB))
            except BlockingIOError:
                pass
        for client in clients[25:]:
            client.sendall(b'a few bytes')
        server.wait_for_log(UP, 50)
        server.signal(signal.SIGTERM)
        self.assertEqual(server.wait(6 + 2 * SLOW), 0, server.tail())

    def test_asked_twice(self):
        """a second SIGTERM ends the server at once, whatever its connections are owed"""
        server = self.serve('--threads', '2')
        client = self.client(server)
        client.sendall(b'x' * 100)
        server.wait_for_log(UP, 1)
        server.signal(signal.SIGTERM)
        time.sleep(0.2 * SLOW)  # the story: two signals, not one that is pending twice
        self.assertIsNone(server.process.poll())
        server.signal(signal.SIGTERM)
        self.assertEqual(server.wait(3), 0, server.tail())

    def test_restart(self):
        """kill -9 in the middle of a transfer, and a new server on the same port at once"""
        first = self.serve('--threads', '2')
        clients = [self.client(first) for _ in range(20)]
        for client in clients:
            client.setblocking(False)
            try:
                for _ in range(8):
                    client.send(bytes(64 * KIB))
            except BlockingIOError:
                pass
        first.wait_for_log(UP, 20)
        first.kill()
        second = self.serve('--threads', '2', '--port', str(first.port))
        self.assertEqual(second.port, first.port)
        self.assert_serves(second)


if __name__ == '__main__':
    server_process.main('echo faults')
