#!/usr/bin/env python3
"""What a server `pulse` promises: client.py PATH-OF-SERVER"""

import pathlib
import sys
import time

sys.dont_write_bytecode = True  # no __pycache__ among the exercises
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import checks  # noqa: E402

LATE = 1 + checks.PATIENCE  # a silent client is closed by then


def talk(server):
    """a client gets back what it sends"""
    client = server.connect()
    for number in range(100):
        client.send(b'pulse %d\n' % number)
        client.expect(b'pulse %d\n' % number)


def leaving_clients(server):
    """clients that leave do not disturb the others"""
    stays = server.connect()
    for _ in range(10):
        server.connect().close()
        leaves = server.connect()
        leaves.send(b'unread')
        leaves.reset()
        stays.send(b'still here')
        stays.expect(b'still here')


def expect_silent_end(client, since):
    client.expect_end('after a second of silence', LATE)
    after = time.monotonic() - since
    if after < 0.8:
        raise checks.Failed('the end after a second of silence', f'it came after {after:.2f} s')


def silence(server):
    """clients that say nothing are closed after a second"""
    begin = time.monotonic()
    for client in [server.connect() for _ in range(5)]:
        expect_silent_end(client, begin)


def newcomer(server):
    """a newcomer has its own second, also if it follows one who has left"""
    leaves = server.connect()
    time.sleep(0.4)
    leaves.close()
    client = server.connect()  # has the descriptor of the one before
    client.expect_silence(0.7, 'in 0.7 s')


def keep_talking(clients, seconds):
    """Each of the (client, interval) sends again and again."""
    end = time.monotonic() + seconds
    due = [time.monotonic()] * len(clients)
    while time.monotonic() < end:
        for at, (client, interval) in enumerate(clients):
            if time.monotonic() < due[at]:
                continue
            due[at] = time.monotonic() + interval
            client.send(b'alive')
            client.expect(b'alive')
        time.sleep(0.01)


def active(server):
    """a client that speaks many times a second keeps its place, and so does one that speaks every
    0.6 s"""
    keep_talking([(server.connect(), 0.03), (server.connect(), 0.6)], 3)


def falls_silent(server):
    """a client that has spoken for long and then says nothing is closed after a second, and no other
    with it"""
    client, other = server.connect(), server.connect()
    keep_talking([(client, 0.1), (other, 0.1)], 2.5)
    begin = time.monotonic()
    keep_talking([(other, 0.1)], 0.7)
    expect_silent_end(client, begin)
    other.send(b'me too')
    other.expect(b'me too')


checks.main([talk, leaving_clients, silence, newcomer, active, falls_silent])
