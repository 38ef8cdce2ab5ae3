"""Exercises of the kind `audit`: a small server with a fault that is often copied; a client breaks it."""

import difflib
import re

from . import learnsay
from .learnbuild import SANITIZERS, compiler, write
from .learnsteps import FOLDER, LearnError, read_toml
from .process import BuildFailed, must, run
from .text import bold, green, red

FLAGS = '-std=c++20 -Wall -Wextra -O1 -g -pthread'
LIMIT = 60.0
KEYS = {'title': str, 'minutes': int, 'goal': str, 'hints': list, 'link': str, 'sanitize': str, 'explanation': str}


def load_audits(root, workspace=None):
    return [Audit(workspace, path.parent) for path in sorted((root / FOLDER / 'audit').glob('*/audit.toml'))]


class Audit:
    """`source` is its folder in the repository: server.cc, mended.cc, client.py, audit.toml."""
    kind = 'audit'

    def __init__(self, workspace, source):
        self.workspace, self.source = workspace, source
        self.name = f'audit/{source.name}'
        self.texts = read_toml(source / 'audit.toml')
        for key, kind in KEYS.items():
            if not isinstance(self.texts.get(key), kind):
                raise LearnError(f'{self.name}: audit.toml needs {key} = a {kind.__name__}')
        if len(self.texts['hints']) != 3 or self.texts['sanitize'] not in SANITIZERS:
            raise LearnError(f'{self.name}: audit.toml needs three hints, and sanitize = one of '
                             + ', '.join(SANITIZERS))
        if workspace:
            self.folder = workspace.folder / 'audit' / source.name
            self.file = self.folder / 'server.cc'
            self.build_folder = workspace.folder / '.build' / f'audit-{source.name}'

    @property
    def title(self):
        return self.texts['title']

    def start(self):
        if not self.file.is_file():
            write(self.file, (self.source / 'server.cc').read_text(encoding='utf-8'))
        self.workspace.begin(self.name)

    def describe(self):
        print(f'{bold(self.name)}  {self.title}   (about {self.texts["minutes"]} minutes)\n\n'
              f'{self.texts["goal"].strip()}\n\nThe server: {self.file}\nThe client that breaks it: '
              f'{self.source / "client.py"}\nMend the server. To read: docs/tutorial/{self.texts["link"]}')

    def hints(self):
        return self.texts['hints']

    def check(self):
        if not self.file.is_file():
            raise LearnError(f'{self.name} is not begun; tools/learn audit {self.source.name}')
        self.workspace.item(self.name)['tries'] += 1
        self.workspace.save()
        print(f'{bold(self.name)}  {self.title}\n')
        try:
            good, lines = self.judge(self.file, self.build_folder)
        except BuildFailed as error:
            print('It does not compile.\n')
            learnsay.show(learnsay.build_lines(str(error), self.folder))
            return False
        for line in lines:
            text = re.sub(r'^not ok - ', '', line)
            print(f'  {red("red")}   {text}' if line != text else
                  f'  {green("ok")}    {line[5:]}' if line.startswith('ok - ') else f'        {line}')
        if good:
            self.workspace.passed(self.name)
            print(f'\n{self.texts["explanation"].strip()}')
        return good

    def judge(self, file, folder):
        """(whether the client is content, its lines) of a server's source."""
        folder.mkdir(parents=True, exist_ok=True)
        program = folder / 'server'
        must(*compiler().split(), *FLAGS.split(), *SANITIZERS[self.texts['sanitize']].split(), file, '-o', program)
        status, said = run(['python3', '-B', self.source / 'client.py', program], LIMIT)
        lines = said.splitlines()
        if status is None:
            lines.append(f'not ok - the client was not done after {LIMIT:g} s')
        return status == 0, lines

    def ours(self):
        return difflib.unified_diff((self.source / 'server.cc').read_text(encoding='utf-8').splitlines(),
                                    (self.source / 'mended.cc').read_text(encoding='utf-8').splitlines(),
                                    'server.cc', 'mended.cc', lineterm='')

    def difference(self):
        return difflib.unified_diff(self.file.read_text(encoding='utf-8').splitlines(),
                                    (self.source / 'mended.cc').read_text(encoding='utf-8').splitlines(),
                                    'yours', 'ours', lineterm='')

    def put(self, name):
        kept = [self.workspace.keep(self.name, self.file.read_text(encoding='utf-8'), '.cc')]
        write(self.file, (self.source / name).read_text(encoding='utf-8'))
        return kept

    def reset(self):
        kept = self.put('server.cc')
        self.workspace.reopen(self.name)
        return kept

    def solution(self):
        return self.put('mended.cc')
