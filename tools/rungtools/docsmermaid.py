"""Mermaid diagrams: their first word always, all of their grammar where mermaid is installed."""

import json
import os
import re
import shutil
import subprocess
from functools import cache

from .docspages import Problem

KINDS = {'flowchart', 'graph', 'sequenceDiagram', 'classDiagram', 'stateDiagram',
         'stateDiagram-v2', 'erDiagram', 'timeline', 'gantt', 'pie', 'mindmap', 'quadrantChart',
         'xychart-beta', 'block-beta', 'packet-beta', 'gitGraph', 'journey'}

# Reads a list of diagrams from its input and prints a list of what is wrong with each, or null.
# With jsdom the whole parser runs. Without it a part of it fails for want of a browser, after the
# grammar was read; that is no fault of the diagram.
SCRIPT = '''
import {createRequire} from 'node:module';
import {pathToFileURL} from 'node:url';
import {readFileSync} from 'node:fs';
const find = createRequire(process.argv[1] + '/x.js');
const load = (name) => import(pathToFileURL(find.resolve(name)).href);
try {
  const {JSDOM} = await load('jsdom');
  globalThis.window = new JSDOM('').window;
  globalThis.document = window.document;
} catch {}
const mermaid = (await load('mermaid')).default;
const faults = [];
for (const text of JSON.parse(readFileSync(0, 'utf8'))) {
  try { await mermaid.parse(text); faults.push(null); }
  catch (e) { faults.push(/DOMPurify|document is not/.test(e.message) ? null : e.message); }
}
console.log(JSON.stringify(faults));
'''


def check(context, documents):
    """Every block whose language is mermaid."""
    diagrams = [(document, block) for document in documents for block in document.blocks
                if block.language == 'mermaid']
    rest = []
    for document, block in diagrams:
        context.count('diagrams')
        text = re.sub(r'\A---\n.*?\n---\n', '', block.text, flags=re.S)
        words = re.sub(r'^\s*%%.*$', '', text, flags=re.M).split()
        if not words or words[0] not in KINDS:
            yield Problem(document.name, block.first + 1, 'mermaid',
                          f'begins with "{words[0] if words else ""}", which is no diagram')
        else:
            rest.append((document, block))
    for (document, block), fault in zip(rest, parse(context, [b.text for _, b in rest])):
        if fault:
            yield Problem(document.name, block.first + 1, 'mermaid', fault)


def parse(context, texts):
    """A fault or None for each."""
    folder = package_folder(context.root) if texts else None
    if folder is None:
        if texts:
            context.say('diagrams not parsed: no node with the package mermaid '
                        '(npm install mermaid jsdom)')
        return [None] * len(texts)
    done = subprocess.run(['node', '--input-type=module', '-e', SCRIPT, folder], text=True,
                          input=json.dumps(texts), capture_output=True, check=False, timeout=120)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ['no message'])[-1]
        context.say(f'diagrams not parsed: mermaid in {folder} does not run: {last}')
        return [None] * len(texts)
    context.count('diagrams parsed', len(texts))
    return json.loads(done.stdout)


@cache
def package_folder(root):
    """A folder from which node finds the package mermaid."""
    if not shutil.which('node'):
        return None
    folders = [str(root), *(os.path.dirname(p) for p in os.environ.get('NODE_PATH', '').split(':'))]
    node = os.path.dirname(os.path.realpath(shutil.which('node')))
    folders += [os.path.join(node, '..', 'lib'), '/usr/lib', '/usr/local/lib']
    for folder in filter(None, folders):
        if os.path.isdir(os.path.join(folder, 'node_modules', 'mermaid')):
            return os.path.realpath(folder)
    return None
