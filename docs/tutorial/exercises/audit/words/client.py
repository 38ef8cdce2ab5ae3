#!/usr/bin/env python3
"""What a server `words` promises: client.py PATH-OF-SERVER"""

import pathlib
import random
import sys
import time

sys.dont_write_bytecode = True  # no __pycache__ among the exercises
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import checks  # noqa: E402


def one_line(server):
    """each line is answered with the number of its words, one line after another"""
    client = server.connect()
    for line, words in ((b'one two three', b'3'), (b'', b'0'), (b'  spaces \t here  ', b'2'),
                        (b'x' * 999, b'1'), (b'end of line\r', b'3')):
        client.send(line + b'\n')
        client.expect(words + b'\n')


def two_clients(server):
    """two clients at a time get their own answers"""
    alice, bob = server.connect(), server.connect()
    for _ in range(20):
        alice.send(b'a a a a\n')
        bob.send(b'b b\n')
        bob.expect(b'2\n')
        alice.expect(b'4\n')


def leaving_clients(server):
    """clients that leave in the middle of a line do not disturb the others"""
    stays = server.connect()
    for _ in range(10):
        server.connect().close()
        leaves = server.connect()
        leaves.send(b'half of a li')
        leaves.reset()
        stays.send(b'still here\n')
        stays.expect(b'2\n')


def long_line(server):
    """a line of more than 1000 bytes closes its connection, and no other"""
    stays, client = server.connect(), server.connect()
    client.send(b'x' * 5000)
    client.expect_end('after 5000 bytes without the end of a line')
    client = server.connect()
    client.send(b'x' * 1000 + b'\n')
    client.expect_end('after a line of 1001 bytes')
    stays.send(b'I stay\n')
    stays.expect(b'2\n')


def many_lines_in_one_send(server):
    """three lines in one send are three lines"""
    client = server.connect()
    client.send(b'one\nand two\nand then three\n')
    client.expect(b'1\n2\n3\n')


def line_in_pieces(server):
    """a line that comes in pieces is one line"""
    client = server.connect()
    for piece in (b'one two th', b'ree', b' four'):
        client.send(piece)
        client.expect_silence(0.1, 'before the end of the line')
    client.send(b'\n')
    client.expect(b'4\n')


def any_pieces(server):
    """2000 lines, cut at places that have no meaning, are 2000 lines"""
    chance = random.Random(1)
    client = server.connect()
    lines = [b'word ' * chance.randrange(100) for _ in range(2000)]
    text = b'\n'.join(lines) + b'\n'
    wanted = b''.join(b'%d\n' % len(line.split()) for line in lines)
    while text:
        size = chance.choice((1, 10, 100, 1000, 10000))
        client.send(text[:size])
        text = text[size:]
        time.sleep(0.0005)
    client.expect(wanted)


def last_line(server):
    """a client that has finished sending gets its answer, and then the end"""
    client = server.connect()
    client.send(b'my last words\n')
    client.finish()
    client.expect(b'3\n')
    client.expect_end('after the last answer')


checks.main([one_line, two_clients, leaving_clients, long_line, last_line, many_lines_in_one_send,
             line_in_pieces, any_pieces])
