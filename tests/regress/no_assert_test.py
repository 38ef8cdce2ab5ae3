#!/usr/bin/env python3
"""The library handles no error with assert(), which is gone with NDEBUG: no_assert_test.py LIB..."""

import pathlib
import re
import sys

CALL = re.compile(r'(?<![\w_])assert\s*\(')
COMMENT = re.compile(r'//.*')


def main():
    files = [path for root in sys.argv[1:] for path in sorted(pathlib.Path(root).rglob('*'))
             if path.suffix in ('.h', '.cc')]
    bad = [f'{path}:{number}: {line.strip()}'
           for path in files
           for number, line in enumerate(path.read_text('utf-8').splitlines(), 1)
           if CALL.search(COMMENT.sub('', line))]
    if not files:
        bad.append('no file was looked at')
    print('not ok' if bad else 'ok', f'1 - regress: no assert() in {len(files)} files')
    for line in bad:
        print('#', line)
    print('1..1')
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main())
