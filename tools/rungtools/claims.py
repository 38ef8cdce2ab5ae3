"""What the interview pages claim of benchmarks, and whether a run bears it out.

A claim stands in the part "How it is known": `slow` > 1.5 × `fast`. The names are those of benchmarks
that the part links to, with their arguments: `copySharedPtr/threads:2`. What is compared is processor
time, which other programs disturb least.
"""

import dataclasses
import json
import re
import shlex
import statistics
import subprocess

CLAIM = re.compile(r'`([\w/:]+)` ([<>]) (?:(\d+(?:\.\d+)?) × )?`([\w/:]+)`')
ROUNDS = 5
MOST_ROUNDS = 9   # some are of no use where a second processor is needed and is busy
TOGETHER = 1.5    # processors at work at once, from which on two threads ran side by side
TEXT = {True: 'holds', False: 'CONTRADICTED', None: 'not decided'}


@dataclasses.dataclass(frozen=True)
class Claim:
    left: str
    sign: str  # < or >
    factor: float
    right: str

    def __str__(self):
        return f'{self.left} {self.sign} {self.factor:g} × {self.right}'

    @property
    def benchmarks(self):
        return {name.partition('/')[0] for name in (self.left, self.right)}

    def holds(self, ratios):
        """`ratios`, left ÷ right, are those of the rounds. None if there are too few."""
        if len(ratios) < ROUNDS // 2 + 1:
            return None
        median = statistics.median(ratios)
        return median > self.factor if self.sign == '>' else median < self.factor


def claims_in(text):
    """The claims of one part of a page, whose lines may be broken anywhere."""
    return [Claim(left, sign, float(factor or 1), right)
            for left, sign, factor, right in CLAIM.findall(' '.join(text.split()))]


def times_of(output):
    """Processor time by name, in ns, of one run's JSON. Where two threads did not run side by side
    the time is None: then nothing was shared."""
    times = {}
    for run in json.loads(output)['benchmarks']:
        if run.get('error_occurred'):
            times[run['name']] = None
            continue
        scale = {'ns': 1, 'us': 1e3, 'ms': 1e6, 's': 1e9}[run['time_unit']]
        together = run['cpu_time'] / max(run['real_time'], 1e-9)
        alone = run.get('threads', 1) > 1 and together < TOGETHER
        times[run['name'].replace('/real_time', '')] = None if alone else run['cpu_time'] * scale
    return times


def command_for(name, program):
    return [str(program), f'--benchmark_filter=^{name}(/|$)', '--benchmark_min_time=0.05',
            '--benchmark_format=json']


def measure(program, claims, say):
    """The times of each round: each benchmark is run in turn, in a process of its own."""
    names = sorted(set().union(*(claim.benchmarks for claim in claims)))
    rounds = []
    while len(rounds) < MOST_ROUNDS:
        times = {}
        for name in names:
            command = command_for(name, program)
            if not rounds:
                say('$ ' + shlex.join(command))
            done = subprocess.run(command, text=True, stdout=subprocess.PIPE,
                                  stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, check=True)
            times |= times_of(done.stdout)
        rounds.append(times)
        if len(rounds) >= ROUNDS and all(len(ratios_of(claim, rounds)) >= ROUNDS
                                         for claim in claims):
            break
    return rounds


def ratios_of(claim, rounds):
    """Left ÷ right of each round that has both."""
    pairs = [(times.get(claim.left), times.get(claim.right)) for times in rounds]
    return [left / right for left, right in pairs if left and right]


def figure(number):
    return f'{number:,.0f}' if number >= 100 else f'{number:.3g}'


def judge(claims, rounds, say):
    """Tells of each claim. True if all hold, False if one is contradicted, None if not decided."""
    verdicts = []
    for claim in claims:
        ratios = ratios_of(claim, rounds)
        verdict = claim.holds(ratios)
        verdicts.append(verdict)
        if verdict is None:
            say(f'{claim}: not decided, {len(ratios)} of {len(rounds)} rounds were of use; '
                'the machine is too busy, or has too few processors')
            continue
        left, right = (statistics.median(times[name] for times in rounds if times.get(name))
                       for name in (claim.left, claim.right))
        say(f'{claim}: {TEXT[verdict]}; {figure(left)} ns and {figure(right)} ns, '
            f'ratio {figure(statistics.median(ratios))} '
            f'({figure(min(ratios))} to {figure(max(ratios))}, {len(ratios)} rounds)')
    return False if False in verdicts else None if None in verdicts else True
