"""The experiments of tools/bench: what is compared with what, and in which figure."""

import dataclasses
import json
import pathlib
import resource

from . import benchruns


@dataclasses.dataclass
class Metric:
    key: str
    label: str
    less_is_better: bool = True


@dataclasses.dataclass
class Experiment:
    """`measure(peer)` gives a figure for each metric; the first metric is the one compared."""
    name: str
    title: str
    base: str
    peers: list
    metrics: list
    measure: object
    subject: str = 'peer'
    group: str = ''  # experiments of one group differ in `size`, and share a plot
    size: int = 0
    slow: bool = False  # not in --quick unless asked for
    turns: int = 1  # how often in a round: more where one turn is short and the machine shows


CPU = Metric('cpu_us', 'CPU µs')
TIMER_STEPS = {'add': 'add one of N timers', 'cancel-in-order': 'cancel one of N, oldest first',
               'cancel-random': 'cancel one of N, in random order',
               'expire': 'run one of N that are due'}
SERVERS = ('raw', 'rung', 'asio', 'libevent', 'libuv')


def echoes(programs, quick):
    servers = [name for name in SERVERS
               if (programs.directory / 'echo' / f'echo-{name}').exists()]
    seconds = '0.3' if quick else '1'
    seen_metrics = [Metric('per_second', 'a second', False), Metric('p50_us', 'p50 µs'),
                    Metric('p99_us', 'p99 µs'), Metric('user_us', 'user µs')]

    def echo(*load):
        def measure(peer):
            seen, used = benchruns.serve(programs, peer, '--seconds', seconds, *load)
            count = seen['messages']
            if not count:
                raise benchruns.Failed(f'{peer}: no message came back; the time is too short')
            return {'cpu_us': (used['user_us'] + used['system_us']) / count,
                    'user_us': used['user_us'] / count, 'waits': used['waits'] / count,
                    'per_second': seen['messages_per_second'], 'p50_us': seen['p50_us'],
                    'p99_us': seen['p99_us'], 'max_us': seen['max_us'],
                    'client_cpu_us': seen['client_cpu_us'] / count}
        return measure

    for name, title, load in (
            ('echo-64', 'echo, 64 B × 100 connections', ()),
            ('echo-16k', 'echo, 16 KiB × 100 connections', ('--size', '16384')),
            ('echo-1m', 'echo, 1 MiB × 4 connections', ('--size', '1048576', '--connections', '4')),
            ('connect', 'connect, echo 64 B once, close; 50 at a time',
             ('--mode', 'connect', '--connections', '50'))):
        yield Experiment(name, title, 'raw', servers, [CPU, *seen_metrics], echo(*load),
                         turns=1 if quick else 5)
    yield Experiment('lt-et', 'level- against edge-triggered epoll, 64 B × 100 connections', 'raw',
                     ['raw', 'raw --et'], [Metric('waits', 'epoll_wait returns a message'), CPU],
                     echo())
    yield idle(programs, servers, 1000 if quick else 10_000)
    messages = 300 if quick else 2000
    if benchruns.available('valgrind'):
        yield Experiment(
            'instructions', 'user-space instructions an echo of 64 B (callgrind)', 'raw', servers,
            [Metric('instructions', 'instructions')], lambda peer: {
                'instructions': benchruns.instructions(programs, peer, messages)}, slow=True)
    if benchruns.available('strace'):
        def calls(peer):
            by_name = benchruns.system_calls(programs, peer, messages)
            return {'calls': by_name.pop('total', 0), **by_name}
        yield Experiment('system-calls', 'system calls an echo of 64 B (strace)', 'raw', servers,
                         [Metric('calls', 'system calls')], calls, slow=True)


def idle(programs, servers, wanted):
    # Both server and client need a descriptor for each, and some for themselves.
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    count = wanted if limit == resource.RLIM_INFINITY else min(wanted, limit - 300)

    def measure(peer):
        seen, _ = benchruns.serve(programs, peer, '--mode', 'idle', '--idle', str(count))
        return {'bytes': seen['rss_per_connection']}
    less = '' if count == wanted else f' (the descriptor limit is {limit})'
    return Experiment('idle', f'resident memory an idle connection, {count:,} of them{less}', 'raw',
                      servers, [Metric('bytes', 'bytes')], measure)


def newcomers(programs, quick):
    """`last_ms` is the length of a round times the rounds that it takes, so it needs idle cores."""
    size = {'--busy': 100, '--newcomers': 30} if quick else {'--busy': 1000, '--newcomers': 300}

    def measure(at_a_time):
        options = {'--at-a-time': at_a_time, **size}
        return json.loads(programs.run([programs.directory / 'accept-bench', *(
            str(part) for pair in options.items() for part in pair)], programs.all_cores))
    yield Experiment(
        'newcomers', f'{size["--newcomers"]} newcomers beside {size["--busy"]:,} busy connections',
        '64', ['1', '4', '16', '64'],
        [Metric('last_ms', 'ms, the last'), Metric('median_ms', 'ms, the median'),
         Metric('busy_p50_ms', 'busy p50 ms'), Metric('busy_p99_ms', 'busy p99 ms')],
        measure, subject='at a time', slow=True)


def micro(programs, quick):
    """From the list that the Google benchmarks print themselves."""
    tests = {name: programs.tests(name) for name in ('post', 'timer', 'wheel', 'readiness')}
    least = '0.05' if quick else '0.5'

    def experiment(program, name, title, base, peers, label, pattern='{}', scale=1, **options):
        def measure(peer):
            return {'ns': programs.benchmark(program, pattern.format(peer), least) / scale}
        return Experiment(name, title, base, peers, [Metric('ns', label)], measure, **options)

    def second(program, first):
        found = (test.split('/') for test in tests[program])
        return list(dict.fromkeys(parts[1] for parts in found if parts[0] == first))

    if tests['post']:
        yield experiment('post', 'post', 'a task posted from another thread, until it has run',
                         'rung', second('post', 'post'), 'ns a task', 'post/{}',
                         turns=1 if quick else 3)
        yield experiment('post', 'round-trip', 'a task to a loop that sleeps, and back', 'rung',
                         second('post', 'round-trip'), 'µs', 'round-trip/{}', scale=1000)
    for step, title in TIMER_STEPS.items():
        for size in (1000, 10_000, 100_000, 500_000, 1_000_000) if tests['timer'] else ():
            yield experiment('timer', f'timer-{step}-{size}', title, 'rung',
                             second('timer', step), 'ns a timer', f'{step}/{{}}/{size}',
                             group=f'timer-{step}', size=size, slow=size != 10_000)
    for step, title in (('refresh', 'what a message costs to keep its connection from being idle'),
                        ('expire', 'finding that a connection is idle')):
        for size in (1000, 10_000, 100_000) if tests['wheel'] else ():
            yield experiment('wheel', f'wheel-{step}-{size}', title, 'timer',
                             second('wheel', step), 'ns', f'{step}/{{}}/{size}',
                             group=f'wheel-{step}', size=size, slow=size != 10_000, subject='way')
    for active in (1, 10):
        for size in (10, 100, 1000, 10_000) if tests['readiness'] else ():
            yield experiment('readiness', f'readiness-{active}-{size}',
                             f'one round with {active} active of N descriptors', 'epoll',
                             ['epoll', 'poll'], 'ns a round',
                             f'{{}}/descriptors:{size}/active:{active}',
                             group=f'readiness-{active}', size=size, subject='call')


def logs(programs, quick, folder):
    loggers = programs.run([programs.directory / 'log-bench', '--list'],
                           programs.all_cores).split()
    tails = [Metric('p50_ns', 'p50 ns'), Metric('p99_ns', 'p99 ns'), Metric('p999_ns', 'p99.9 ns')]

    def measure(producers, rate, lines):
        def run(peer):
            options = {'--logger': peer, '--producers': producers, '--lines': lines,
                       '--dir': pathlib.Path(folder)} | ({'--rate': rate} if rate else {})
            seen = json.loads(programs.run([programs.directory / 'log-bench', *(
                str(part) for pair in options.items() for part in pair)], programs.all_cores))
            return {key: value for key, value in seen.items() if key != 'logger'}
        return run

    lost = Metric('lost', 'lost')
    for producers in (1, 2, 4):
        yield Experiment(
            f'log-{producers}', f'log lines to a file, saturated, {producers} producers', 'rung',
            loggers, [Metric('lines_per_second', 'lines a second', False),
                      Metric('call_ns', 'ns a call'), *tails, lost],
            measure(producers, 0, 100_000 if quick else 1_000_000), subject='logger')
    for producers in (1, 2, 4):
        yield Experiment(
            f'log-paced-{producers}', f'log lines, 100,000 a second each, {producers} producers',
            'rung', loggers, [*tails, Metric('cpu_ns_per_line', 'CPU ns a line'), lost],
            measure(producers, 100_000, 20_000 if quick else 200_000), subject='logger')


def experiments(programs, quick, folder):
    """All that can be run here, in order."""
    return [*echoes(programs, quick), *newcomers(programs, quick), *micro(programs, quick),
            *logs(programs, quick, folder)]
