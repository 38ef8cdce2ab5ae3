#!/usr/bin/env python3
"""Kicking idle connections: idle_test.py PATH_OF_IDLE [ARGUMENT...]"""

import re
import socket
import time

from example import CommandLine, ExampleTest, figure, flood, trickle
from server_process import KIB, MIB, SLOW, receive, receive_all, reset, wait_until
import server_process

TIMEOUT = 1 * SLOW  # of a server whose clients must not be kicked by mistake
KICKED = re.compile(r'(?P<peer>\S+:\d+) kicked after (?P<seconds>[0-9.]+) s of silence')


class IdleTest(ExampleTest):
    def serve(self, *arguments, timeout=60, **options):
        return super().serve('--timeout', f'{timeout:g}', *arguments, **options)

    def said(self, server, client, text):
        """Waits until the log has that about the client."""
        peer = '{}:{}'.format(*client.getsockname())
        server.wait_for_log(re.compile(re.escape(peer) + ' ' + text), 1)


class Arguments(CommandLine, IdleTest):
    options = ('--timeout',)
    refused = tuple(['--timeout', bad] for bad in
                    ('0', '-1', '1e9', 'inf', 'nan', 'soon', '1s', '', '0.0001'))


class Kicking(IdleTest):
    def test_silent(self):
        """a client that is silent is kicked, not too early, and the log says so"""
        server = self.serve(timeout=TIMEOUT / 2)
        begin = time.monotonic()
        client = self.client(server)
        self.said(server, client, 'up')
        self.assertEqual(client.recv(1), b'')
        silence = time.monotonic() - begin
        self.assertGreaterEqual(silence, 0.45 * TIMEOUT)
        figure(f'with --timeout {TIMEOUT / 2:g}, a silent client was kicked after {silence:.2f} s')
        self.said(server, client, 'kicked')
        self.assertGreaterEqual(float(server.matches(KICKED)[0]['seconds']), 0.45 * TIMEOUT)

    def test_active(self):
        """a client that speaks now and then stays, and is kicked when it has stopped"""
        server = self.serve(timeout=TIMEOUT)
        client = self.client(server)
        for _ in range(6):
            time.sleep(TIMEOUT * 0.4)  # the story: it is silent, but not for too long
            client.sendall(b'here')
            self.assertEqual(receive(client, 4), b'here')
        self.said(server, client, r'active after [0-9.]+ s of silence')
        self.assertEqual(server.matches(KICKED), [])
        self.assertEqual(client.recv(1), b'')
        self.said(server, client, 'kicked')

    def test_ends(self):
        """the log tells who left, who was lost, and who was sent away at the end"""
        server = self.serve()
        left, lost, stays = (self.client(server) for _ in range(3))
        for client in (left, lost, stays):
            client.sendall(b'hello')
            self.assertEqual(receive(client, 5), b'hello')
        names = [client.getsockname() for client in (left, lost, stays)]
        left.close()
        reset(lost)
        for name, text in zip(names, ['left after', 'lost: Connection reset by peer']):
            server.wait_for_log(re.compile(f'{name[0]}:{name[1]} {text}'), 1)
        server.signal(15)
        self.assertEqual(stays.recv(1), b'')
        self.said(server, stays, 'up')
        stays.close()
        self.assertEqual(server.wait(), 0)
        self.assertEqual(len(server.matches(re.compile('sent away after .*, the server ends'))), 1)
        self.assertEqual(server.matches(KICKED), [])


class Hostile(IdleTest):
    def test_many(self):
        """300 silent clients are all kicked, one that speaks is not"""
        self.needs_descriptors(400)
        server = self.serve('--threads', '2', timeout=TIMEOUT)
        idle = server.descriptors()
        silent = [self.client(server) for _ in range(300)]
        speaks = self.client(server)
        deadline = time.monotonic() + 30 * SLOW
        while len(server.matches(KICKED)) < len(silent):
            self.assertLess(time.monotonic(), deadline)
            speaks.sendall(b'.')
            self.assertEqual(speaks.recv(1), b'.')
            time.sleep(0.05 * SLOW)
        kicked = [match['peer'] for match in server.matches(KICKED)]
        wanted = ['{}:{}'.format(*client.getsockname()) for client in silent]
        self.assertEqual(sorted(kicked), sorted(wanted))
        wait_until(lambda: server.descriptors() == idle + 1, 'their descriptors are given back')

    def test_never_reads(self):
        """a client that floods and never reads is held back, and kicked: nothing goes to it"""
        server = self.serve(timeout=TIMEOUT)
        self.assert_serves(server)
        before = server.resident()
        client = self.client(server, receive_buffer=8 * KIB)
        sent = flood(client, bytes(64 * KIB), 300 * MIB)
        self.assertLess(sent, 300 * MIB)
        self.check_memory(server, before, 16, f'a flood of {sent // KIB} KiB that is not read')
        self.said(server, client, '(kicked|lost)')
        self.assert_serves(server)

    def test_chatter(self):
        """20,000 messages of one byte keep a client, and leave no line each in the log"""
        server = self.serve(timeout=TIMEOUT)
        client = self.client(server)
        trickle(client, b'x' * 20_000)
        self.assertEqual(len(receive(client, 20_000)), 20_000)
        figure(f'20,000 one-byte segments: {len(server.lines())} lines in the log')
        self.assertLess(len(server.lines()), 1000)

    def test_half_close(self):
        """a half-close at once ends the connection, with what is owed sent first"""
        server = self.serve()
        client = self.client(server)
        client.sendall(b'last words')
        client.shutdown(socket.SHUT_WR)
        self.assertEqual(receive_all(client), b'last words')
        self.said(server, client, 'left')

    def test_resets(self):
        """resets, silent or in the middle of an echo, leave nothing behind"""
        server = self.serve('--threads', '2')
        self.check_resets(server, server.descriptors(),
                          [lambda client: None, lambda client: client.sendall(b'x' * 1000)])


if __name__ == '__main__':
    server_process.main('idle')
