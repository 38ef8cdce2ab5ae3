#!/usr/bin/env python3
"""Measures the file server. Not a test.

Memory with many clients that do not read, then the time in which all read:
    file_transfer_measure.py PATH_OF_FILE_TRANSFER MIB CLIENTS WAY...
Its time of the processor for a download, divided by nginx's; each server on core 0, the client on
core 1, in turn, so many rounds:
    file_transfer_measure.py PATH_OF_FILE_TRANSFER MIB nginx ROUNDS
"""

import os
import pathlib
import re
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import time

from relay_measure import connect, free_port


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


NGINX = """daemon off; master_process off; worker_processes 1; pid {0}/pid; error_log {0}/error;
events {{}}
http {{ access_log off; sendfile on; tcp_nopush on; sendfile_max_chunk 2m;
    server {{ listen 127.0.0.1:{1}; root {0}; }} }}
"""


def processor_seconds(pid, port, path):
    """What four downloads take of the server."""
    def taken():
        return int(pathlib.Path(f'/proc/{pid}/schedstat').read_text().split()[0]) / 1e9

    before, room = taken(), bytearray(1 << 20)
    for _ in range(4):
        with socket.create_connection(('127.0.0.1', port)) as client:
            client.sendall(b'GET /%s HTTP/1.0\r\n\r\n' % os.path.basename(path).encode())
            count = 0
            while size := client.recv_into(room):
                count += size
        assert count >= os.path.getsize(path), count
    return taken() - before


def against_nginx(program, path, rounds):
    port = free_port()
    config = path + '.conf'
    pathlib.Path(config).write_text(NGINX.format(os.path.dirname(path), port))
    os.sched_setaffinity(0, {0})
    rung = subprocess.Popen([program, '--file', path, '--how', 'sendfile'], stdout=subprocess.PIPE,
                            text=True)
    nginx = subprocess.Popen(['nginx', '-c', config])
    os.sched_setaffinity(0, {1})
    try:
        rung_port, ratios = int(rung.stdout.readline().rpartition(':')[2]), []
        connect(port).close()  # once nginx listens
        for _ in range(rounds):
            ours = processor_seconds(rung.pid, rung_port, path)
            ratios.append(ours / processor_seconds(nginx.pid, port, path))
        print(f'rung / nginx: median {statistics.median(ratios):.2f} of {rounds} rounds, '
              f'{min(ratios):.2f} to {max(ratios):.2f}')
    finally:
        for server in (rung, nginx):
            server.terminate()
            server.wait()


def main():
    program, mebibytes, clients, ways = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4:]
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)  # nginx is nobody
        path = os.path.join(directory, 'file')
        with open(path, 'wb') as file:
            for _ in range(mebibytes):
                file.write(os.urandom(1 << 20))
        if clients == 'nginx':
            return against_nginx(program, path, int(ways[0]))
        for how in ways:
            measure(program, how, path, int(clients))


if __name__ == '__main__':
    main()
