#!/usr/bin/env python3
"""The relay between clients and targets of both kinds: relay_test.py PATH_OF_RELAY [ARGUMENT...]"""

import hashlib
import pathlib
import random
import re
import signal
import socket
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'support'))
from server_process import (  # noqa: E402
    KIB, MIB, PATIENCE, SANITIZED, SLOW, ServerTest, fill, receive, receive_all, reset, wait_until)
import server_process  # noqa: E402

REFUSED = re.compile(r'closed: connect to \S+: (?P<why>.*) - ')


class RelayTest(ServerTest):
    def setUp(self):
        """A target for the relay: the test accepts and plays its part."""
        self.target = self.listen()

    def listen(self, backlog=128):
        target = socket.socket()
        self.addCleanup(target.close)
        target.settimeout(PATIENCE)
        target.bind(('127.0.0.1', 0))
        target.listen(backlog)
        return target

    def serve(self, *arguments, target=None, **options):
        to = '{}:{}'.format(*(target or self.target).getsockname())
        return super().serve('--to', to, *arguments, **options)

    def pair(self, server, **options):
        """A client, and what the target sees of it."""
        client = self.client(server, **options)
        peer, _ = self.target.accept()
        self.addCleanup(peer.close)
        peer.settimeout(PATIENCE)
        return client, peer

    def assert_serves(self, server):
        client, peer = self.pair(server)
        for one, other in ((client, peer), (peer, client)):
            one.sendall(b'still there?')
            self.assertEqual(receive(other, 12), b'still there?')
        client.close()
        self.assertEqual(receive_all(peer), b'')
        peer.close()

    def assert_gone(self, connection):
        """Closed or reset, and no byte."""
        try:
            self.assertEqual(connection.recv(1), b'')
        except ConnectionResetError:
            pass


class CommandLine(RelayTest):
    def test_help(self):
        """--help names the options on stdout, exit 0"""
        done = self.run_to_end('--help')
        self.assertEqual((done.returncode, done.stderr), (0, ''))
        for option in ('--to', '--high-water', '--connect-seconds', '--idle-seconds', '--threads'):
            self.assertIn(option, done.stdout)

    def test_bad_arguments(self):
        """bad arguments are named on stderr, exit 2: also a target that is none, or is missing"""
        for bad in (['--to'], ['--to', 'nowhere'], ['--to', '127.0.0.1'], ['--to', '127.0.0.1:0'],
                    ['--to', '1.2.3:80'], ['--to', '127.0.0.1:65536'],
                    ['--to', '127.0.0.1:1', '--connect-seconds', '0'],
                    ['--to', '127.0.0.1:1', '--high-water', 'x']):
            with self.subTest(arguments=bad):
                done = self.run_to_end(*bad)
                self.assertEqual((done.returncode, done.stdout), (2, ''))
                self.assertIn(bad[-1].lstrip('-').rpartition(':')[0] or bad[-1], done.stderr)
        self.assertIn('--to is missing', self.run_to_end().stderr)

    def test_taken_port(self):
        """a port that another server has is named in one line on stderr, exit 1"""
        server = self.serve()
        done = self.run_to_end('--port', str(server.port), '--to', '127.0.0.1:1')
        self.assertEqual((done.returncode, done.stdout), (1, ''))
        self.assertIn(str(server.port), done.stderr)
        self.assertEqual(done.stderr.count('\n'), 1, done.stderr)


class Passing(RelayTest):
    def test_both_ways(self):
        """20 MiB each way at the same time arrive unchanged, with and without threads"""
        data = [random.Random(number).randbytes(20 * MIB) for number in range(2)]
        for threads in ('0', '2'):
            with self.subTest(threads=threads):
                server = self.serve('--threads', threads)
                ends = self.pair(server)
                senders = [threading.Thread(target=end.sendall, args=[block])
                           for end, block in zip(ends, data)]
                got = [None, None]

                def read(number):
                    got[number] = receive(ends[number], 20 * MIB)
                reader = threading.Thread(target=read, args=[0])
                for thread in (*senders, reader):
                    thread.start()
                read(1)
                for thread in (*senders, reader):
                    thread.join()
                self.assertTrue(got == [data[1], data[0]], 'the bytes are others')
                for end in ends:
                    end.close()

    def test_single_bytes(self):
        """300 bytes go there and back one by one"""
        server = self.serve('--threads', '1')
        client, peer = self.pair(server)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number in range(300):
            byte = bytes([number % 256])
            client.sendall(byte)
            self.assertEqual(peer.recv(2), byte)
            peer.sendall(byte)
            self.assertEqual(client.recv(2), byte)

    def test_half_close(self):
        """who ends first still gets all that the other says, in both directions"""
        server = self.serve()
        for swap in (False, True):
            with self.subTest(swap=swap):
                first, second = reversed(self.pair(server)) if swap else self.pair(server)
                first.sendall(b'question')
                first.shutdown(socket.SHUT_WR)
                self.assertEqual(receive_all(second), b'question')
                second.sendall(b'x' * MIB)
                second.shutdown(socket.SHUT_WR)
                self.assertEqual(receive_all(first), b'x' * MIB)

    def test_half_close_at_once(self):
        """a client that half-closes before there is an onward connection gets its answer"""
        server = self.serve()
        client = self.client(server)
        client.shutdown(socket.SHUT_WR)
        peer, _ = self.target.accept()
        with peer:
            peer.settimeout(PATIENCE)
            self.assertEqual(receive_all(peer), b'')
            peer.sendall(b'answer')
        self.assertEqual(receive_all(client), b'answer')

    def test_late_reader(self):
        """a target that sends 30 MiB and closes is gone before the client has read a byte of the last

        What waits in the relay then is the client's.
        """
        server = self.serve('--high-water', str(64 * MIB))
        client, peer = self.pair(server, receive_buffer=16 * KIB)
        data = random.Random(3).randbytes(30 * MIB)
        peer.sendall(data)
        peer.shutdown(socket.SHUT_WR)
        client.shutdown(socket.SHUT_WR)
        self.assertEqual(receive_all(peer), b'')
        peer.close()
        self.assertTrue(receive_all(client) == data, 'the bytes are others')


class Onward(RelayTest):
    def test_refused(self):
        """a target that refuses: the client is closed, with one line in the log"""
        dead = self.listen()
        server = self.serve(target=dead)
        dead.close()
        for number in range(1, 4):
            self.assert_gone(self.client(server))
            self.assertEqual(len(server.wait_for_log(REFUSED, number)), number)
        self.assertEqual(server.matches(REFUSED)[0]['why'], 'Connection refused')

    def full(self):
        """A target whose queue is full: the kernel drops what comes, as a dead host would."""
        full = self.listen(0)
        for _ in range(4):
            filler = socket.socket()
            self.addCleanup(filler.close)
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        return full

    def test_timeout(self):
        """a target that does not answer: the client is closed after --connect-seconds"""
        server = self.serve('--connect-seconds', '1', target=self.full())
        client = self.client(server)
        client.sendall(b'not read meanwhile')
        self.assert_gone(client)
        self.assertEqual(server.wait_for_log(REFUSED, 1)[0]['why'], 'Connection timed out')

    def test_client_gone_first(self):
        """clients that reset while the connection to the target is under way leave nothing behind"""
        server = self.serve('--connect-seconds', '1', target=self.full())
        idle = server.descriptors()
        clients = [self.client(server) for _ in range(10)]
        wait_until(lambda: server.descriptors() == idle + 20, 'the relay connects')
        for client in clients:
            reset(client)
        wait_until(lambda: server.descriptors() == idle, 'all descriptors are given back')

    def test_no_descriptors(self):
        """without descriptors for the onward connection, clients are closed, and served again later"""
        server = self.serve(descriptors=32)
        clients = [self.client(server) for _ in range(60)]
        server.wait_for_log(REFUSED, 1)
        self.assertIn('Too many open files', server.matches(REFUSED)[0]['why'])
        for client in clients:
            client.close()
        self.target.close()  # and with it what waits to be accepted
        wait_until(lambda: server.descriptors() < 16, 'descriptors are given back')


class Gone(RelayTest):
    def test_reset_on_either_side(self):
        """a reset in the middle of a stream, on either side, ends the other within its time"""
        server = self.serve('--threads', '2')
        idle = server.descriptors()
        for swap in (False, True):
            for _ in range(50):
                one, other = reversed(self.pair(server)) if swap else self.pair(server)
                one.sendall(b'x' * 1000)
                other.sendall(b'y' * 1000)
                receive(other, 1000)
                reset(one)
                try:
                    receive_all(other)
                except ConnectionResetError:
                    pass
                other.close()
        wait_until(lambda: server.descriptors() == idle, 'all descriptors are given back')
        self.assert_quiet(server, 100)
        self.assert_serves(server)

    def test_reset_while_stuck(self):
        """a reset of the side that never read sets the stuck sender free"""
        server = self.serve()
        for swap in (False, True):
            with self.subTest(swap=swap):
                sender, stuck = reversed(self.pair(server)) if swap else self.pair(server)
                fill(sender, 200 * MIB)
                reset(stuck)
                with self.assertRaises(OSError):
                    while True:
                        sender.sendall(bytes(MIB))
        self.assert_serves(server)

    def test_idle(self):
        """--idle-seconds closes a client that stopped in the middle, and its onward connection"""
        server = self.serve('--idle-seconds', '1')
        client, peer = self.pair(server)
        client.sendall(b'and then nothing')
        self.assertEqual(receive_all(peer), b'and then nothing')
        self.assert_gone(client)

    def test_stop(self):
        """SIGTERM ends it with connections in every state, exit 0; twice, at once"""
        for times in (1, 2):
            with self.subTest(times=times):
                server = self.serve('--threads', '2')
                pairs = [self.pair(server) for _ in range(6)]
                fill(pairs[0][0], 30 * MIB)
                fill(pairs[1][1], 30 * MIB)
                pairs[2][0].shutdown(socket.SHUT_WR)
                pairs[3][1].shutdown(socket.SHUT_WR)
                server.signal(signal.SIGTERM)
                if times == 2:
                    wait_until(lambda: 'stopping' in server.log_text(), 'the first is noticed')
                    server.signal(signal.SIGTERM)
                self.assertEqual(server.wait(6 + 2 * SLOW), 0, server.tail())


class BackPressure(RelayTest):
    def check_stuck(self, server, sender, reader):
        """`reader` does not read while `sender` sends: bounded, others served, no spin, all arrives."""
        before = server.resident()
        sent = fill(sender, 200 * MIB)
        self.assertLess(sent, 200 * MIB, 'the relay reads on from a sender whose reader is stuck')
        grown = server.resident() - before
        print(f'# {sent / MIB:.1f} MiB until it stopped, {grown / MIB:.1f} MiB of them in the relay')
        if not SANITIZED:
            self.assertLess(grown, 8 * MIB)
        self.assert_serves(server)
        self.check_rests(server)
        # The other direction has nothing to do with it.
        reader.sendall(b'the other way')
        self.assertEqual(receive(sender, 13), b'the other way')
        self.assertEqual(len(receive(reader, sent)), sent)
        sender.sendall(b'and on')
        self.assertEqual(receive(reader, 6), b'and on')

    def test_target_stuck(self):
        """a target that never reads stops the client: memory bounded, the other direction free"""
        server = self.serve('--threads', '1')
        self.assert_serves(server)
        client, peer = self.pair(server)
        self.check_stuck(server, client, peer)

    def test_client_stuck(self):
        """a client that never reads stops the target"""
        server = self.serve('--threads', '1')
        self.assert_serves(server)
        client, peer = self.pair(server)
        self.check_stuck(server, peer, client)

    def test_both_stuck(self):
        """both send and neither reads: both stop; then both read, and each gets all"""
        server = self.serve()
        client, peer = self.pair(server)
        sent = fill(client, 200 * MIB), fill(peer, 200 * MIB)
        self.assertLess(max(sent), 200 * MIB)
        self.assertEqual(len(receive(client, sent[1])), sent[1])
        self.assertEqual(len(receive(peer, sent[0])), sent[0])

    def test_slow_reader_gets_all(self):
        """200 MiB from a fast sender to a reader who stops again and again: unchanged, memory bounded"""
        server = self.serve('--threads', '1')
        self.assert_serves(server)
        client, peer = self.pair(server)
        before, most = server.resident(), 0
        blocks = [random.Random(number).randbytes(MIB) for number in range(8)]
        expected = hashlib.sha256()

        def send():
            for number in range(200):
                expected.update(blocks[number % 8])
                client.sendall(blocks[number % 8])
            client.shutdown(socket.SHUT_WR)
        sender = threading.Thread(target=send)
        sender.start()
        got, count, pause = hashlib.sha256(), 0, 0
        while piece := peer.recv(1 << 18):
            got.update(piece)
            count += len(piece)
            if count // (20 * MIB) > pause:
                pause += 1
                time.sleep(0.05)  # the story: a reader who stops
                most = max(most, server.resident())
        sender.join()
        self.assertEqual((count, got.digest()), (200 * MIB, expected.digest()))
        print(f'# {(most - before) / MIB:.1f} MiB more at most')
        if not SANITIZED:
            self.assertLess(most - before, 8 * MIB)

    def test_many(self):
        """20 stuck pairs hold no more than their marks allow"""
        server = self.serve('--high-water', str(128 * KIB))
        self.assert_serves(server)
        before = server.resident()
        pairs = [self.pair(server, receive_buffer=64 * KIB) for _ in range(20)]
        threads = [threading.Thread(target=fill, args=[client, 100 * MIB]) for client, _ in pairs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        grown = server.resident() - before
        print(f'# {grown / MIB:.1f} MiB more for 20 stuck pairs')
        if not SANITIZED:
            self.assertLess(grown, 16 * MIB)
        self.assert_serves(server)


if __name__ == '__main__':
    server_process.main('relay')
