#!/usr/bin/env python3
"""Throughput of relays, side by side: relay_measure.py MIB ROUNDS COMMAND...

Each COMMAND is a shell line that listens on $PORT and passes on to 127.0.0.1:$TO. Not a test.
"""

import os
import socket
import subprocess
import sys
import threading
import time

BLOCK = bytes(1 << 18)


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def connect(port):
    for _ in range(100):
        try:
            return socket.create_connection(('127.0.0.1', port))
        except OSError:
            time.sleep(0.05)
    sys.exit(f'nothing listens on port {port}')


def measure(command, mebibytes):
    """MiB a second, one way on one connection."""
    with socket.create_server(('127.0.0.1', 0)) as target:
        port = free_port()
        relay = subprocess.Popen(['sh', '-c', f'exec {command}'], env={
            **os.environ, 'PORT': str(port), 'TO': str(target.getsockname()[1])},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            with connect(port) as client:
                peer, _ = target.accept()
                begin = time.monotonic()

                def send():
                    for _ in range(mebibytes * 4):
                        client.sendall(BLOCK)
                    client.shutdown(socket.SHUT_WR)
                sender = threading.Thread(target=send)
                sender.start()
                count, room = 0, bytearray(1 << 18)
                while size := peer.recv_into(room):
                    count += size
                sender.join()
                peer.close()
                assert count == mebibytes << 20, count
                return mebibytes / (time.monotonic() - begin)
        finally:
            relay.kill()
            relay.wait()


def main():
    mebibytes, rounds, commands = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    results = {command: [] for command in commands}
    for _ in range(rounds):
        for command in commands:  # in turn, so that all meet the same load of the machine
            results[command].append(measure(command, mebibytes))
    for command, rates in results.items():
        rates.sort()
        print(f'{rates[len(rates) // 2]:7.0f} MiB/s ({rates[0]:.0f} to {rates[-1]:.0f})  {command}')


if __name__ == '__main__':
    main()
