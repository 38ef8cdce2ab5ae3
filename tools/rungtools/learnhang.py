"""What a test that does not end waits for, read from /proc, and from gdb where it is there."""

import os
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from .process import run

CALLS = {
    'x86_64': {0: 'read(2)', 1: 'write(2)', 7: 'poll(2)', 35: 'nanosleep(2)', 42: 'connect(2)', 45: 'recv(2)',
               61: 'wait(2)', 202: 'futex(2)', 230: 'nanosleep(2)', 232: 'epoll_wait(2)', 247: 'wait(2)',
               271: 'poll(2)', 281: 'epoll_wait(2)', 288: 'accept(2)'},
    'aarch64': {22: 'epoll_wait(2)', 63: 'read(2)', 64: 'write(2)', 73: 'poll(2)', 95: 'wait(2)',
                98: 'futex(2)', 115: 'nanosleep(2)', 203: 'connect(2)', 207: 'recv(2)', 242: 'accept(2)',
                260: 'wait(2)'},
}
OFTEN = 5  # clock ticks in BETWEEN seconds that a thread takes which never sleeps
BETWEEN = 0.2
GDB_LIMIT = 10.0
FRAMES = 4  # a thread


@dataclass
class ThreadState:
    process: int
    state: str
    call: str
    ticks: int


def threads(session):
    """{tid: its state} of all processes of a session."""
    found = {}
    for entry in Path('/proc').iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if os.getsid(int(entry.name)) != session:
                continue
            for task in (entry / 'task').iterdir():
                fields = (task / 'stat').read_text().rpartition(')')[2].split()
                found[int(task.name)] = ThreadState(int(entry.name), fields[0], call_of(task),
                                                    int(fields[11]) + int(fields[12]))
        except (OSError, ValueError):
            continue  # it has ended meanwhile
    return found


def call_of(task):
    """The system call in which a thread sleeps; '' if it does not, or may not be looked at."""
    try:
        number = (task / 'syscall').read_text().split()[0]
    except OSError:
        return ''
    calls = CALLS.get(os.uname().machine, {})
    return calls.get(int(number), f'system call {number}') if number.isdigit() else ''


def describe(session):
    """Lines for the learner about the processes of a session that does not end."""
    before = threads(session)
    time.sleep(BETWEEN)
    after = threads(session)
    spinning = [tid for tid in after if tid in before
                and after[tid].ticks - before[tid].ticks >= OFTEN]
    lines = sentences(after, spinning)
    return lines + [line for process in sorted({t.process for t in after.values()})
                    for line in stacks(process)]


def sentences(states, spinning):
    asleep = [state.call for tid, state in states.items() if tid not in spinning]
    if spinning:
        return [f'{count(len(spinning), "thread")} never slept: the code goes round and round '
                'without an end.']
    lines = []
    if 'epoll_wait(2)' in asleep:
        lines.append('The loop never returned from epoll_wait(2): no descriptor became ready, and nothing '
                     'has woken it.')
    waiting = asleep.count('futex(2)')
    if waiting and 'epoll_wait(2)' in asleep:
        lines.append(f'{count(waiting, "thread")} waited meanwhile for a mutex, a condition or another '
                     'thread (futex(2)).')
    elif waiting and waiting == len(asleep):
        lines.append(f'{count(waiting, "thread")} waited for a mutex, a condition or another thread '
                     '(futex(2)), and none was left that would have gone on: a deadlock, or nobody notified.')
    others = sorted({call for call in asleep if call and call not in ('futex(2)', 'epoll_wait(2)')})
    lines += [f'A thread waited in {call}.' for call in others]
    return lines or ['It did not end.']


def count(number, word):
    return f'One {word}' if number == 1 else f'{number} {word}s'


def stacks(process):
    """The lines of rung and of the test in which each thread stands; nothing without gdb."""
    if not shutil.which('gdb'):
        return []
    status, said = run(['gdb', '-p', str(process), '-batch', '-nx', '-ex', 'set debuginfod enabled off',
                        '-ex', 'thread apply all backtrace 30'], GDB_LIMIT)
    lines = []
    for thread in re.split(r'^Thread ', said, flags=re.M)[1:] if status == 0 else []:
        frames = re.findall(r'^#\d+\s+(?:0x\w+ in )?(.*?)\s*\(.*\) at (\S+:\d+)$', thread, re.M)
        own = [(name, Path(place).name) for name, place in frames if '/rung/' in place or '_test.cc' in place]
        if own:
            lines.append('    stands in ' + ' <- '.join(f'{name} ({place})' for name, place in own[:FRAMES]))
    return lines
