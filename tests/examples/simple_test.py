#!/usr/bin/env python3
"""Five services in one process: simple_test.py PATH_OF_SIMPLE [ARGUMENT...]"""

import calendar
import re
import socket
import time

from example import CommandLine, ExampleTest, figure, flood
from server_process import (KIB, MIB, PATIENCE, SLOW, Server, fill, receive, receive_all, reset,
                            wait_until)
import server_process

NAMES = ('discard', 'daytime', 'time', 'chargen', 'echo')
CYCLE = b''.join(bytes(32 + (line + column) % 95 for column in range(72)) + b'\r\n'
                 for line in range(95))
FROM_1900_TO_1970 = 2_208_988_800


class Services(Server):
    """The process. It announces five ports; what knows of one port only talks to echo."""

    def _first_line(self):
        self.ports = {}
        for name in NAMES:
            line = super()._first_line()
            match = re.fullmatch(rf'(listening on .*:(\d+)) for {name}\n', line)
            if not match:
                raise AssertionError(f'no good line for {name}: {line!r}; log:\n{self.tail()}')
            self.ports[name] = int(match[2])
        return match[1] + '\n'

    def connect(self, receive_buffer=None, service='echo'):
        self.port = self.ports[service]
        return super().connect(receive_buffer)


class SimpleTest(ExampleTest):
    def serve(self, *arguments, verbose=True, **options):
        arguments = (*arguments, '--verbose') if verbose else arguments
        return Services(self, self.program, *arguments, **options)


class Arguments(CommandLine, SimpleTest):
    refused = (['--port', '65532'],)  # which leaves no four ports behind it

    def test_ports(self):
        """--port N takes five ports in a row"""
        for _ in range(20):
            with socket.create_server(('127.0.0.1', 0)) as probe:
                first = probe.getsockname()[1]
            try:
                for port in range(first, first + 5):
                    socket.create_server(('127.0.0.1', port)).close()
            except (OSError, OverflowError):
                continue
            server = self.serve('--port', str(first))
            self.assertEqual(server.ports, {n: first + i for i, n in enumerate(NAMES)})
            self.assert_serves(server)
            return
        self.skipTest('no five free ports in a row')


class Answers(SimpleTest):
    def test_discard(self):
        """discard takes 10 MiB and says nothing"""
        client = self.client(self.serve(), service='discard')
        client.sendall(bytes(10 * MIB))
        client.shutdown(socket.SHUT_WR)
        self.assertEqual(receive_all(client), b'')

    def test_daytime(self):
        """daytime sends the present as one line and closes"""
        line = receive_all(self.client(self.serve(), service='daytime')).decode()
        said = calendar.timegm(time.strptime(line, '%A, %B %d, %Y %H:%M:%S-UTC\r\n'))
        self.assertLess(abs(time.time() - said), PATIENCE)

    def test_time(self):
        """time sends the seconds since 1900 in four bytes and closes"""
        answer = receive_all(self.client(self.serve(), service='time'))
        self.assertEqual(len(answer), 4)
        said = int.from_bytes(answer, 'big') - FROM_1900_TO_1970
        self.assertLess(abs(time.time() - said), PATIENCE)

    def test_chargen(self):
        """chargen sends the characters of RFC 864, for as long as one reads"""
        client = self.client(self.serve(), service='chargen')
        wanted = CYCLE * 1000
        self.assertTrue(receive(client, len(wanted)) == wanted)

    def test_echo(self):
        """echo sends back what it gets, with threads too"""
        for threads in ('0', '2'):
            self.assert_serves(self.serve('--threads', threads))


class Hostile(SimpleTest):
    def test_never_reads(self):
        """50 clients that do not read chargen cost little memory and no time; 10 read on later"""
        server = self.serve()
        self.assert_serves(server)
        before = server.resident()
        clients = [self.client(server, service='chargen', receive_buffer=4 * KIB)
                   for _ in range(50)]
        for client in clients:
            self.assertEqual(client.recv(1), CYCLE[:1])
        time.sleep(0.5 * SLOW)  # the story: all buffers have filled
        self.check_memory(server, before, 8, '50 readers of chargen that do not read')
        self.check_rests(server)
        for client in clients[:10]:
            wanted = (CYCLE * 800)[1:]  # more than the kernel keeps for a connection
            self.assertTrue(receive(client, len(wanted)) == wanted, 'not the characters')
        self.assert_serves(server)

    def test_floods(self):
        """200 MiB for discard, and an echo that is never read: memory is bounded, others go on"""
        server = self.serve('--threads', '1')
        self.assert_serves(server)
        before = server.resident()
        client = self.client(server, service='discard')
        sent = flood(client, bytes(256 * KIB), 200 * MIB)
        self.assertGreaterEqual(sent, 200 * MIB)
        self.check_memory(server, before, 8, f'{sent // MIB} MiB discarded')
        sent = fill(self.client(server), 300 * MIB)
        self.assertLess(sent, 300 * MIB)
        self.check_memory(server, before, 16, f'an echo of {sent // MIB} MiB that is not read')
        self.assert_serves(server)

    def test_talks_to_daytime(self):
        """who talks to daytime gets the whole line, and no reset for what was not read"""
        server = self.serve()
        for service, size in (('daytime', 20), ('time', 4)):
            client = self.client(server, service=service)
            client.sendall(bytes(MIB))
            self.assertGreaterEqual(len(receive_all(client)), size)

    def test_stays(self):
        """who does not go after its line from daytime is cut, also if it floods"""
        server = self.serve()
        idle = server.descriptors()
        silent = self.client(server, service='daytime')
        flooder = self.client(server, service='time')
        begin = time.monotonic()
        flood(flooder, bytes(64 * KIB), 1 << 50)
        figure(f'a client that floods instead of going was cut after '
               f'{time.monotonic() - begin:.1f} s')
        wait_until(lambda: server.descriptors() == idle, 'both are cut')
        silent.close()

    def test_half_close(self):
        """after a half-close at once, chargen goes on and the others end"""
        server = self.serve()
        for service in NAMES:
            client = self.client(server, service=service)
            client.shutdown(socket.SHUT_WR)
            if service == 'chargen':
                self.assertTrue(receive(client, MIB) == (CYCLE * 200)[:MIB])
            else:
                receive_all(client)

    def test_resets(self):
        """resets in the middle of each service leave nothing behind"""
        self.needs_descriptors(400)
        server = self.serve('--threads', '2')
        idle = server.descriptors()
        for service in NAMES:
            for talks in (False, True):
                for _ in range(100):
                    client = server.connect(service=service)
                    if talks:
                        client.sendall(b'x' * 1000)
                    reset(client)
        wait_until(lambda: server.descriptors() == idle, 'all descriptors are given back')
        self.assert_serves(server)
        self.assert_quiet(server, 1001)

    def test_stop(self):
        """SIGTERM ends it although chargen is read slowly, or not at all"""
        server = self.serve()
        clients = [self.client(server, service='chargen') for _ in range(10)]
        for client in clients:
            client.recv(1)
        server.signal(15)
        for client in clients[:5]:
            data = receive_all(client)
            self.assertTrue((CYCLE * (len(data) // len(CYCLE) + 2))[1:].startswith(data))
            client.close()
        self.assertEqual(server.wait(8 * SLOW), 0, server.tail())


if __name__ == '__main__':
    server_process.main('simple')
