#!/usr/bin/env python3
"""What a server `mirror` promises: client.py PATH-OF-SERVER"""

import pathlib
import socket
import struct
import sys
import time

sys.dont_write_bytecode = True  # no __pycache__ among the exercises
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import checks  # noqa: E402

MIB = 1 << 20


def message(body):
    return struct.pack('!I', len(body)) + body


def ask(client, body):
    client.send(message(body))
    client.expect(message(body[::-1]))


def talk(server):
    """each message is answered with its body reversed, one message after another"""
    client = server.connect()
    for body in (b'hello', b'', b'x', b'\0\1\2\3\n', bytes(range(256)) * 16):
        ask(client, body)


def longest(server):
    """a body of 65,536 bytes, the longest, is answered"""
    client = server.connect()
    ask(client, bytes(range(256)) * 256)
    ask(client, b'and a short one')


def in_pieces(server):
    """a message that comes byte by byte is one message"""
    client = server.connect()
    for byte in message(b'slowly'):
        client.send(bytes([byte]))
        time.sleep(0.005)
    client.expect(message(b'ylwols'))


def many_in_one_send(server):
    """three messages in one send are three messages"""
    client = server.connect()
    client.send(message(b'abc') + message(b'') + message(b'defg'))
    client.expect(message(b'cba') + message(b'') + message(b'gfed'))


def leaving_clients(server):
    """clients that leave in the middle of a message do not disturb the others"""
    stays = server.connect()
    for part in range(1, 9):
        leaves = server.connect()
        leaves.send(message(b'half')[:part])
        if part % 2:
            leaves.reset()
        else:
            leaves.close()
        ask(stays, b'still here')


def full_client(server):
    """a client that sends and does not read does not stop another one"""
    stuck, other = server.connect(), server.connect()
    stuck.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
    stuck.socket.setblocking(False)
    rest, until = b'', time.monotonic() + 0.3
    while time.monotonic() < until:
        rest = rest or message(bytes(1 << 15))
        try:
            rest = rest[stuck.socket.send(rest):]
        except BlockingIOError:
            time.sleep(0.01)
    for _ in range(20):
        ask(other, b'and me?')


def claimed_memory(server):
    """a header that announces 64 MiB does not cost 64 MiB"""
    server.may_map(512 * MIB)
    ask(server.connect(), b'first')
    before = server.memory('VmHWM')
    client = server.connect()
    client.send(struct.pack('!I', 64 * MIB))
    client.expect_silence_or_end(0.2)
    ask(server.connect(), b'and another one')
    grown = server.memory('VmHWM') - before
    if grown > 4 * MIB:
        raise checks.Failed('less than 4 MiB for a header of four bytes',
                            f'the server has taken {grown // MIB} MiB')


def too_long(server):
    """a header that announces more than 65,536 bytes closes its connection, and no other"""
    server.may_map(512 * MIB)
    stays = server.connect()
    for length in (65537, 100000, 16 * MIB):
        client = server.connect()
        client.send(struct.pack('!I', length))
        client.expect_end(f'after a header that announces {length} bytes')
        ask(stays, b'I stay')


def gigabytes(server):
    """a header that announces gigabytes closes its connection, and no other"""
    server.may_map(512 * MIB)
    stays = server.connect()
    for length in (0x40000000, 0x7fffffff, 0x80000000, 0xf0000000):
        client = server.connect()
        client.send(struct.pack('!I', length))
        client.expect_end(f'after a header that announces {length} bytes')
        ask(stays, b'I stay')


def wraps(server):
    """so does one that announces nearly 2^32 bytes"""
    server.may_map(512 * MIB)
    stays = server.connect()
    for length in (0xffffffff, 0xfffffffe, 0xfffffffd, 0xfffffffc):
        client = server.connect()
        client.send(struct.pack('!I', length))
        client.expect_end(f'after a header that announces {length} bytes')
        ask(stays, b'I stay')


checks.main([talk, longest, in_pieces, many_in_one_send, leaving_clients, full_client,
             claimed_memory, too_long, gigabytes, wraps])
