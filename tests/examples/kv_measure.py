#!/usr/bin/env python3
"""Processor time a request of kv beside redis-server: kv_measure.py PATH_OF_KV ROUNDS [OPTION...]

The server has core 0, redis-benchmark core 1, and both servers run in turn, so that they meet the
same load of the machine. The time is user and system of the server, from /proc/PID/stat. Build kv
with --buildtype=release. Each OPTION goes to redis-benchmark, as -r 100000. Not a test.
"""

import contextlib
import os
import pathlib
import statistics
import subprocess
import sys
import time

from relay_measure import connect, free_port

CASES = [(test, pipeline) for pipeline in (1, 16) for test in ('set', 'get')]
REQUESTS = {1: 200_000, 16: 2_000_000}


@contextlib.contextmanager
def serving(*command):
    """A server on core 0, once it answers: its port and its pid."""
    port = free_port()
    server = subprocess.Popen(['taskset', '-c', '0', *command, '--port', str(port)],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        connect(port).close()
        yield port, server.pid
    finally:
        server.terminate()
        server.wait()


def cpu_seconds(pid):
    stat = pathlib.Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
    return (int(stat[11]) + int(stat[12])) / os.sysconf('SC_CLK_TCK')


def measure(port, pid, test, pipeline, options):
    """Microseconds of the server's processor time a request, and requests a second."""
    requests, before, begin = REQUESTS[pipeline], cpu_seconds(pid), time.monotonic()
    subprocess.run(['taskset', '-c', '1', 'redis-benchmark', '-p', str(port), '-t', test, '-q',
                    '-n', str(requests), '-P', str(pipeline), *options],
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    seconds = time.monotonic() - begin
    return (cpu_seconds(pid) - before) / requests * 1e6, requests / seconds


def main():
    program, rounds, options = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    redis = ['redis-server', '--save', '', '--appendonly', 'no']
    results = {case: [] for case in CASES}
    with serving(program) as kv, serving(*redis) as peer:
        for number in range(rounds):
            for case in CASES:
                servers = [kv, peer] if number % 2 == 0 else [peer, kv]
                found = {server: measure(*server, *case, options) for server in servers}
                results[case].append((*found[kv], *found[peer]))
    for (test, pipeline), rows in results.items():
        def median(of):
            return statistics.median(of(row) for row in rows)
        ratios = sorted(row[0] / row[2] for row in rows)
        print(f'{test} -P {pipeline:2}: processor {median(lambda row: row[0]):5.2f} us beside '
              f'{median(lambda row: row[2]):5.2f}, ratio {statistics.median(ratios):.2f} '
              f'({ratios[0]:.2f} to {ratios[-1]:.2f}); requests a second, ratio '
              f'{median(lambda row: row[1] / row[3]):.2f}')


if __name__ == '__main__':
    main()
