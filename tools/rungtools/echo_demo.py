"""Shows the echo server at work: echo_demo.py PATH_OF_ECHO

Starts the server, talks to it over five connections that are open at the same time (nc and socat
where they are installed, Python's sockets for the rest), shows what went over the wire in both
directions and which loop served each connection, then ends the server with SIGTERM. Exits 0 when
every byte came back and the server ended with status 0.
"""

import hashlib
import os
import random
import re
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

PATIENCE = 10  # seconds for any one thing to happen
BULK = 10 * 1024 * 1024


def say(text):
    print('==>', text, flush=True)


def show(who, direction, data):
    text = data.decode('utf-8', 'replace').rstrip('\n')
    print(f'    {who:<18} {direction} {text}', flush=True)


class Server:
    """The server process; a thread of its own shows and keeps what it writes on stderr."""

    def __init__(self, path, *arguments):
        say('Starting ' + ' '.join([os.path.relpath(path), *arguments]))
        self.process = subprocess.Popen(
            [path, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE)
        self.lines = []
        self.changed = threading.Condition()
        line = self._first_line()
        show('server', '|', line)
        self.port = int(line.decode().rpartition(':')[2])
        self.reader = threading.Thread(target=self._read_log, daemon=True)
        self.reader.start()

    def _first_line(self):
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            line = self.process.stdout.readline() if selector.select(PATIENCE) else b''
        if not line.startswith(b'listening on '):
            self.process.kill()
            raise RuntimeError(f'the server did not start; it said {self.process.stderr.read()!r}')
        return line

    def _read_log(self):
        for line in self.process.stderr:
            show('server', '|', line)
            with self.changed:
                self.lines.append(line.decode('utf-8', 'replace'))
                self.changed.notify_all()

    def wait_for(self, pattern, times):
        """The matches of `pattern` in the log, once there are `times` of them."""
        with self.changed:
            def found():
                return [m for m in (re.search(pattern, line) for line in self.lines) if m]
            if not self.changed.wait_for(lambda: len(found()) >= times, PATIENCE):
                raise RuntimeError(f'the server never logged "{pattern}" {times} times')
            return found()

    def end(self):
        say('Ending the server with SIGTERM')
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(PATIENCE)
        self.reader.join(PATIENCE)
        show('server', '|', f'exit status {status}'.encode())
        return status


class ProgramClient:
    """A program that copies its stdin to the server and the server's answers to its stdout."""

    def __init__(self, port, name):
        self.name = name
        command = {'nc': ['nc', '127.0.0.1', str(port)],
                   'socat': ['socat', '-', f'TCP:127.0.0.1:{port}']}[name]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)

    def exchange(self, line):
        self.process.stdin.write(line)
        answer = b''
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while len(answer) < len(line) and selector.select(PATIENCE):
                piece = self.process.stdout.read(len(line) - len(answer))
                if not piece:
                    break
                answer += piece
        return answer

    def close(self):
        self.process.terminate()
        self.process.wait(PATIENCE)
        self.process.stdin.close()
        self.process.stdout.close()


class SocketClient:
    name = 'Python'

    def __init__(self, port):
        self.socket = socket.create_connection(('127.0.0.1', port), PATIENCE)

    def exchange(self, data):
        """Sends from a thread, so that more goes through than the buffers on the way can hold."""
        sender = threading.Thread(target=self.socket.sendall, args=[data])
        sender.start()
        answer = bytearray()
        while len(answer) < len(data):
            piece = self.socket.recv(1 << 16)
            if not piece:
                break
            answer += piece
        sender.join(PATIENCE)
        return bytes(answer)

    def close(self):
        self.socket.close()


def demonstrate(server):
    clients, served = [], []
    programs = [name for name in ('nc', 'socat') if shutil.which(name)]
    say('Five connections, open at the same time')
    for number in range(1, 6):
        program = programs.pop(0) if programs else None
        client = ProgramClient(server.port, program) if program else SocketClient(server.port)
        clients.append(client)
        # One after the other, so that the newest line of the log is about the newest client.
        served.append(server.wait_for(r'(\S+:\d+) up on loop (\d+)', number)[-1])
        who = f'client {number} ({client.name})'
        question = f'hello from client {number}\n'.encode()
        show(who, '→', question)
        answer = client.exchange(question)
        show(who, '←', answer)
        if answer != question:
            raise RuntimeError(f'client {number} sent {question!r} and got {answer!r}')

    data = random.Random(1).randbytes(BULK)
    digest = hashlib.sha256(data).hexdigest()
    show('client 5 (Python)', '→', f'{len(data)} bytes, sha256 {digest[:16]}…'.encode())
    start = time.monotonic()
    answer = clients[-1].exchange(data)
    took = time.monotonic() - start
    digest = hashlib.sha256(answer).hexdigest()
    show('client 5 (Python)', '←',
         f'{len(answer)} bytes, sha256 {digest[:16]}… after {took * 1000:.0f} ms'.encode())
    if answer != data:
        raise RuntimeError('client 5 did not get back what it sent')

    say('The clients leave')
    for client in clients:
        client.close()
    down = server.wait_for(r'(\S+:\d+) down after (\d+) bytes on loop (\d+)', len(clients))
    echoed = {match[1]: match[2] for match in down}

    say('Which loop served whom (loop 0 accepts, and has no connections of its own here)')
    for number, (client, match) in enumerate(zip(clients, served), 1):
        print(f'    client {number} ({client.name}){"":<{8 - len(client.name)}}'
              f'{match[1]:<18} loop {match[2]}  {echoed.get(match[1], "?"):>9} bytes')


def main():
    try:
        server = Server(sys.argv[1], '--port', '0', '--threads', '2', '--verbose')
    except (OSError, RuntimeError) as error:
        print(f'echo_demo.py: {error}', file=sys.stderr)
        return 1
    try:
        demonstrate(server)
        status = server.end()
    except (OSError, RuntimeError, subprocess.TimeoutExpired) as error:
        print(f'echo_demo.py: {error}', file=sys.stderr)
        return 1
    finally:
        if server.process.poll() is None:
            server.process.kill()
    if status != 0:
        print(f'echo_demo.py: the server ended with status {status}', file=sys.stderr)
        return 1
    say('Done: every byte came back. To keep a server running: tools/run echo --port 9000')
    return 0


if __name__ == '__main__':
    sys.exit(main())
