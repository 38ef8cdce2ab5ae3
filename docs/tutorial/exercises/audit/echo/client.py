#!/usr/bin/env python3
"""What a server `echo` promises: client.py PATH-OF-SERVER"""

import pathlib
import socket
import sys
import time

sys.dont_write_bytecode = True  # no __pycache__ among the exercises
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import checks  # noqa: E402


def served(server):
    """A client that the server has accepted."""
    client = server.connect()
    client.send(b'hello')
    client.expect(b'hello')
    return client


def talk(server):
    """a client gets back what it sends, message after message"""
    client = server.connect()
    for number in range(100):
        client.send(b'message %d\n' % number)
        client.expect(b'message %d\n' % number)


def one_after_another(server):
    """twenty clients that come one after another are all served"""
    clients = []
    for number in range(20):
        clients.append(server.connect())
        clients[-1].send(b'I am %d\n' % number)
        clients[-1].expect(b'I am %d\n' % number)
    for client in clients:
        client.send(b'again')
        client.expect(b'again')


def end_after_answer(server):
    """a client that has its answer and finishes gets the end"""
    client = server.connect()
    client.send(b'bye')
    client.expect(b'bye')
    client.finish()
    client.expect_end('after the client has finished')


def leaving_clients(server):
    """clients that leave, with or without a reset, do not disturb the others"""
    stays = served(server)
    for _ in range(10):
        server.connect().close()
        leaves = server.connect()
        leaves.send(b'unread')
        leaves.reset()
        stays.send(b'still here')
        stays.expect(b'still here')


def full_client(server):
    """a client that sends and does not read does not stop another one"""
    stuck, other = served(server), served(server)
    stuck.socket.setblocking(False)
    stuck.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
    block, until = bytes(1 << 16), time.monotonic() + 0.3
    while time.monotonic() < until:
        try:
            stuck.socket.send(block)
        except BlockingIOError:
            time.sleep(0.01)
    for _ in range(20):
        other.send(b'and me?')
        other.expect(b'and me?')


def no_work(server):
    """while nothing happens, the server uses no processor time"""
    served(server)
    before = server.processor_seconds()
    time.sleep(0.6)
    used = server.processor_seconds() - before
    if used > 0.05:
        raise checks.Failed('no more than 0.05 s of processor time in 0.6 s', f'it was {used:.2f} s')


def crowd(server):
    """ten clients that connect in one moment are all served"""
    with server.paused():  # so that the server finds all of them at once
        clients = [server.connect() for _ in range(10)]
        for number, client in enumerate(clients):
            client.send(b'I am %d\n' % number)
    for number, client in enumerate(clients):
        client.expect(b'I am %d\n' % number)


def much_at_once(server):
    """200,000 bytes that are sent at once come back"""
    client = served(server)
    data = b''.join(b'%9d\n' % number for number in range(20000))
    client.send(data)
    client.expect(data)


def bytes_and_end(server):
    """bytes and the end, in one moment: the bytes come back, and then the end"""
    client = served(server)
    with server.paused():
        client.send(b'last')
        client.finish()
    client.expect(b'last')
    client.expect_end('after the last bytes')


checks.main([talk, one_after_another, end_after_answer, leaving_clients, full_client, no_work,
             crowd, much_at_once, bytes_and_end])
