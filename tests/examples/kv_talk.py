#!/usr/bin/env python3
"""What goes over the wire: kv_talk.py PATH_OF_KV COMMAND...

Starts the server, sends each command as redis-cli does, and shows the bytes in both directions; a
COMMAND that begins with '=' goes as it stands behind that, with its \\r\\n.
"""

import shlex
import socket
import subprocess
import sys

from kv_test import command, read_reply


def main():
    program, *lines = sys.argv[1:]
    try:
        server = subprocess.Popen([program, '--port', '0'], stdout=subprocess.PIPE, text=True,
                                  stderr=subprocess.DEVNULL)
    except OSError as error:
        sys.exit(f'kv_talk.py: {program}: {error.strerror}')
    try:
        port = int(server.stdout.readline().rpartition(':')[2])
        for line in lines:
            with socket.create_connection(('127.0.0.1', port), timeout=10) as client:
                sent = command(*shlex.split(line))
                if line.startswith('='):
                    sent = line[1:].encode().decode('unicode_escape').encode()
                client.sendall(sent)
                print('client', repr(sent)[2:-1])
                print('server', repr(read_reply(client.makefile('rb')))[2:-1])
    finally:
        server.terminate()
        server.wait()


if __name__ == '__main__':
    main()
