"""What the clients of the audit exercises share: a server of its own for each check, and the report.

A check is a function of one argument, the running server. Its docstring is the sentence that the
report prints. Each server is started with port 0 and ended with SIGTERM, by its process id.
RUNG_TEST_SLOW=N multiplies every wait.
"""

import contextlib
import os
import pathlib
import re
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

SLOW = float(os.environ.get('RUNG_TEST_SLOW', '1'))
PATIENCE = 2 * SLOW  # seconds for any one thing to happen
LIMIT = 14 * SLOW  # seconds for all checks together


class Failed(Exception):
    """A check does not hold."""

    def __init__(self, expected, came):
        super().__init__(f'expected {expected}, and {came}')
        self.expected = expected


class TimeIsOver(Exception):
    """All checks together have taken too long."""


def shown(data):
    """Bytes as text, the middle of long ones left out."""
    text = data.decode('latin-1').encode('unicode_escape').decode()
    return f'"{text}"' if len(data) <= 60 else f'"{text[:20]}…{text[-20:]}" ({len(data)} bytes)'


class Client:
    """One connection."""

    def __init__(self, address):
        try:
            self.socket = socket.create_connection(address, PATIENCE)
        except OSError as error:
            raise Failed('a connection', f'connect(2) failed: {error.strerror or error}') from error
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.stopped_by = ''

    def send(self, data):
        try:
            self.socket.sendall(data)
        except OSError as error:
            raise Failed(f'the server to take {shown(data)}',
                         f'send(2) failed: {error.strerror or error}') from error

    def finish(self):
        """Sends no more, and still receives."""
        self.socket.shutdown(socket.SHUT_WR)

    def close(self):
        self.socket.close()

    def reset(self):
        """Ends the connection with an RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        self.socket.close()

    def some(self, size, seconds=PATIENCE):
        """At most `size` bytes, empty if none came. `stopped_by` tells why none came."""
        self.socket.settimeout(max(seconds, 0.001))
        self.stopped_by = 'the end of the connection'
        try:
            return self.socket.recv(size)
        except socket.timeout:
            self.stopped_by = f'nothing for {seconds:.1f} s'
        except OSError as error:
            self.stopped_by = f'an error: {error.strerror or error}'
        return b''

    def receive(self, size):
        """`size` bytes, or fewer if no more come."""
        data, deadline = b'', time.monotonic() + PATIENCE
        while len(data) < size and time.monotonic() < deadline:
            more = self.some(size - len(data))
            if not more:
                break
            data += more
        return data

    def expect(self, wanted):
        """Exactly these bytes come next."""
        data = self.receive(len(wanted))
        if data == wanted:
            return
        came = shown(data) + ' came'
        if not data:
            came = self.stopped_by + ' came'
        elif len(data) < len(wanted):
            came += ', then ' + (self.stopped_by or 'no more in time')
        raise Failed(shown(wanted), came)

    def expect_line(self):
        """The next line, without its end."""
        data = b''
        while not data.endswith(b'\n'):
            byte = self.some(1)
            if not byte:
                raise Failed('a whole line', f'{shown(data)} and then {self.stopped_by} came')
            data += byte
        return data[:-1]

    def expect_silence(self, seconds, when):
        data = self.some(4096, seconds)
        if data or not self.stopped_by.startswith('nothing'):
            raise Failed(f'nothing {when}', (shown(data) if data else self.stopped_by) + ' came')

    def expect_silence_or_end(self, seconds):
        data = self.some(4096, seconds)
        if data:
            raise Failed('no answer', f'{shown(data)} came')

    def expect_end(self, when, seconds=PATIENCE):
        """The server has ended the connection; a reset will do."""
        data = self.some(4096, seconds)
        if data or self.stopped_by.startswith('nothing'):
            raise Failed(f'the end of the connection {when}',
                         (shown(data) if data else self.stopped_by) + ' came')


class Server:
    """The server under test, as a process."""

    def __init__(self, program, environment):
        self.clients = []
        self.errors = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [program], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.errors,
            env={**os.environ, **environment})
        self.pid = self.process.pid
        self.stopped = False

    def listen(self):
        """Waits for the server's first line."""
        line, deadline = b'', time.monotonic() + PATIENCE * 2
        while not line.endswith(b'\n'):
            readable, _, _ = select.select([self.process.stdout], [], [],
                                           max(0, deadline - time.monotonic()))
            byte = os.read(self.process.stdout.fileno(), 1) if readable else b''
            if not byte:
                break
            line += byte
        match = re.fullmatch(rb'listening on 127\.0\.0\.1:(\d+)\n', line)
        if not match:
            raise Failed('"listening on 127.0.0.1:PORT"', f'{shown(line)} came')
        self.address = '127.0.0.1', int(match[1])

    def connect(self):
        client = Client(self.address)
        self.clients.append(client)
        return client

    @contextlib.contextmanager
    def paused(self):
        """The server does not run meanwhile, as if the machine were busy with something else."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            while self._stat()[0] not in 'TZ':
                time.sleep(0.001)
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def _stat(self):
        """The fields of proc(5) from the state on."""
        return pathlib.Path(f'/proc/{self.pid}/stat').read_text().rpartition(')')[2].split()

    def processor_seconds(self):
        return sum(map(int, self._stat()[11:13])) / os.sysconf('SC_CLK_TCK')

    def memory(self, name):
        """A size in bytes: 'VmHWM', the most memory that was in use, or 'VmSize'."""
        status = pathlib.Path(f'/proc/{self.pid}/status').read_text()
        match = re.search(rf'{name}:\s+(\d+) kB', status)
        return int(match[1]) * 1024 if match else 0

    def may_map(self, size):
        """The server gets at most `size` bytes of memory more: a fault must not use up the machine."""
        most = self.memory('VmSize') + size
        resource.prlimit(self.pid, resource.RLIMIT_AS, (most, most))

    def said(self):
        """All that the server has written to stderr."""
        self.errors.seek(0)
        return self.errors.read().decode(errors='replace')

    def death(self, seconds=0.3):
        """How the server has ended by itself, or an empty text."""
        if self.stopped:
            return ''
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return ''
        how = f'died by {signal.Signals(-status).name}' if status < 0 else (
            f'ended by itself with status {status}')
        return f'the server {how}{self.last_words()}'

    def last_words(self):
        """The last line on stderr, or a sanitizer's first summary; in quotes and brackets."""
        lines = [line.strip() for line in self.said().splitlines() if line.strip()]
        summaries = [line for line in lines if line.startswith('SUMMARY:')]
        return f' ("{(summaries[:1] or lines[-1:])[0]}")' if lines else ''

    def stop(self):
        """SIGTERM ends the server with status 0."""
        death = self.death(0)
        if death:
            raise Failed('the server to run on', death)
        if self.stopped:
            return
        self.stopped = True
        self.process.terminate()
        try:
            status = self.process.wait(PATIENCE * 2)
        except subprocess.TimeoutExpired:
            raise Failed('the server to end on SIGTERM', 'it still runs') from None
        if status != 0:
            how = f'it died by {signal.Signals(-status).name}' if status < 0 else f'it was {status}'
            raise Failed('exit status 0 after SIGTERM', how + self.last_words())

    def clean_up(self):
        for client in self.clients:
            client.close()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.errors.close()


def why_not(check, program, environment):
    """Runs one check. Returns an empty text if it holds."""
    server = Server(program, environment)
    try:
        server.listen()
        check(server)
        server.stop()
        return ''
    except Failed as failed:
        death = server.death()
        return f'expected {failed.expected}, and {death}' if death else str(failed)
    finally:
        server.clean_up()


def time_is_over(_signal, _frame):
    raise TimeIsOver


def main(all_checks, environment=None):
    """Runs the checks one after another and exits: 0 if all hold, 1 if one does not, 2 for bad use."""
    if len(sys.argv) != 2 or not os.access(sys.argv[1], os.X_OK) or os.path.isdir(sys.argv[1]):
        print(f'usage: {sys.argv[0]} PATH-OF-SERVER    (a program that can be run)', file=sys.stderr)
        sys.exit(2)
    program = os.path.abspath(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # through all `finally`
    signal.signal(signal.SIGALRM, time_is_over)
    signal.setitimer(signal.ITIMER_REAL, LIMIT)
    good, over = True, False
    for check in all_checks:
        why = f'expected all checks within {LIMIT:g} s, and there was no time left'
        if not over:
            try:
                why = why_not(check, program, environment or {})
            except TimeIsOver:
                over = True
        sentence = ' '.join(check.__doc__.split())
        print(f'not ok - {sentence}: {why}' if why else f'ok - {sentence}', flush=True)
        good = good and not why
    sys.exit(0 if good else 1)
