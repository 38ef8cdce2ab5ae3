#!/usr/bin/env python3
"""A store for the clients of Redis: kv_test.py PATH_OF_KV [ARGUMENT...]

With redis-cli and redis-benchmark (Debian: redis-tools), beside a redis-server of its own (Debian:
redis-server), and by hand. Without them those tests are skipped.
"""

import os
import pathlib
import random
import re
import shutil
import socket
import subprocess
import tempfile
import time

from example import CommandLine, ExampleTest, figure, flood, sending, trickle
from server_process import (
    KIB, MIB, PATIENCE, SLOW, receive, receive_all, wait_until)
import server_process

README = pathlib.Path(__file__).resolve().parents[2] / 'examples/kv/README.md'


def command(*words):
    """A command as clients send it."""
    parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b'*%d\r\n' % len(parts) + b''.join(b'$%d\r\n%s\r\n' % (len(p), p) for p in parts)


def read_reply(stream):
    """The bytes of one reply."""
    line = stream.readline()
    if line[:1] == b'$' and line != b'$-1\r\n':
        return line + stream.read(int(line[1:]) + 2)
    if line[:1] == b'*':
        return line + b''.join(read_reply(stream) for _ in range(int(line[1:])))
    return line


def bulk(data):
    return b'$%d\r\n%s\r\n' % (len(data), data)


class KvTest(ExampleTest):
    def needs(self, program):
        if not shutil.which(program):
            self.skipTest(f'{program} is not installed')

    def assert_serves(self, server):
        self.assertEqual(self.ask(server, 'PING'), b'+PONG\r\n')

    def ask(self, server, *words):
        with server.connect() as client, client.makefile('rb') as replies:
            client.sendall(command(*words))
            return read_reply(replies)

    def replies(self, client):
        """Asks on a connection: a function that takes the words, and returns the reply."""
        stream = client.makefile('rb')
        self.addCleanup(stream.close)

        def ask(*words):
            client.sendall(command(*words))
            return read_reply(stream)
        ask.stream = stream
        return ask


class Arguments(CommandLine, KvTest):
    threads = ()
    options = ('--max-memory',)
    refused = (['--max-memory', '0'], ['--max-memory', '-1'], ['--max-memory', 'x'])


class RealClients(KvTest):
    def cli(self, server, *words):
        return subprocess.run(['redis-cli', '-p', str(server.port), *words], capture_output=True,
                              text=True, timeout=PATIENCE, check=False, stdin=subprocess.DEVNULL)

    def test_sessions(self):
        """redis-cli: the sessions in the README are what it shows"""
        self.needs('redis-cli')
        commands = 0
        for block in re.findall(r'^```console\n(.*?)^```', README.read_text(), re.M | re.S):
            if '6380' not in block:
                continue
            server = self.serve()
            asked = re.split(r'^\$ (.*)\n', block, flags=re.M)[1:]
            for line, wanted in zip(asked[2::2], asked[3::2]):  # the first starts the server
                if 'nc -N' in line and not shutil.which('nc'):
                    continue
                line = line.replace('6380', str(server.port)).replace('cli -p', 'cli --no-raw -p')
                done = subprocess.run(['sh', '-c', line], stdout=subprocess.PIPE, timeout=PATIENCE,
                                      stderr=subprocess.STDOUT, text=True, check=False)
                commands += 1
                with self.subTest(command=line):
                    # The time that is left is rounded, and this machine may be busy.
                    printed = done.stdout.strip('\n').replace('(integer) 99', '(integer) 100')
                    self.assertEqual(printed, wanted.strip('\n'))
        self.assertGreater(commands, 20)

    def test_cli(self):
        """redis-cli: connects, asks in RESP2 and RESP3, and shows errors"""
        self.needs('redis-cli')
        server = self.serve()
        done = self.cli(server, '-e', 'SET', 'k', 'v', 'XX')
        self.assertEqual((done.returncode, done.stdout), (0, '\n'))
        done = self.cli(server, '-e', 'NONSENSE')
        self.assertEqual(done.returncode, 1)
        self.assertIn("ERR unknown command 'NONSENSE'", done.stderr + done.stdout)
        self.assertIn('NOPROTO', (lambda d: d.stdout + d.stderr)(self.cli(server, '-3', 'PING')))
        self.assertEqual(self.cli(server, '-n', '0', 'DBSIZE').stdout, '0\n')
        many = subprocess.run(
            ['redis-cli', '-p', str(server.port), '--pipe'], capture_output=True, check=False,
            timeout=PATIENCE, input=b''.join(command('SET', i, 'x') for i in range(10000)))
        self.assertIn(b'errors: 0, replies: 10000', many.stdout)
        self.assertEqual(self.cli(server, 'DBSIZE').stdout, '10000\n')

    def test_benchmark(self):
        """redis-benchmark: every request is answered, with and without a pipeline"""
        self.needs('redis-benchmark')
        server = self.serve(verbose=False)
        for pipeline in ('1', '16'):
            done = subprocess.run(
                ['redis-benchmark', '-p', str(server.port), '-P', pipeline, '-n', '4000', '-r',
                 '100', '--csv', '-t', 'ping,set,get,incr,mset'], capture_output=True, text=True,
                timeout=6 * PATIENCE, check=False)
            self.assertEqual((done.returncode, done.stderr), (0, ''))
            tests = re.findall(r'^"([A-Z_]+)', done.stdout, re.M)
            self.assertEqual(tests, ['PING_INLINE', 'PING_MBULK', 'SET', 'GET', 'INCR', 'MSET'])
        self.assert_serves(server)


class Redis(KvTest):
    """kv and a redis-server, asked the same."""

    def setUp(self):
        self.needs('redis-server')
        self.kv = self.serve()
        with socket.socket() as probe:
            probe.bind(('127.0.0.1', 0))
            port = probe.getsockname()[1]
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        peer = subprocess.Popen(
            ['redis-server', '--port', str(port), '--save', '', '--appendonly', 'no', '--bind',
             '127.0.0.1', '--dir', directory.name], stdout=subprocess.DEVNULL)
        self.addCleanup(peer.wait)
        self.addCleanup(peer.terminate)
        self.redis = ('127.0.0.1', port)
        wait_until(lambda: socket.socket().connect_ex(self.redis) == 0, 'redis-server listens')

    def clients(self):
        clients = [self.client(self.kv), socket.create_connection(self.redis, PATIENCE)]
        self.addCleanup(clients[1].close)
        return clients

    def compare(self, commands):
        asks = [self.replies(client) for client in self.clients()]
        for words in commands:
            with self.subTest(command=words):
                kv, redis = (ask(*words) for ask in asks)
                self.assertEqual(kv, redis)

    def test_commands(self):
        """redis-server: a list of commands has the same replies, byte by byte"""
        lines = r'''
            PING|PING hello|PING a b|ECHO hello|ECHO|ECHO a b|echo Hello|QUITT|DBSIZE|SELECT 0
            SELECT x|SELECT|GET|GET a|GET a b|SET a|SET a 1|GET a|get a|SET a 2 NX|SET a 2 XX|GET a
            SET b 1 XX|GET b|SET b 1 NX|SET b 1 NX XX|SET b 1 XX NX|SET b 1 EX|SET b 1 EX x
            SET b 1 EX 0|SET b 1 EX -1|SET b 1 PX 0|SET b 1 EX 10 PX 10|SET b 1 EX 10 EX 10
            SET b 1 EX 9223372036854775807|SET b 1 EX 9223372036854775
            SET b 1 PX 9223372036854775807
            SET b 1 EX 99999999999999999999|SET b 1 WHAT|SET b 1 ex 100 nx|SET b 1 ex 100 xx
            PERSIST b|PERSIST b|PERSIST nobody|TTL b|PTTL b|TTL nobody|PTTL nobody|TTL|TTL a b
            DEL b|DEL b|DEL|SET c 1|DEL a b c c|EXISTS a|SET a 1|SET c 3|EXISTS a a b c|EXISTS
            INCR n|INCR n|DECR n|DECR m|DECR|INCRBY n 10|INCRBY n -20|INCRBY n x|INCRBY n 1.5
            INCRBY n|INCR|SET n 9223372036854775807|INCR n|DECR n|SET n -9223372036854775808|DECR n
            INCRBY n -1|INCR n|SET n 01|INCR n|SET n +1|INCR n|SET n abc|DECR n
            INCRBY n 9223372036854775808|SET n 1|INCRBY n 9223372036854775807
            MSET|MSET a|MSET a 1|MSET a 1 b|MSET a 1 b 2 a 3|MGET a b nobody|MGET|GET a
            EXPIRE a|EXPIRE a x|EXPIRE nobody 10|EXPIRE nobody x|EXPIRE a 100|PERSIST a|EXPIRE a 0
            GET a|SET a 1|EXPIRE a -1|EXISTS a|SET a 1|PEXPIRE a -5|DBSIZE|SET a 1|PEXPIRE a 100000
            EXPIRE a 9223372036854775807|PEXPIRE a 9223372036854775807|EXPIRE a -9223372036854775808
            INCR a|PERSIST a|SET a 1 EX 100|SET a 1|PERSIST a|SET a 1 EX 100|MSET a 1|PERSIST a
            UNSUBSCRIBE|UNSUBSCRIBE x|PUBLISH x|PUBLISH x hello|PUBLISH x hello you|SUBSCRIBE
            CONFIG|CONFIG GET save|CONFIG GET appendonly|CONFIG GET|CONFIG WHAT x|CONFIG get Save
            COMMAND WHAT|FLUSHALL WHAT|FLUSHALL ASYNC x|FLUSHALL SYNC|DBSIZE|SET a 1|FLUSHALL async
            DBSIZE|FLUSHALL|NONSENSE|NONSENSE a b c|PSUBSCRIBE'''
        commands = [line.split() for line in lines.replace('\n', '|').split('|') if line.strip()]
        commands += [
            ['SET', b'\x00\r\n\xff', b'$1\r\nx'], ['GET', b'\x00\r\n\xff'], ['SET', '', ''],
            ['GET', ''], ['MGET', '', 'x'], [''], [b'\x01\r\n-ERR'],
            ['what\r\n', 'a\nb', 'c' * 200],
            ['n' * 200], ['n' * 200, 'x' * 100, 'y' * 100, 'z'], ['SET', 'big', 'x' * 3_000_000],
            ['GET', 'big'], ['MGET', 'big', 'big'], ['DEL', *map(str, range(2000)), 'big']]
        self.compare(commands)
        figure(f'{len(commands)} commands')

    def test_random_commands(self):
        """redis-server: ten thousand random commands on a few keys have the same replies"""
        seed = int(os.environ.get('RUNG_TEST_SEED', random.randrange(1 << 31)))
        figure(f'RUNG_TEST_SEED={seed}')
        pick = random.Random(seed)
        forms = ['GET K', 'SET K V', 'SET K V NX', 'SET K V XX', 'SET K V EX 1000', 'DEL K K',
                 'EXISTS K K', 'INCR K', 'DECR K', 'INCRBY K V', 'MGET K K K', 'MSET K V K V',
                 'EXPIRE K 1000', 'PEXPIRE K -1', 'PERSIST K', 'DBSIZE']
        values = ['0', '1', '-1', '01', 'x', '', str(2**63 - 1), '-' + str(2**63), 'y' * 100]
        commands = []
        for _ in range(10000):
            words = pick.choice(forms).split()
            commands.append([{'K': f'key{pick.randrange(8)}', 'V': pick.choice(values)}.get(w, w)
                             for w in words])
        sent = b''.join(command(*words) for words in commands)
        streams = []
        for client in self.clients():
            sender = sending(client, sent)
            with client.makefile('rb') as stream:
                streams.append([read_reply(stream) for _ in commands])
            sender.join()
        for words, kv, redis in zip(commands, *streams):
            self.assertEqual(kv, redis, words)

    def test_subscriber(self):
        """redis-server: a subscriber gets the same, and may do the same"""
        self.compare([words.split() for words in (
            'SUBSCRIBE a', 'SUBSCRIBE a', 'SUBSCRIBE b', 'GET a', 'SET a 1', 'SET a', 'NONSENSE',
            'PUBLISH a x', 'PING', 'PING hello', 'UNSUBSCRIBE x', 'UNSUBSCRIBE b', 'UNSUBSCRIBE',
            'GET a', 'PING', 'SUBSCRIBE c', 'QUIT')])

    def test_faults(self):
        """redis-server: bad bytes have the same error, and then the end"""
        for data in (b'*abc\r\n', b'*99999999999999999999\r\n', b'*1\r\n$-5\r\n', b'*1\r\n$-1\r\n',
                     b'*1\r\n$536870913\r\n', b'*1\r\n$x\r\n', b'*1\r\nPING\r\n', b'*2\r\n\r\n',
                     b'"\r\n', b'SET "a\r\n', b"'a'b\r\n", b'x' * 70000,
                     b'PING\r\n*1\r\n!\r\nPING\r\n', command('GET', 'a') + b'*1\r\n$+1\r\n',
                     b'QUIT\r\nPING\r\n', b'PING\r\n\r\n*0\r\nQUIT\r\n'):
            with self.subTest(data=data[:30]):
                kv, redis = self.clients()
                for client in (kv, redis):
                    client.sendall(data)
                self.assertEqual(receive_all(kv), receive_all(redis))


class Works(KvTest):
    def test_expiry(self):
        """a key is gone when its time is over, and TTL tells how long it has"""
        ask = self.replies(self.client(self.serve()))
        self.assertEqual(ask('SET', 'a', '1', 'EX', '100'), b'+OK\r\n')
        self.assertIn(ask('TTL', 'a'), (b':100\r\n', b':99\r\n'))
        self.assertIn(int(ask('PTTL', 'a')[1:]), range(90_000, 100_001))
        self.assertEqual(ask('SET', 'a', '1', 'PX', '1'), b'+OK\r\n')
        wait_until(lambda: ask('GET', 'a') == b'$-1\r\n', 'the key is gone')
        self.assertEqual(ask('TTL', 'a'), b':-2\r\n')

    def test_memory_of_expired(self):
        """keys that nobody asks for again are erased, and their memory serves for others"""
        server = self.serve()
        client = self.client(server)
        ask = self.replies(client)
        first = None
        for turn in range(4):
            keys = [f'{turn}:{number}' for number in range(20000)]
            sender = sending(client, b''.join(command('SET', k, b'x' * 1000) for k in keys) +
                             b''.join(command('PEXPIRE', k, 1) for k in keys))
            self.assertEqual(receive(client, 5 * 20000), b'+OK\r\n' * 20000)
            self.assertEqual(receive(client, 4 * 20000), b':1\r\n' * 20000)
            sender.join()
            wait_until(lambda: ask('DBSIZE') == b':0\r\n', 'all are erased')
            first = first or server.resident()
        self.check_memory(server, first, 8, 'after 80,000 keys that expired')

    def test_one_piece(self):
        """the replies to a batch of commands leave in one piece"""
        client = self.client(self.serve())
        client.sendall(command('PING') * 100)
        self.assertEqual(client.recv(KIB), b'+PONG\r\n' * 100)

    def test_pub_sub(self):
        """messages reach all who listen, in order; PUBLISH counts them; who leaves gets no more"""
        server = self.serve()
        ask = self.replies(self.client(server))
        listeners = [self.replies(self.client(server)) for _ in range(3)]
        for number, listener in enumerate(listeners):
            self.assertIn(b'subscribe', listener('SUBSCRIBE', 'news'))
            self.assertEqual(ask('PUBLISH', 'news', number), b':%d\r\n' % (number + 1))
        self.assertEqual(ask('PUBLISH', 'weather', 'x'), b':0\r\n')
        for number, listener in enumerate(listeners):
            for message in range(number, 3):
                self.assertEqual(read_reply(listener.stream), b'*3\r\n' + b''.join(
                    bulk(b) for b in (b'message', b'news', b'%d' % message)))
        self.assertIn(b'unsubscribe', listeners[0]('UNSUBSCRIBE', 'news'))
        self.assertEqual(ask('PUBLISH', 'news', 'x'), b':2\r\n')
        self.assertEqual(listeners[0]('GET', 'x'), b'$-1\r\n')
        self.assertEqual(listeners[1]('QUIT')[:1], b'*')  # the message was before it
        wait_until(lambda: ask('PUBLISH', 'news', 'x') == b':1\r\n', 'the other is gone')
        self.assertIn(b'PSUBSCRIBE is not supported', listeners[0]('PSUBSCRIBE', 'n*'))

    def test_messages_of_a_batch(self):
        """messages that are published in one batch reach a subscriber in one piece"""
        server = self.serve()
        listener = self.client(server)
        ask = self.replies(listener)
        ask('SUBSCRIBE', 'a')
        with server.connect() as client:
            client.sendall(command('PUBLISH', 'a', 'x') * 100)
            receive(client, 400)
            message = b'*3\r\n' + bulk(b'message') + bulk(b'a') + bulk(b'x')
            self.assertEqual(listener.recv(64 * KIB), message * 100)

    def test_half_close(self):
        """after a half-close all replies come"""
        client = self.client(self.serve())
        client.sendall(command('SET', 'a', 'x' * 100) + command('GET', 'a') * 1000 + b'*1\r\n$4')
        client.shutdown(socket.SHUT_WR)
        self.assertEqual(receive_all(client), b'+OK\r\n' + bulk(b'x' * 100) * 1000)

    def test_trickle(self):
        """commands that arrive byte by byte are answered, as lines and as arrays"""
        client = self.client(self.serve())
        trickle(client, b'SET a "x y"\r\n' + command('GET', 'a') + b'get a\n')
        wanted = b'+OK\r\n' + bulk(b'x y') * 2
        self.assertEqual(receive(client, len(wanted)), wanted)

    def test_max_memory(self):
        """beyond --max-memory what makes the store grow is refused, and the rest goes on"""
        ask = self.replies(self.client(self.serve('--max-memory', '1')))
        found = [ask('SET', number, b'x' * 100_000) for number in range(12)]
        self.assertEqual(found[:10], [b'+OK\r\n'] * 10)
        self.assertTrue(found[11].startswith(b'-OOM '), found[11])
        for words in (('INCR', 'n'), ('MSET', 'a', 'b'), ('SET', '0', 'x')):
            self.assertTrue(ask(*words).startswith(b'-OOM '))
        self.assertEqual(ask('GET', 3), bulk(b'x' * 100_000))
        self.assertEqual(ask('DEL', *range(12)), b':11\r\n')
        self.assertEqual(ask('SET', '0', 'x'), b'+OK\r\n')


class Hostile(KvTest):
    def test_lengths(self):
        """lengths are not believed: an error that names the fault, the end, and no memory"""
        server = self.serve()
        self.assert_serves(server)
        before = server.resident()
        wrong = b'-ERR Protocol error: '
        for data, reply in ((b'*2147483647\r\n', b'invalid multibulk length'),
                            (b'*1048577\r\n', b'invalid multibulk length'),
                            (b'*1\r\n$-5\r\n', b'invalid bulk length'),
                            (b'*1\r\n$536870913\r\n', b'invalid bulk length'),
                            (b'*1\r\n$33554433\r\n', b'invalid bulk length'),
                            (b'*' + b'1' * 30, b'invalid multibulk length'),
                            (b'*1\r\n$1\r\nab\r\n', b'expected CR LF behind a bulk')):
            with self.subTest(data=data):
                client = self.client(server)
                client.sendall(data)
                self.assertEqual(receive_all(client), wrong + reply + b'\r\n')
        waiting = [self.client(server) for _ in range(100)]
        for client in waiting:
            client.sendall(b'*1048576\r\n$33554432\r\n')
        self.assert_serves(server)
        self.check_memory(server, before, 8, '100 clients that announce 32 MiB')

    def test_command_without_end(self):
        """a command that never ends is refused at the limit, and its memory given back"""
        server = self.serve()
        self.check_flood(server, b'x' * 64 * KIB, 'a line without end')
        self.check_flood(server, b'*1048576\r\n' + b'$33554432\r\n' + b'x' * (32 * MIB) + b'\r\n',
                         'long words without end')
        client = self.client(server)
        sender = sending(client, b'*4\r\n' + bulk(b'x' * (32 * MIB)) * 4)
        self.assertEqual(receive_all(client), b'-ERR Protocol error: too big command\r\n')
        sender.join()
        self.assert_serves(server)

    def test_many_words(self):
        """a command of a million words is answered soon"""
        client = self.client(self.serve())
        sender = sending(client, command('EXISTS', *['x'] * ((1 << 20) - 1)))
        self.assertEqual(receive(client, 4), b':0\r\n')
        sender.join()

    def test_never_reads(self):
        """a client that asks and never reads is held back; later it gets every reply"""
        server = self.serve()
        before = server.resident()
        client = self.client(server, receive_buffer=8 * KIB)
        client.sendall(command('SET', 'a', b'x' * 1000))
        ask = command('GET', 'a')
        sent = flood(client, ask * 1000, 200 * MIB)
        self.assertLess(sent, 200 * MIB)
        self.check_memory(server, before, 16, f'{sent // KIB} KiB of commands, no reply read')
        self.check_rests(server)
        self.assert_serves(server)
        rest = -sent % len(ask)
        sender = sending(client, ask[len(ask) - rest:])
        wanted = b'+OK\r\n' + bulk(b'x' * 1000) * ((sent + rest) // len(ask))
        self.assertTrue(receive(client, len(wanted)) == wanted, 'not the replies')
        sender.join()

    def test_small_question_large_reply(self):
        """short commands with long replies, in one batch, cost no more than one reply"""
        server = self.serve()
        ask = self.replies(self.client(server))
        ask('SET', 'a', b'x' * (16 * MIB))
        before = server.resident()
        client = self.client(server, receive_buffer=8 * KIB)
        client.sendall(command('GET', 'a') * 10000)
        client.sendall(command('MGET', *['a'] * 1000))
        self.assert_serves(server)
        self.check_memory(server, before, 64, '160 GB of replies asked for')
        self.assertIn(b'ERR the reply has more than', ask('MGET', *['a'] * 1000))

    def test_subscriber_never_reads(self):
        """a subscriber that never reads is cut at its limit; the publisher goes on"""
        server = self.serve()
        ask = self.replies(self.client(server))
        good = self.client(server)
        self.replies(good)('SUBSCRIBE', 'a')
        bad = self.client(server, receive_buffer=8 * KIB)
        bad.sendall(command('SUBSCRIBE', 'a'))
        wait_until(lambda: ask('PUBLISH', 'a', '') == b':2\r\n', 'both listen')
        before, message = server.resident(), b'x' * MIB
        size = len(b'*3\r\n' + bulk(b'message') + bulk(b'a') + bulk(message))
        receive(good, len(b'*3\r\n' + bulk(b'message') + bulk(b'a') + bulk(b'')))
        count, peak = 0, 0
        while ask('PUBLISH', 'a', message) == b':2\r\n':
            count += 1
            self.assertEqual(len(receive(good, size)), size)
            peak = max(peak, server.resident())
            self.assertLess(count, 60, 'never cut')
        figure(f'cut after {count} MiB; {(peak - before) / MIB:.0f} MiB more at the peak')
        self.assertGreater(count, 30)
        wait_until(lambda: server.matches(re.compile('cut: reads too slowly')), 'a line tells it')
        self.assertEqual(len(receive(good, size)), size)
        self.check_memory(server, before, 24, 'after it was cut')
        self.assert_serves(server)

    def test_long_replies_and_no_reader(self):
        """who has a long reply waiting when it subscribes is cut as well"""
        server = self.serve()
        ask = self.replies(self.client(server))
        bad = self.client(server, receive_buffer=8 * KIB)
        bad.sendall(command('SUBSCRIBE', *['a'] * 500_000))
        wait_until(lambda: ask('PUBLISH', 'a', '') == b':1\r\n', 'it listens')
        before = server.resident()
        for _ in range(60):
            if ask('PUBLISH', 'a', b'x' * MIB) == b':0\r\n':
                break
        else:
            self.fail('never cut')
        self.check_memory(server, before, 24, 'after it was cut')

    def test_quit_after_long_replies(self):
        """QUIT: a client that reads slowly gets all replies before the end"""
        client = self.client(self.serve())
        ask = self.replies(client)
        ask('SET', 'a', b'x' * (16 * MIB))
        client.sendall(command('GET', 'a') + command('QUIT') + command('GET', 'a'))
        time.sleep(1.5)  # the story: longer than a peer that broke the rules is waited for
        self.assertEqual(len(receive_all(client)), len(bulk(b'x' * (16 * MIB))) + len('+OK\r\n'))

    def test_many_channels(self):
        """a client has so many channels, and names so long, and no more"""
        server = self.serve()
        before = server.resident()
        ask = self.replies(self.client(server))
        for number in range(1000):
            ask('SUBSCRIBE', b'%01024d' % number)
        for name in ('one more', b'x' * 1025):
            self.assertIn(b'-ERR a client has at most 1000 channels', ask('SUBSCRIBE', name))
        self.assertIn(b':1000', ask('SUBSCRIBE', b'%01024d' % 7))
        self.check_memory(server, before, 8, '1000 channels')

    def test_browser(self):
        """a form that a browser sends is not taken for commands"""
        server = self.serve()
        for head in (b'POST / HTTP/1.1\r\n', b'GET / HTTP/1.1\r\nHost: here\r\n'):
            client = self.client(server)
            client.sendall(head + b'Accept: */*\r\n\r\nSET evil 1\r\n')
            try:
                self.assertNotIn(b'OK', receive_all(client))
            except ConnectionResetError:
                pass
        self.assertEqual(self.ask(server, 'EXISTS', 'evil'), b':0\r\n')

    def test_resets(self):
        """resets in the middle of anything leave nothing behind"""
        server = self.serve()
        idle = server.descriptors()
        self.assertEqual(self.ask(server, 'SET', 'a', b'x' * 100_000), b'+OK\r\n')
        self.check_resets(server, idle, [
            lambda client: None,
            lambda client: client.sendall(b'*2\r\n$3\r\nGE'),
            lambda client: client.sendall(command('GET', 'a') * 100),
            lambda client: client.sendall(command('SUBSCRIBE', 'a', 'b')),
            lambda client: client.sendall(command('SUBSCRIBE', 'a') + command('QUIT')),
            lambda client: client.sendall(command('PUBLISH', 'a', 'x') * 100)])
        wait_until(lambda: self.ask(server, 'PUBLISH', 'a', 'x') == b':0\r\n', 'none listens')

    def test_noise(self):
        """random bytes end a connection at most"""
        server = self.serve()
        seed = int(os.environ.get('RUNG_TEST_SEED', random.randrange(1 << 31)))
        figure(f'RUNG_TEST_SEED={seed}')
        pick = random.Random(seed)
        good = command('SET', 'a', 'b') + command('SUBSCRIBE', 'c') + b'PING "x"\r\n'
        for _ in range(300):
            noise = bytearray(good * 3)
            for _ in range(pick.randrange(1, 6)):
                noise[pick.randrange(len(noise))] = pick.choice(b'*$\r\n0159-"\x00\xff')
            with server.connect() as client:
                client.sendall(bytes(noise))
                client.shutdown(socket.SHUT_WR)
                try:
                    receive_all(client)
                except ConnectionResetError:
                    pass
        self.assert_serves(server)

    def test_stop(self):
        """SIGTERM with subscribers, and with a client that does not read: exit 0"""
        server = self.serve()
        self.replies(self.client(server))('SUBSCRIBE', 'a')
        client = self.client(server, receive_buffer=8 * KIB)
        client.sendall(command('SET', 'a', b'x' * MIB) + command('GET', 'a') * 10)
        receive(client, 5)
        begin = time.monotonic()
        server.signal(15)
        self.assertEqual(server.wait(8 * SLOW), 0, server.tail())
        figure(f'ended in {time.monotonic() - begin:.1f} s')


if __name__ == '__main__':
    server_process.main('kv')
