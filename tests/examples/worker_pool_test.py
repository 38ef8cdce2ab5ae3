#!/usr/bin/env python3
"""Computation off the I/O threads: worker_pool_test.py PATH_OF_WORKER_POOL [ARGUMENT...]"""

import socket
import time

from example import CommandLine, ExampleTest, figure, flood, sending, trickle
from server_process import KIB, MIB, SLOW, receive, receive_all, wait_until
import server_process

# The largest prime below the largest number that is taken: as much work as a request can be.
SLOW_PRIME = 9_999_999_999_999_937
MOST = 10 ** 16
WINDOW = 16  # requests of one connection that are under way at a time
NOT_A_NUMBER = f'error: not a number from 1 to {MOST}\n'.encode()


def factored(number):
    """What the server answers, by the plainest algorithm; for numbers with small factors."""
    left, result, candidate = number, f'{number}:', 2
    while left > 1:
        if candidate * candidate > left:
            candidate = left
        while left % candidate == 0:
            result += f' {candidate}'
            left //= candidate
        candidate += 1
    return result.encode() + b'\n'


SLOW_ANSWER = f'{SLOW_PRIME}: {SLOW_PRIME}\n'.encode()


def request(*numbers):
    return ''.join(f'{number}\n' for number in numbers).encode()


class WorkerTest(ExampleTest):
    def assert_serves(self, server):
        """Workers may have to look through a queue of requests first whose clients are gone."""
        with server.connect() as client, client.makefile('rb') as answers:
            def answer():
                client.sendall(b'600851475143\n')
                return answers.readline()
            busy = b'600851475143: busy\n'
            found = [busy]
            wait_until(lambda: found.append(answer()) or found[-1] != busy, 'a worker has time')
            self.assertEqual(found[-1], b'600851475143: 71 839 1471 6857\n')
            if len(found) > 2:
                figure(f'busy {len(found) - 2} times')


class Arguments(CommandLine, WorkerTest):
    options = ('--workers', '--queue')
    refused = (['--workers', '0'], ['--workers', '257'], ['--workers', 'x'], ['--queue', '0'],
               ['--queue', '-1'], ['--queue', '99999999999999999999'])


class Answers(WorkerTest):
    def test_factors(self):
        """numbers are answered with their prime factors"""
        numbers = [*range(1, 2000), 2 ** 53, 3 ** 33, 10 ** 16, 999_999_000_001, 97 ** 8]
        client = self.client(self.serve('--queue', '1000'))
        sender = sending(client, request(*numbers))
        wanted = b''.join(factored(number) for number in numbers)
        self.assertEqual(receive(client, len(wanted)), wanted)
        sender.join()

    def test_order(self):
        """answers come in the order of the requests, though the first takes longest by far"""
        server = self.serve('--workers', '4')
        client = self.client(server)
        numbers = [SLOW_PRIME, 2, 3, 'x', SLOW_PRIME, 5, '', 7]
        wanted = [SLOW_ANSWER, b'2: 2\n', b'3: 3\n', NOT_A_NUMBER, SLOW_ANSWER, b'5: 5\n',
                  NOT_A_NUMBER, b'7: 7\n']
        begin = time.monotonic()
        client.sendall(request(*numbers))
        answers = client.makefile('rb')
        self.assertEqual(answers.readline(), wanted[0])
        figure(f'the longest computation took {time.monotonic() - begin:.2f} s')
        self.assertEqual([answers.readline() for _ in wanted[1:]], wanted[1:])

    def test_io_goes_on(self):
        """the I/O thread serves others while all workers compute"""
        server = self.serve('--workers', '1')
        busy, other = self.client(server), self.client(server)
        busy.sendall(request(*[SLOW_PRIME] * WINDOW))
        self.assertEqual(receive(busy, len(SLOW_ANSWER)), SLOW_ANSWER)
        begin = time.monotonic()
        other.sendall(b'hello\n')
        self.assertEqual(receive(other, len(NOT_A_NUMBER)), NOT_A_NUMBER)
        figure(f'meanwhile, another client was answered in {time.monotonic() - begin:.4f} s')
        busy.shutdown(socket.SHUT_WR)
        self.assertNotEqual(busy.recv(1, socket.MSG_PEEK), b'')
        self.assertEqual(receive_all(busy), SLOW_ANSWER * (WINDOW - 1))

    def test_busy(self):
        """with the queue full, the answer is "busy", in its place"""
        server = self.serve('--workers', '1', '--queue', '1')
        client = self.client(server)
        client.sendall(request(*[SLOW_PRIME] * (WINDOW - 1), 'x'))
        client.shutdown(socket.SHUT_WR)
        answers = receive_all(client).splitlines(keepends=True)
        busy = f'{SLOW_PRIME}: busy\n'.encode()
        self.assertEqual(len(answers), WINDOW)
        self.assertEqual(answers[0], SLOW_ANSWER)
        self.assertEqual(answers[-1], NOT_A_NUMBER)
        self.assertLessEqual(set(answers[1:-1]), {SLOW_ANSWER, busy})
        # One is computed, one waits; with luck the worker has taken one while they came in.
        self.assertGreaterEqual(answers.count(busy), WINDOW - 4)
        self.assert_serves(server)

    def test_stop(self):
        """SIGTERM while workers compute: what was asked is answered before the end"""
        server = self.serve('--threads', '1')
        client = self.client(server)
        client.sendall(request('x', SLOW_PRIME, SLOW_PRIME, 6))
        # Requests are taken together: once this is here, the others are under way.
        self.assertEqual(receive(client, len(NOT_A_NUMBER)), NOT_A_NUMBER)
        server.signal(15)
        self.assertEqual(receive_all(client), SLOW_ANSWER * 2 + b'6: 2 3\n')
        client.close()
        self.assertEqual(server.wait(8 * SLOW), 0, server.tail())

    def test_stop_with_long_queue(self):
        """SIGTERM with more work than there is time for: exit 0 nevertheless"""
        server = self.serve('--workers', '1', '--queue', '1000')
        clients = [self.client(server) for _ in range(20)]
        for client in clients:
            client.sendall(request('x', *[SLOW_PRIME] * (WINDOW - 1)))
        for client in clients:
            self.assertEqual(receive(client, len(NOT_A_NUMBER)), NOT_A_NUMBER)
        begin = time.monotonic()
        server.signal(15)
        self.assertEqual(server.wait(12 * SLOW), 0, server.tail())
        figure(f'with 300 slow requests under way it ended in {time.monotonic() - begin:.1f} s')


class Hostile(WorkerTest):
    def test_bad_requests(self):
        """what is no number gets an error, and the connection goes on"""
        bad = [b'', b'0', b'-1', b'+1', b'abc', b'1e3', b'0x10', b'1.5', b' 7', b'7 ', b'7\r8',
               b'\xff\x00\xfe', b'9' * 64, b'%d' % (MOST + 1), b'18446744073709551617', b'x' * 64]
        client = self.client(self.serve())
        client.sendall(b'\n'.join(bad) + b'\n6\r\n')
        wanted = NOT_A_NUMBER * len(bad) + b'6: 2 3\n'
        self.assertEqual(receive(client, len(wanted)), wanted)

    def test_too_long(self):
        """a line of 65 bytes ends the connection with a message, after the answers before it"""
        server = self.serve()
        for tail in (b'', b'\n6\n', b'x' * MIB):
            with self.subTest(more=len(tail)):
                client = self.client(server)
                sender = sending(client, request(SLOW_PRIME, 6) + b'1' * 65 + tail)
                self.assertEqual(receive_all(client),
                                 SLOW_ANSWER + b'6: 2 3\nerror: a line of more than 64 bytes\n')
                client.close()
                sender.join()

    def test_flood_without_newline(self):
        """a flood without a newline is cut, and costs no memory"""
        self.check_flood(self.serve('--threads', '1'), b'1' * 64 * KIB, 'a flood without newline')

    def test_flood_of_requests(self):
        """a client that asks and never reads is held back; later it gets every answer, in order"""
        server = self.serve('--threads', '1')
        self.assert_serves(server)
        before = server.resident()
        client = self.client(server, receive_buffer=8 * KIB)
        # Long requests with longer answers: much for the buffers, and little to compute.
        numbers = [2 ** 43 * factor for factor in range(1, 1001)]
        block = b''.join(b'%064d\n' % number for number in numbers)
        sent = flood(client, block, 200 * MIB)
        self.assertLess(sent, 200 * MIB)
        self.check_memory(server, before, 16, f'{sent // KIB} KiB of requests, no answer read')
        self.assert_serves(server)
        self.check_rests(server)
        sender = sending(client, block[sent % len(block):])
        blocks = sent // len(block) + 1
        wanted = b''.join(factored(number) for number in numbers) * blocks
        self.assertTrue(receive(client, len(wanted)) == wanted, 'not the answers')
        sender.join()
        figure(f'{1000 * blocks} answers came when it did read')

    def test_trickle(self):
        """requests that arrive byte by byte are answered"""
        client = self.client(self.serve())
        trickle(client, request(*range(1, 100)))
        wanted = b''.join(factored(number) for number in range(1, 100))
        self.assertEqual(receive(client, len(wanted)), wanted)

    def test_half_close(self):
        """after a half-close at once all answers come; a last line without end is an error"""
        server = self.serve()
        for data, wanted in ((b'', b''), (b'6\n', b'6: 2 3\n'),
                             (request(SLOW_PRIME, 6), SLOW_ANSWER + b'6: 2 3\n'),
                             (b'6\n7', b'6: 2 3\nerror: the last line has no end\n')):
            with self.subTest(data=data):
                client = self.client(server)
                client.sendall(data)
                client.shutdown(socket.SHUT_WR)
                self.assertEqual(receive_all(client), wanted)

    def test_resets(self):
        """resets while workers compute leave nothing behind"""
        server = self.serve('--threads', '2', '--queue', '10')
        self.check_resets(server, server.descriptors(), [
            lambda client: None,
            lambda client: client.sendall(b'12'),
            lambda client: client.sendall(request(*[999_999_000_001] * 10)),
            lambda client: client.sendall(request(*range(1, 100)))])
        with server.connect() as client:
            client.sendall(request(SLOW_PRIME))
        self.assert_serves(server)


if __name__ == '__main__':
    server_process.main('worker-pool')
