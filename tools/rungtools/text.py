"""Text for a terminal: weight, colour, and Markdown in lines."""

import os
import re
import sys
import textwrap

WIDTH = 88


def styled(text, code):
    """The text in a colour or weight, on a terminal that has them."""
    plain = not sys.stdout.isatty() or 'NO_COLOR' in os.environ or os.environ.get('TERM') == 'dumb'
    return text if plain else f'\x1b[{code}m{text}\x1b[0m'


def bold(text):
    return styled(text, 1)


def red(text):
    return styled(text, 31)


def green(text):
    return styled(text, 32)


def faint(text):
    return styled(text, 2)


def wrapped(text):
    """Paragraphs of Markdown for a terminal; code blocks stay as they are."""
    text = re.sub(r'<!--.*?-->\n?', '', text)
    text = re.sub(r'\[([^\]]+)\]\([^)]*\)', r'\1', text)
    out, lines, fenced = [], [], False

    def flush():
        if lines:
            indent = '  ' if re.match(r'[-*\d]', lines[0]) else ''
            out.append(textwrap.fill(' '.join(lines), WIDTH, subsequent_indent=indent))
            lines.clear()
    for line in text.splitlines():
        if line.startswith('```'):
            flush()
            fenced = not fenced
        elif fenced:
            out.append('    ' + line)
        elif line.startswith('|'):
            flush()
            out.append(line)
        else:
            if not line.strip() or re.match(r'(- |\d+\. )', line):
                flush()
            if line.strip():
                lines.append(line.strip())
            elif out and out[-1]:
                out.append('')
    flush()
    return '\n'.join(out).strip()
