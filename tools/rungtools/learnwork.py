"""A learner's workspace: the folder, and what progress.json knows of it."""

import datetime
import fcntl
import json
import os
import shlex
from pathlib import Path

from . import ROOT
from .learnsteps import LearnError

PROGRESS = 'progress.json'
DEFAULT = ROOT / 'learn'
BOXES = (1, 3, 7, 21)  # days until something comes back, by how often it was known: Leitner's boxes


def today():
    return datetime.date.today()


class Workspace:
    """`items` has what is known of each exercise that was begun, by its name."""

    def __init__(self, folder):
        self.folder = folder
        self.file = folder / PROGRESS
        self.current = None
        self.items = {}
        self.made = {}  # of each stage, from what text its folder was made
        if self.file.is_file():
            self.read()

    def read(self):
        try:
            known = json.loads(self.file.read_text(encoding='utf-8'))
            if known['of'] != 'rung':
                raise KeyError('of')
            self.current, self.items = known['current'], known['items']
            self.made = known.get('made', {})
        except (ValueError, KeyError, TypeError) as error:
            raise LearnError(f'{self.file} is not what tools/learn has written: {error!r}; move it away, and '
                             'begin again with tools/learn start') from None

    def save(self):
        """All or nothing, so that a full disk does not lose what was known."""
        new = self.file.with_suffix('.new')
        known = {'of': 'rung', 'current': self.current, 'items': self.items, 'made': self.made}
        new.write_text(json.dumps(known, indent=1) + '\n', encoding='utf-8')
        os.replace(new, self.file)

    def item(self, name):
        return self.items.setdefault(name, {'state': 'open', 'tries': 0, 'hints': 0})

    def state(self, name):
        return self.items.get(name, {}).get('state', '')

    def lock(self):
        """Held while a check builds and runs, so that two do not meet; waits."""
        (self.folder / '.build').mkdir(exist_ok=True)
        file = open(self.folder / '.build' / 'lock', 'w', encoding='utf-8')
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print('Another check is running in this workspace; waiting for it.', flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        return file

    def begin(self, name):
        """Makes it the current one; what is done stays done."""
        self.item(name)
        self.current = name
        self.save()

    def reopen(self, name):
        self.item(name)['state'] = 'open'
        self.begin(name)

    def passed(self, name):
        """Notes it; one that took much help comes back in some days."""
        item = self.item(name)
        helped = item.get('shown') or item['hints'] >= 2 or item['tries'] >= 8
        item['state'] = 'done'
        if 'box' in item:
            item['box'] = 0 if helped else min(item['box'] + 1, len(BOXES) - 1)
        elif helped:
            item['box'] = 0
        if 'box' in item:
            item['due'] = (today() + datetime.timedelta(BOXES[item['box']])).isoformat()
        item.update(tries=0, hints=0, shown=False)
        self.save()

    def answered(self, name, knew):
        """Of a question."""
        item = self.item(name)
        item['state'] = 'question'
        item['box'] = min(item.get('box', -1) + 1, len(BOXES) - 1) if knew else 0
        item['due'] = (today() + datetime.timedelta(BOXES[item['box']])).isoformat()
        self.save()

    def due(self):
        """The names of all that is due, the oldest first."""
        found = [(item['due'], name) for name, item in self.items.items()
                 if item.get('due', '9') <= today().isoformat()]
        return [name for _, name in sorted(found)]

    def keep(self, name, text, suffix):
        """Puts away what the learner wrote, before it is replaced; says where."""
        folder = self.folder / 'kept'
        folder.mkdir(parents=True, exist_ok=True)
        number = 1
        while (path := folder / f'{name.replace("/", "-")}-{number}{suffix}').exists():
            number += 1
        path.write_text(text, encoding='utf-8')
        return path


def find_workspace(folder=None):
    """The one in which `folder` or the current directory is, else the default one; None if neither."""
    place = Path(folder).resolve() if folder else Path.cwd()
    for candidate in [place, *place.parents]:
        if (candidate / PROGRESS).is_file():
            return Workspace(candidate)
    if folder:
        raise LearnError(f'{folder} is not a workspace: it holds no {PROGRESS}')
    return Workspace(DEFAULT) if (DEFAULT / PROGRESS).is_file() else None


def make_workspace(folder):
    """The one in `folder`, which may be new or empty."""
    if not (folder / PROGRESS).is_file():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise LearnError(f'{folder} is not empty, and no workspace; name a new folder')
        folder.mkdir(parents=True, exist_ok=True)
        (folder / 'learn').write_text('#!/bin/sh\n# tools/learn, from here.\n'
                                      f'exec {shlex.quote(str(ROOT / "tools" / "learn"))} "$@"\n', encoding='utf-8')
        (folder / 'learn').chmod(0o755)
        Workspace(folder).save()
    return Workspace(folder)
