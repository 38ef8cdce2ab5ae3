"""How tools/bench runs a server with its client, and the other programs of bench/."""

import json
import os
import pathlib
import re
import selectors
import shutil
import signal
import subprocess
import tempfile

PATIENCE = 30  # seconds for a server to start or to end; under valgrind that takes a while


class Failed(Exception):
    """A program of the benchmark did not do what it should."""


class Programs:
    """Starts programs, and sees to it that none outlives this one."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        cores = sorted(os.sched_getaffinity(0))
        self.all_cores = set(cores)
        self.server_core, self.client_core = {cores[0]}, {cores[-1]}
        self.running = set()

    def start(self, command, cores, **options):
        # A session of its own: Ctrl-C comes to this program, which ends the others in order.
        process = subprocess.Popen(
            [str(part) for part in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            text=True, start_new_session=True,
            preexec_fn=lambda: os.sched_setaffinity(0, cores), **options)
        self.running.add(process)
        return process

    def run(self, command, cores, patience=600):
        """What the program prints."""
        process = self.start(command, cores, stderr=subprocess.PIPE)
        try:
            output, errors = process.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            self.end(process)
            raise Failed(f'{command[0]}: not done after {patience} s') from None
        self.running.discard(process)
        if process.returncode != 0:
            last = (errors.strip().splitlines() or [f'exit status {process.returncode}'])[-1]
            raise Failed(f'{" ".join(map(str, command))}: {last}')
        return output

    def end(self, process):
        """Ends a program by force, with what it has started."""
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        self.running.discard(process)

    def end_all(self):
        for process in list(self.running):
            self.end(process)

    def benchmark(self, name, test, seconds):
        """Nanoseconds an item of one Google benchmark."""
        output = self.run([self.directory / f'{name}-bench', '--benchmark_format=json',
                           f'--benchmark_filter=^{test}(/|$)', f'--benchmark_min_time={seconds}'],
                          self.all_cores)
        (result,) = json.loads(output)['benchmarks']
        if result.get('error_occurred'):
            raise Failed(f'{name}-bench: {test}: {result["error_message"]}')
        if 'items_per_second' in result:
            return 1e9 / result['items_per_second']
        return result['real_time'] * {'ns': 1, 'us': 1e3, 'ms': 1e6}[result['time_unit']]

    def tests(self, name):
        program = self.directory / f'{name}-bench'
        if not program.exists():
            return []
        return self.run([program, '--benchmark_list_tests'], self.all_cores).split()


class EchoServer:
    """A server process, pinned to the server's core. `wrapper` is what it runs under."""

    def __init__(self, programs, peer, wrapper=()):
        self.programs = programs
        name, *arguments = peer.split(' ')
        self.process = programs.start(
            [*wrapper, programs.directory / 'echo' / f'echo-{name}', '--port', '0', *arguments],
            programs.server_core, stderr=subprocess.DEVNULL if wrapper else None)
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            ready = selector.select(PATIENCE)
        line = self.process.stdout.readline() if ready else ''
        match = re.fullmatch(r'listening on 127\.0\.0\.1:(\d+)\n', line)
        if not match:
            programs.end(self.process)
            raise Failed(f'the {name} server did not start')
        self.port = match[1]

    def load(self, *arguments):
        """What the client says about it, and what the server itself says it used meanwhile."""
        output = self.programs.run(
            [self.programs.directory / 'echo' / 'load-client', '--port', self.port, *arguments],
            self.programs.client_core)
        return json.loads(output)

    def stop(self):
        """Ends it as its user would. Its accounting: what was used between the first and the last
        time that it was asked."""
        if self.process.poll() is None:
            os.kill(self._pid(), signal.SIGTERM)
        try:
            output, _ = self.process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.programs.end(self.process)
            raise Failed('the server does not end on SIGTERM') from None
        self.programs.running.discard(self.process)
        if self.process.returncode != 0:
            raise Failed(f'the server ended with status {self.process.returncode}')
        lines = [json.loads(line) for line in output.splitlines()]
        return {key: lines[-1][key] - lines[0][key] for key in lines[0]} if lines else {}

    def _pid(self):
        """Of the server itself: strace starts it as its child, valgrind turns into it."""
        pid = self.process.pid
        children = pathlib.Path(f'/proc/{pid}/task/{pid}/children').read_text().split()
        return int(children[0]) if children else pid


def serve(programs, peer, *load):
    """Client's and server's figures of one run."""
    server = EchoServer(programs, peer)
    try:
        seen = server.load('--server-pid', str(server.process.pid), *load)
    except BaseException:
        programs.end(server.process)
        raise
    return seen, server.stop()


def _counted(programs, peer, messages, wrapper, size):
    server = EchoServer(programs, peer, wrapper)
    try:
        server.load('--connections', '1', '--messages', str(messages), '--size', str(size))
    except BaseException:
        programs.end(server.process)
        raise
    server.stop()


def instructions(programs, peer, messages, size=64):
    """User-space instructions an echo, one at a time on one connection. Two runs, one twice as long
    as the other: start and end cost the same in both, and cancel."""
    def total(count):
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / 'callgrind.out'
            _counted(programs, peer, count, ['valgrind', '-q', '--tool=callgrind',
                                             f'--callgrind-out-file={file}'], size)
            return int(re.search(r'^(?:summary|totals): (\d+)', file.read_text(), re.M)[1])
    return (total(2 * messages) - total(messages)) / messages


def system_calls(programs, peer, messages, size=64):
    """System calls an echo, by name, in the same way."""
    def total(count):
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / 'strace.out'
            _counted(programs, peer, count, ['strace', '-c', '-f', '-U', 'calls,name', '-o',
                                             str(file)], size)
            found = re.findall(r'^ *(\d+) +(\w+)$', file.read_text(), re.M)
            return {name: int(calls) for calls, name in found}
    once, twice = total(messages), total(2 * messages)
    each = {name: (twice[name] - once.get(name, 0)) / messages for name in twice}
    return {name: calls for name, calls in each.items() if calls >= 0.001}


def available(tool):
    return shutil.which(tool) is not None
