"""Running a program to its end, or to a limit of time, with all that it starts; and building."""

import os
import shutil
import signal
import subprocess
import tempfile

from . import ROOT


class BuildFailed(Exception):
    """The text names the program that failed, or that is not installed, and has what it said."""


MOST = 1 << 20  # bytes that are kept of what a program prints


def run(command, limit=None, at_limit=None, **more):
    """(exit status, the end of what it printed on both outputs). The status is None if it was not
    done after `limit` seconds; `at_limit` is then given its id, before all that it started is ended.
    """
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT,
                                   stdin=subprocess.DEVNULL, start_new_session=True, **more)
        try:
            status = process.wait(limit)
        except subprocess.TimeoutExpired:
            status = None
            if at_limit:
                at_limit(process.pid)
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
        output.seek(max(0, output.seek(0, os.SEEK_END) - MOST))
        return status, output.read().decode('utf-8', 'replace')


def must(*command, show=None, **more):
    """What a program prints; `show` is given each line as it comes."""
    words = [str(word) for word in command]
    try:
        process = subprocess.Popen(words, text=True, errors='replace', stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **more)
    except FileNotFoundError:
        raise BuildFailed(f'{words[0]} is not installed') from None
    with process:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if show:
                show(line)
    if process.returncode != 0:
        raise BuildFailed(f'{words[0]} failed:\n{"".join(lines).strip()}')
    return ''.join(lines)


def set_up(build, *options, source=ROOT, compiler=None, again=False):
    """`meson setup`, once; `again` for the options of now."""
    ready = (build / 'build.ninja').exists()
    if again or not ready:
        must('meson', 'setup', *(['--reconfigure'] if ready else []), *options, build, source,
             env=os.environ | ({'CXX': compiler} if compiler else {}))


def ninja(build, *words, jobs=None, show=None):
    program = 'ninja' if shutil.which('ninja') else 'ninja-build'
    return must(program, *([f'-j{jobs}'] if jobs else []), '-C', build, *words, show=show)


def doctest_filter(case):
    """The argument that runs one case. A comma would separate two; `?` is any one character."""
    return '--test-case=' + case.replace(',', '?')
