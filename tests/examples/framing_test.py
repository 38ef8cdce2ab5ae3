#!/usr/bin/env python3
"""Four ways to frame a stream: framing_test.py PATH_OF_FRAMING [ARGUMENT...]"""

import functools
import random
import socket
import struct

from example import CommandLine, ExampleTest, flood, sending, trickle
from server_process import KIB, MIB, SLOW, receive, receive_all, reset, wait_until
import server_process

FRAMINGS = ('fixed', 'line', 'length', 'message')
MOST = 64  # --bytes of the servers here


def encode(framing, payload):
    if framing == 'fixed':
        return payload[:MOST].ljust(MOST)
    if framing == 'line':
        return payload + b'\r\n'
    if framing == 'length':
        return struct.pack('>I', len(payload)) + payload
    return b'Length: %d\r\n\r\n%s' % (len(payload), payload)


def answer(framing, payload):
    return encode(framing, payload[::-1])


def error(framing, text):
    return encode(framing, b'error: ' + text)


def payloads(framing, count):
    """As different as the framing allows."""
    source = random.Random(count)
    letters = bytes(set(range(256)) - set(b'\r\n')) if framing == 'line' else bytes(range(256))
    for _ in range(count):
        length = source.choice([0, 1, MOST, source.randint(0, MOST)])
        if framing == 'fixed':
            length = MOST
        yield bytes(source.choices(letters, k=length))


def with_each(*framings):
    """Runs a test for each of these, with a server of its own, as a subtest."""
    def decorate(test):
        @functools.wraps(test)
        def run(self):
            for framing in framings:
                with self.subTest(framing=framing):
                    test(self, framing, self.serve('--threads', '1', framing=framing))
        return run
    return decorate


class FramingTest(ExampleTest):
    def serve(self, *arguments, framing='line', **options):
        server = super().serve('--framing', framing, '--bytes', str(MOST), *arguments, **options)
        server.framing = framing
        return server

    def assert_serves(self, server):
        with server.connect() as client:
            payload = b'still there?'.ljust(MOST)
            client.sendall(encode(server.framing, payload))
            wanted = answer(server.framing, payload)
            self.assertEqual(receive(client, len(wanted)), wanted)

    def assert_refused(self, server, framing, data, text):
        """After `data` come these words, in a frame, and the end."""
        client = self.client(server)
        sender = sending(client, data)
        self.assertEqual(receive_all(client), error(framing, text))
        client.close()
        sender.join()


class Arguments(CommandLine, FramingTest):
    options = ('--framing', '--bytes')
    refused = (['--framing', 'netstring'], ['--framing', ''], ['--bytes', '0'], ['--bytes', '-1'],
               ['--bytes', '16777217'], ['--bytes', 'many'])


class Frames(FramingTest):
    @with_each(*FRAMINGS)
    def test_together(self, framing, server):
        """5,000 frames in as few segments as may be are 5,000 frames"""
        frames = list(payloads(framing, 5000))
        client = self.client(server)
        sender = sending(client, b''.join(encode(framing, frame) for frame in frames))
        wanted = b''.join(answer(framing, frame) for frame in frames)
        self.assertEqual(receive(client, len(wanted)), wanted)
        sender.join()

    @with_each(*FRAMINGS)
    def test_trickle(self, framing, server):
        """frames that arrive byte by byte are whole frames"""
        frames = list(payloads(framing, 30))
        client = self.client(server)
        trickle(client, b''.join(encode(framing, frame) for frame in frames))
        wanted = b''.join(answer(framing, frame) for frame in frames)
        self.assertEqual(receive(client, len(wanted)), wanted)

    @with_each(*FRAMINGS)
    def test_waits_for_the_last_byte(self, framing, server):
        """nothing is answered before the last byte of a frame is there"""
        client = self.client(server)
        first, second = b'1' * MOST, b'2' * MOST
        data = encode(framing, first) + encode(framing, second)
        client.sendall(data[:-1])
        wanted = answer(framing, first)
        self.assertEqual(receive(client, len(wanted)), wanted)
        client.settimeout(0.1)
        self.assertRaises(TimeoutError, client.recv, 1)
        client.settimeout(10 * SLOW)
        client.sendall(data[-1:])
        wanted = answer(framing, second)
        self.assertEqual(receive(client, len(wanted)), wanted)

    @with_each('line', 'length', 'message')
    def test_zero_length(self, framing, server):
        """empty frames are frames, where there can be any"""
        client = self.client(server)
        client.sendall(encode(framing, b'') * 1000)
        client.shutdown(socket.SHUT_WR)
        self.assertEqual(receive_all(client), encode(framing, b'') * 1000)


class Hostile(FramingTest):
    @with_each('line', 'length', 'message')
    def test_too_long(self, framing, server):
        """a frame above the maximum is refused, with or without its end; 1 MiB more is discarded"""
        too_long = b'x' * (MOST + 1)
        text = {'line': b'line too long', 'length': b'length above the maximum',
                'message': b'Length is not a number, or too large'}
        for data in (encode(framing, too_long), encode(framing, too_long) + bytes(MIB),
                     encode(framing, too_long)[:-2] + b'xx'):
            self.assert_refused(server, framing, data, text[framing])
        self.assert_serves(server)

    def test_garbage(self):
        """what can never be a frame is refused; fixed length cannot tell"""
        wrong = {
            'line': ((b'a\nb\r\n', b'LF without CR'), (b'a\rb\r\n', b'CR without LF')),
            'length': ((b'\xff\xff\xff\xff', b'length above the maximum'),
                       (b'\x80\x00\x00\x00', b'length above the maximum'),
                       (b'GET / HTTP/1.1\r\n\r\n', b'length above the maximum')),
            'message': ((b'GET / HTTP/1.1\r\n\r\n', b"a line of the head is not 'Name: value'"),
                        (b'Length: -1\r\n\r\n', b'Length is not a number, or too large'),
                        (b'Length: 1\r\nLength: 2\r\n\r\n', b'more than one Length'),
                        (b'\r\n\r\n', b"a line of the head is not 'Name: value'"),
                        (b'X: y\r\n\r\n', b'no Length'),
                        (b'X: ' + b'y' * 2000, b'head too long'))}
        for framing, cases in wrong.items():
            with self.subTest(framing=framing):
                server = self.serve('--threads', '1', framing=framing)
                for data, text in cases:
                    self.assert_refused(server, framing, data, text)
                self.assert_serves(server)

    @with_each(*FRAMINGS)
    def test_random(self, framing, server):
        """500 streams of random bytes each end in an orderly way"""
        source = random.Random(8)
        idle = server.descriptors()
        for _ in range(125):
            client = server.connect()
            sender = sending(client, source.randbytes(source.randint(0, 500)))
            sender.join()
            client.shutdown(socket.SHUT_WR)
            receive_all(client)
            client.close()
        wait_until(lambda: server.descriptors() == idle, 'all descriptors are given back')
        self.assert_serves(server)

    @with_each(*FRAMINGS)
    def test_truncated(self, framing, server):
        """a stream that ends within a frame is told so, after the answers to the frames before"""
        frame = encode(framing, b'x' * MOST)
        for length in (1, len(frame) // 2, len(frame) - 1):
            client = self.client(server)
            client.sendall(frame + frame[:length])
            client.shutdown(socket.SHUT_WR)
            self.assertEqual(receive_all(client), answer(framing, b'x' * MOST)
                             + error(framing, b'the stream ends within a frame'))

    @with_each(*FRAMINGS)
    def test_half_close(self, framing, server):
        """after a half-close at once, the connection ends"""
        client = self.client(server)
        client.shutdown(socket.SHUT_WR)
        self.assertEqual(receive_all(client), b'')

    @with_each('line', 'length', 'message')
    def test_floods(self, framing, server):
        """a flood that is no frame is cut in the end, and leaves no memory behind"""
        self.check_flood(server, b'xyz' * 20 * KIB, f'{framing}: a flood')

    @with_each(*FRAMINGS)
    def test_never_reads(self, framing, server):
        """a client that sends frames and reads no answer is held back; later it gets them all"""
        self.assert_serves(server)
        before = server.resident()
        client = self.client(server, receive_buffer=8 * KIB)
        frames = list(payloads(framing, 1000))
        block = b''.join(encode(framing, frame) for frame in frames)
        sent = flood(client, block, 300 * MIB)
        self.assertLess(sent, 300 * MIB)
        self.check_memory(server, before, 16, f'{framing}: {sent // KIB} KiB, no answer read')
        self.check_rests(server)
        self.assert_serves(server)
        sender = sending(client, block[sent % len(block):])
        wanted = b''.join(answer(framing, frame) for frame in frames)
        wanted *= sent // len(block) + 1
        self.assertTrue(receive(client, len(wanted)) == wanted, 'not the answers')
        sender.join()

    def test_promises(self):
        """300 clients that announce 16 MiB each and send little take no memory for it"""
        self.needs_descriptors(400)
        for framing, start in (('length', struct.pack('>I', 16 * MIB)),
                               ('message', b'Length: %d\r\n\r\n' % (16 * MIB))):
            with self.subTest(framing=framing):
                server = ExampleTest.serve(self, '--framing', framing, '--bytes', str(16 * MIB))
                with server.connect() as client:
                    client.sendall(encode(framing, b'ab'))
                    self.assertEqual(receive(client, len(encode(framing, b'ba'))),
                                     encode(framing, b'ba'))
                before = server.resident()
                clients = [self.client(server) for _ in range(300)]
                for client in clients:
                    client.sendall(start + b'little')
                wait_until(lambda: server.unread() == 0, 'the server has read what was sent')
                self.check_memory(server, before, 8, f'{framing}: 300 times 16 MiB announced')
                for client in clients:
                    reset(client)

    @with_each(*FRAMINGS)
    def test_resets(self, framing, server):
        """resets within a frame, and with answers unread, leave nothing behind"""
        frame = encode(framing, b'x' * MOST)
        self.check_resets(server, server.descriptors(), [
            lambda client: None,
            lambda client: client.sendall(frame[:-1]),
            lambda client: client.sendall(frame * 100)])
        self.assert_quiet(server, 301)


if __name__ == '__main__':
    server_process.main('framing')
