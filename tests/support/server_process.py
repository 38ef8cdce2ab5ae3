"""What the tests of server programs share: the server as a process, and clients of it.

RUNG_TEST_SLOW=N multiplies every wait. RUNG_SANITIZED=1 leaves out what is said about memory, for
a sanitizer keeps memory of its own.
"""

import os
import pathlib
import re
import resource
import selectors
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest

import tap

SLOW = float(os.environ.get('RUNG_TEST_SLOW', '1'))
SANITIZED = os.environ.get('RUNG_SANITIZED', '') not in ('', '0')
PATIENCE = 10 * SLOW  # seconds for any one thing to happen
KIB, MIB = 1024, 1024 * 1024

LOG_LINE = re.compile(
    r'\d{8} \d\d:\d\d:\d\d\.\d{6}Z +(?P<thread>\d+) (?P<level>[A-Z]+) +(?P<text>.*)'
    r' - \S+\.(cc|h):\d+')
UP = re.compile(r'(?P<peer>\S+:\d+) up on loop (?P<loop>\d+)')
DOWN = re.compile(r'(?P<peer>\S+:\d+) down after (?P<bytes>\d+) bytes on loop (?P<loop>\d+)')


def wait_until(true, what, patience=PATIENCE):
    """Asks again and again, as there is nothing that would tell: another process changes it."""
    deadline = time.monotonic() + patience
    while not true():
        if time.monotonic() > deadline:
            raise AssertionError(f'not within {patience:g} s: {what}')
        time.sleep(0.01)


def is_over(pid):
    """Whether a process is gone, or waits to be collected by whoever has inherited it."""
    try:
        stat = pathlib.Path(f'/proc/{pid}/stat').read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat.rpartition(')')[2].split()[0] == 'Z'


def needs_descriptors(test, count):
    """Skips a test whose client or server may not have as many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        test.skipTest(f'a process may have {hard} descriptors here, {count} are needed')
    if soft != resource.RLIM_INFINITY and soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


class Server:
    """A process that runs `program`, which announces itself in its first line on stdout.

    `case` ends it: with SIGTERM, and exit status 0 is expected. `descriptors` is how many of them
    the process may have. `prefix` is a command that becomes the program, and `pass_fds` are what it
    inherits. `path` is where a server on a Unix-domain socket listens, in place of host and port;
    `before` runs when the process is there, and before it has announced itself.
    """

    def __init__(self, case, program, *arguments, descriptors=None, prefix=(), pass_fds=(),
                 before=None):
        def limit():
            resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
        if '--port' not in arguments:
            arguments = ('--port', '0', *arguments)
        self.log_file = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [*prefix, program, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=self.log_file, preexec_fn=limit if descriptors else None, pass_fds=pass_fds)
        case.addCleanup(self._clean_up)
        self.pid = self.process.pid
        if before:
            before()
        self.announcement = self._first_line()
        self.path = None
        if self.announcement.startswith('listening on unix:'):
            self.path = self.announcement[len('listening on unix:'):-1].replace('@', '\0', 1)
            return
        match = re.fullmatch(r'listening on (\[[0-9a-f:]+\]|[0-9.]+):(\d+)\n', self.announcement)
        if not match:
            raise AssertionError(f'no good first line: {self.announcement!r}; log:\n{self.tail()}')
        self.host, self.port = match[1].strip('[]'), int(match[2])

    def _first_line(self):
        """By descriptor: a line that the server did not flush must not count as printed."""
        line, deadline = b'', time.monotonic() + PATIENCE
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while not line.endswith(b'\n'):
                if not selector.select(max(0, deadline - time.monotonic())):
                    break
                byte = os.read(self.process.stdout.fileno(), 1)
                if not byte:
                    break
                line += byte
        return line.decode()

    def connect(self, receive_buffer=None):
        if self.path:
            family, address = socket.AF_UNIX, self.path
        else:
            family = socket.AF_INET6 if ':' in self.host else socket.AF_INET
            address = self.host, self.port
        client = socket.socket(family)
        client.settimeout(PATIENCE)
        try:
            if receive_buffer:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            client.connect(address)
        except BaseException:
            client.close()
            raise
        return client

    def log_text(self):
        size = os.fstat(self.log_file.fileno()).st_size
        return os.pread(self.log_file.fileno(), size, 0).decode('utf-8', 'replace')

    def lines(self):
        return self.log_text().splitlines()

    def tail(self):
        return '\n'.join(self.lines()[-30:])

    def matches(self, pattern):
        return [m for m in (pattern.search(line) for line in self.lines()) if m]

    def wait_for_log(self, pattern, times):
        found = []

        def enough():
            found[:] = self.matches(pattern)
            return len(found) >= times
        wait_until(enough, f'{times} log lines with "{pattern.pattern}"')
        return found

    def descriptors(self):
        return len(os.listdir(f'/proc/{self.pid}/fd'))

    def resident(self):
        """Bytes of memory that are in use."""
        status = pathlib.Path(f'/proc/{self.pid}/status').read_text()
        return int(re.search(r'VmRSS:\s+(\d+) kB', status)[1]) * KIB

    def cpu_seconds(self):
        stat = pathlib.Path(f'/proc/{self.pid}/stat').read_text().rpartition(')')[2].split()
        return (int(stat[11]) + int(stat[12])) / os.sysconf('SC_CLK_TCK')

    def unread(self):
        """Bytes that wait in the kernel for the server to read them, on all connections."""
        total, port = 0, f':{self.port:04X}'
        for line in pathlib.Path('/proc/net/tcp').read_text().splitlines()[1:]:
            fields = line.split()
            if fields[1].endswith(port) and fields[3] != '0A':
                total += int(fields[4].partition(':')[2], 16)
        return total

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self, patience=PATIENCE):
        """The exit status; an AssertionError when it takes too long."""
        try:
            return self.process.wait(patience)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f'still running after {patience:g} s; log:\n{self.tail()}') from None

    def kill(self):
        self.process.kill()
        self.process.wait()

    def end(self):
        """Ends it as an operator would. It has nothing more to say on stdout."""
        self.signal(signal.SIGTERM)
        status = self.wait(5 + PATIENCE)
        rest = self.process.stdout.read()
        if status != 0 or rest:
            raise AssertionError(f'exit status {status}, stdout {rest!r}; log:\n{self.tail()}')

    def _clean_up(self):
        try:
            if self.process.poll() is None:
                self.end()
        finally:
            if self.process.poll() is None:
                self.kill()
            self.process.stdout.close()
            self.log_file.close()


def receive(client, size):
    """Exactly `size` bytes, or fewer when the server closed."""
    data = bytearray()
    while len(data) < size:
        piece = client.recv(min(size - len(data), 1 << 18))
        if not piece:
            break
        data += piece
    return bytes(data)


def receive_all(client):
    """All until the server closes."""
    data = bytearray()
    while piece := client.recv(1 << 18):
        data += piece
    return bytes(data)


def fill(client, limit):
    """Sends without reading, until nothing has gone out for a while. The number of bytes sent."""
    block = bytes(64 * KIB)
    sent, last = 0, time.monotonic()
    client.setblocking(False)
    while sent < limit and time.monotonic() - last < 0.5 * SLOW:
        try:
            sent += client.send(block)
            last = time.monotonic()
        except BlockingIOError:
            time.sleep(0.01)
    client.settimeout(PATIENCE)
    return sent


def reset(client):
    """Closes with RST instead of FIN."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    client.close()


class ServerTest(unittest.TestCase):
    """Tests of a program that echoes what it gets; main() says which program it is."""

    program = ''

    needs_descriptors = needs_descriptors

    def run_to_end(self, *arguments):
        """The program, for arguments with which it does not start to serve."""
        return subprocess.run(
            [self.program, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=PATIENCE, check=False)

    def serve(self, *arguments, verbose=True, **options):
        """A server, which logs when connections come and go."""
        arguments = (*arguments, '--verbose') if verbose else arguments
        return Server(self, self.program, *arguments, **options)

    def client(self, server, **options):
        client = server.connect(**options)
        self.addCleanup(client.close)
        return client

    def assert_serves(self, server):
        with server.connect() as client:
            client.sendall(b'still there?')
            self.assertEqual(receive(client, 12), b'still there?')

    def check_rests(self, server):
        """When it has done what there is to do, it does nothing."""
        def rests():
            busy = server.cpu_seconds()
            time.sleep(0.5)  # the story: nothing happens meanwhile
            return server.cpu_seconds() - busy < 0.1
        wait_until(rests, 'the server rests, and does not spin', 30 * SLOW)

    def assert_quiet(self, server, connections):
        """No errors, and no more than a line for the start and one for the end of each."""
        lines = server.lines()
        self.assertLessEqual(len(lines), 2 * connections + 4, server.tail())
        wrong = [line for line in lines if re.search(r'\b(ERROR|FATAL)\b', line)]
        self.assertEqual(wrong, [])


def main(group):
    """Runs the tests of the calling script against the program that its first argument names."""
    if len(sys.argv) < 2 or sys.argv[1].startswith('-'):
        sys.exit(f'usage: {sys.argv[0]} PATH_OF_PROGRAM [UNITTEST ARGUMENT...]')
    ServerTest.program = os.path.abspath(sys.argv[1])
    tap.Runner.group = group
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]], testRunner=tap.Runner)
