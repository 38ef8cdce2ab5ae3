"""Runs a program on a terminal, as a user who types."""

import os
import pty
import select
import signal


def run(test, command, keys, prompt=b'Enter:'):
    """Types `keys` once the program asks. Its exit status and what it shows."""
    try:
        process, terminal = pty.fork()
    except OSError as error:
        test.skipTest(f'no pseudo-terminal here: {error}')
    if process == 0:
        os.environ['TERM'] = 'dumb'
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a job of a shell ignores it
        os.execv(command[0], command)
    shown, typed = b'', False
    while True:
        if not select.select([terminal], [], [], 1)[0]:
            # A Ctrl-C between the prompt and the read is only noticed after the read.
            if typed and keys == b'\x03':
                os.write(terminal, keys)
            continue
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # how a terminal says that the other side has gone
            break
        shown += piece
        # Not before it asks: Ctrl-C would end it while it starts.
        if not typed and prompt in shown:
            os.write(terminal, keys)
            typed = True
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), shown.decode()
