#!/usr/bin/env python3
"""Sends a file to `file-transfer --receive DIR`: upload.py [--name NAME] ADDRESS PORT FILE"""

import argparse
import hashlib
import os
import socket
import struct
import sys

PIECE = 1 << 20


def main():
    parser = argparse.ArgumentParser(description='Sends a file to file-transfer --receive DIR.')
    parser.add_argument('--name', help='what it is called there; by default as here')
    parser.add_argument('address')
    parser.add_argument('port', type=int)
    parser.add_argument('file')
    options = parser.parse_args()
    name = (options.name or os.path.basename(options.file)).encode()
    try:
        with open(options.file, 'rb') as file:
            digest, size = hashlib.sha256(), 0
            while piece := file.read(PIECE):
                digest.update(piece)
                size += len(piece)
            file.seek(0)
            answer = send(options, struct.pack('!H', len(name)) + name + struct.pack('!Q', size)
                          + digest.digest(), file, size)
    except (OSError, struct.error) as error:
        sys.exit(f'upload.py: {error}')
    if answer != 'ok\n':
        sys.exit(f'upload.py: {answer.strip() or "the server closed without a word"}')
    print(f'{options.file}: {size} bytes sent, SHA-256 {digest.hexdigest()}')


def send(options, header, file, size):
    """The server's answer."""
    with socket.create_connection((options.address, options.port)) as server:
        try:
            server.sendall(header)
            sent = 0
            while piece := file.read(PIECE):
                server.sendall(piece)
                sent += len(piece)
                if sys.stderr.isatty():
                    end = '\n' if sent >= size else ''
                    print(f'\r{100 * sent // size} %', end=end, file=sys.stderr, flush=True)
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused half-way: the answer says why
        return server.makefile().read()


if __name__ == '__main__':
    main()
