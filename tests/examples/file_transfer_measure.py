#!/usr/bin/env python3
"""Memory of the file server with many clients that do not read, then the time in which all read:
file_transfer_measure.py PATH_OF_FILE_TRANSFER MIB CLIENTS WAY...     Not a test.
"""

import os
import pathlib
import re
import selectors
import socket
import subprocess
import sys
import tempfile
import time


def memory(pid):
    """MiB resident now."""
    status = pathlib.Path(f'/proc/{pid}/status').read_text()
    return int(re.search(r'VmRSS:\s+(\d+)', status)[1]) / 1024


def settled(pid):
    before = -1
    while (now := memory(pid)) != before:
        before = now
        time.sleep(0.5)
    return now


def measure(program, how, path, clients):
    server = subprocess.Popen([program, '--file', path, '--how', how, '--threads', '1'],
                              stdout=subprocess.PIPE, text=True)
    try:
        port = int(server.stdout.readline().rpartition(':')[2])
        empty = memory(server.pid)
        sockets = [socket.create_connection(('127.0.0.1', port)) for _ in range(clients)]
        stuck = settled(server.pid)
        begin, count, room = time.monotonic(), 0, bytearray(1 << 20)
        with selectors.DefaultSelector() as selector:
            for client in sockets:
                selector.register(client, selectors.EVENT_READ)
            while selector.get_map():
                for key, _ in selector.select():
                    size = key.fileobj.recv_into(room)
                    count += size
                    if size == 0:
                        selector.unregister(key.fileobj)
                        key.fileobj.close()
        seconds = time.monotonic() - begin
        assert count == clients * os.path.getsize(path), count
        print(f'{how:9} {stuck - empty:8.1f} MiB more with {clients} clients that do not read; '
              f'{seconds:5.1f} s until all have read', flush=True)
    finally:
        server.terminate()
        server.wait()


def main():
    program, mebibytes, clients, ways = (
        sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
    with tempfile.NamedTemporaryFile() as file:
        for _ in range(mebibytes):
            file.write(os.urandom(1 << 20))
        file.flush()
        for how in ways:
            measure(program, how, file.name, clients)


if __name__ == '__main__':
    main()
