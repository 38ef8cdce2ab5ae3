#!/usr/bin/env python3
"""What a server `ticker` promises: client.py PATH-OF-SERVER, which is built with -fsanitize=thread"""

import os
import pathlib
import re
import sys
import time

sys.dont_write_bytecode = True  # no __pycache__ among the exercises
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import checks  # noqa: E402


def number(client):
    """The N of the next line."""
    line = client.expect_line()
    match = re.fullmatch(rb'tick (\d+)', line)
    if not match:
        raise checks.Failed('a line "tick N"', f'{checks.shown(line)} came')
    return int(match[1])


def expect_ticks(client, count):
    """Lines whose numbers grow by one. Returns the last number."""
    last = number(client)
    for _ in range(count - 1):
        wanted, last = last + 1, number(client)
        if last != wanted:
            raise checks.Failed(f'"tick {wanted}"', f'"tick {last}" came')
    return last


def ticks(server):
    """a client gets lines whose numbers grow by one"""
    expect_ticks(server.connect(), 40)


def same_ticks(server):
    """ten clients get the same lines"""
    clients = [server.connect() for _ in range(10)]
    last = max(number(client) for client in clients)
    for client in clients:
        while number(client) <= last:
            pass
        expect_ticks(client, 10)


def leaving_clients(server):
    """clients that leave do not disturb one that stays"""
    stays = server.connect()
    expect_ticks(stays, 1)
    others = [server.connect() for _ in range(10)]
    for other in others:
        expect_ticks(other, 2)
    for other in others[::2]:
        other.close()
    for other in others[1::2]:
        other.reset()
    expect_ticks(stays, 20)


def too_many(server):
    """a hundred clients are served; one more is closed, and has a place when another one has left"""
    clients = [server.connect() for _ in range(100)]
    for client in clients:
        expect_ticks(client, 2)
    server.connect().expect_end('for the client number 101')
    clients[50].reset()
    expect_ticks(clients[99], 30)
    expect_ticks(server.connect(), 5)


def sides(report):
    """The two accesses of the first race in a report of ThreadSanitizer, each with its line."""
    found = []
    for access, frames in re.findall(r'^  (\S.* by .*):\n((?:    #.*\n)+)', report, re.MULTILINE)[:2]:
        places = re.findall(r' (\S+) (\S+:\d+)(?::\d+)? \(', frames)
        function, place = next((f for f in places if '/usr/' not in f[1]), ('?', '?'))
        access = re.sub(r' of size \d+ at \w+', '', access[0].lower() + access[1:])
        found.append(f'{access} in {function}, {os.path.basename(place)}')
    return ', and '.join(found)


def no_race(server):
    """while clients come and go, no thread changes what the other one uses (ThreadSanitizer)"""
    if b'__tsan_init' not in pathlib.Path(f'/proc/{server.pid}/exe').read_bytes():
        raise checks.Failed('a server built with -fsanitize=thread', 'this one is not')
    for _ in range(5):
        clients = [server.connect() for _ in range(20)]
        for client in clients:
            expect_ticks(client, 2)
        for client in clients:
            client.close()
        time.sleep(0.05)
    server.stop()
    report = server.said()
    if 'ThreadSanitizer' not in report:
        return
    print(report.strip('=\n').partition('=' * 18)[0], file=sys.stderr)  # the first one of them
    raise checks.Failed('no data race', f'there is one: {sides(report) or server.last_words()}')


# With reports the exit status would be another one in each check; the last one looks for them.
OPTIONS = {'TSAN_OPTIONS': os.environ.get('TSAN_OPTIONS', '') + ' exitcode=0'}

checks.main([ticks, same_ticks, leaving_clients, too_many, no_race], OPTIONS)
