"""What tools/bench makes of its figures: medians, ratios, Markdown tables and plots.

Results of one experiment are `values[peer][metric]`, a list with one figure a round.
"""

import json
import math
import os
import pathlib
import platform
import resource
import shlex
import shutil
import statistics
import subprocess
import time

COLOURS = ('#2b6cb0', '#c05621', '#2f855a', '#6b46c1', '#b83280', '#4a5568', '#975a16')


def spread(values):
    """(median, least, most) of the figures of all rounds."""
    if not values:
        raise ValueError('no figures')
    return statistics.median(values), min(values), max(values)


def ratios(values, base):
    """(ratio of the medians, least and most of the ratios round by round).

    Rounds are compared pair by pair: what disturbs the machine for longer disturbs both.
    """
    if len(values) != len(base):
        raise ValueError(f'{len(values)} rounds cannot be compared with {len(base)}')
    if not all(base):
        return math.nan, math.nan, math.nan
    each = [value / reference for value, reference in zip(values, base)]
    return statistics.median(values) / statistics.median(base), min(each), max(each)


def number(value):
    """Three digits that count, and no exponent."""
    if math.isnan(value):
        return '–'
    if value == int(value) and abs(value) < 1000:
        return str(int(value))
    if abs(value) >= 100:
        return f'{value:,.0f}'
    return f'{value:.3g}' if abs(value) >= 0.01 else f'{value:.4f}'


def table(experiment, values):
    """One experiment in Markdown. The base comes first, then the others as they are."""
    base = experiment.base if experiment.base in values else next(iter(values))
    metric, *others = experiment.metrics
    head = [experiment.subject, metric.label, 'min – max', f'÷ {base}', 'min – max']
    rows = [head + [other.label for other in others],
            ['---'] + ['---:'] * (len(head) + len(others) - 1)]
    for peer in [base] + [peer for peer in values if peer != base]:
        middle, least, most = spread(values[peer][metric.key])
        ratio, lowest, highest = ratios(values[peer][metric.key], values[base][metric.key])
        rows.append([peer, number(middle), f'{number(least)} – {number(most)}', f'{ratio:.2f}',
                     f'{lowest:.2f} – {highest:.2f}']
                    + [number(spread(values[peer][other.key])[0]) for other in others])
    lines = ['| ' + ' | '.join(row) + ' |' for row in rows]
    better = 'less' if metric.less_is_better else 'more'
    return '\n'.join([f'### {experiment.name}: {experiment.title}', '',
                      f'{metric.label}: {better} is better.', '', *lines, ''])


def machine(root):
    """Where and when the figures were taken."""
    return {
        'date': time.strftime('%Y-%m-%d %H:%M:%S %z'),
        'cpu': _field('/proc/cpuinfo', 'model name'),
        'cores': len(os.sched_getaffinity(0)),
        'memory': _field('/proc/meminfo', 'MemTotal'),
        'kernel': f'{platform.system()} {platform.release()}',
        'load average': ' '.join(f'{load:.2f}' for load in os.getloadavg()),
        'descriptor limit': _hard_limit(),
        'commit': _first_line('git', '-C', root, 'describe', '--always', '--dirty', '--abbrev=12'),
    }


def compiler(build):
    """Of the programs in a Meson build directory."""
    commands = json.loads((build / 'compile_commands.json').read_text())
    words = shlex.split(commands[0]['command'])
    return _first_line(words[words[0].endswith('ccache')], '--version')


def _field(path, name):
    for line in pathlib.Path(path).read_text().splitlines():
        key, _, value = line.partition(':')
        if key.strip() == name:
            return value.strip()
    return 'unknown'


def _hard_limit():
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def _first_line(*command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return 'unknown'
    return done.stdout.splitlines()[0] if done.returncode == 0 and done.stdout else 'unknown'


def _quoted(text):
    return "'" + text.replace("'", "''") + "'"


def bars(experiment, values, path):
    """A gnuplot program: the median of each peer, with the spread as a line."""
    metric = experiment.metrics[0]
    title = f'{experiment.name}: {experiment.title}'
    lines = _head(title, path) + [
        f'set ylabel {_quoted(metric.label)}', 'set yrange [0:*]', 'unset key',
        'set style fill solid 0.8', 'set boxwidth 0.6', '$data << END']
    for i, (peer, figures) in enumerate(values.items()):
        middle, least, most = spread(figures[metric.key])
        lines.append(f'{i} "{peer}" {middle} {least} {most} {int(COLOURS[i % 7][1:], 16)}')
    return '\n'.join(lines + ['END',
                              'plot $data using 1:3:6:xtic(2) with boxes lc rgb variable, \\',
                              '  $data using 1:3:4:5 with yerrorbars lc rgb "black" pt -1', ''])


def curves(title, metric, by_size, path):
    """A gnuplot program: the medians of each peer over the size. `by_size[size][peer][metric]`"""
    lines = _head(title, path) + [
        f'set ylabel {_quoted(metric.label)}', 'set logscale xy', 'set key outside', 'set grid']
    peers = list(dict.fromkeys(peer for values in by_size.values() for peer in values))
    for i, peer in enumerate(peers):
        lines.append(f'$peer{i} << END')
        for size, values in sorted(by_size.items()):
            if peer in values:
                lines.append(f'{size} {spread(values[peer][metric.key])[0]}')
        lines.append('END')
    plots = [f'$peer{i} with linespoints lw 2 lc rgb {_quoted(COLOURS[i % 7])} title '
             f'{_quoted(peer)}' for i, peer in enumerate(peers)]
    return '\n'.join(lines + ['plot ' + ', \\\n  '.join(plots), ''])


def _head(title, path):
    return ['set terminal svg size 720,420 background rgb "white"',
            f'set output {_quoted(str(path))}',
            f'set title {_quoted(title)} noenhanced', 'set tics nomirror noenhanced']


def plot(program):
    """Runs a gnuplot program. Why not, if it cannot."""
    if not shutil.which('gnuplot'):
        return 'gnuplot is not installed'
    done = subprocess.run(['gnuplot'], input=program, capture_output=True, text=True, check=False)
    return done.stderr.strip() if done.returncode else ''
