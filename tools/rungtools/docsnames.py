"""Names in backticks on the pages of docs/tutorial/: they must exist in the stage of the page.

A page NN-title.md is held against the files that stages 01 to NN issue (replaced versions too, so
that it can compare), their tests, tests/support/, and its own programs in docs/tutorial/failures/.
Any other page of the tutorial is held against all stages.
"""

import re
from functools import cache

from . import cppscan
from .docspages import CODE_SPAN, HEADING, Problem
from .docsquote import CPP, near

WORD = r'[A-Za-z_]\w*'
QUALIFIED = re.compile(rf'~?{WORD}(?:::~?{WORD})*')
SUFFIX = re.compile(r'\.(h|cc|py|md|build|patch|txt|sh)$')
OURS = re.compile(r'LOG_|RUNG_')  # names in capitals: only these are the project's
OUTSIDE = ('std', 'chrono', 'testing', 'boost', 'asio', 'muduo', 'this_thread', 'filesystem')
PROJECTS = ('muduo', 'libuv', 'libevent', 'nginx', 'Redis', 'asio', 'Boost', 'trantor', 'spdlog',
            'glog', 'folly', 'Netty', 'Java', 'Go', 'Rust', 'Node.js', 'kernel', 'DPDK')
# Words that the code need not hold: of C++, of the system, of its tools. Capitals, names with ::
# in OUTSIDE, and manual pages as read(2) need not be listed.
CPLUSPLUS = set('''alignas alignof auto bool break case catch char class co_await concept const
    consteval constexpr constinit const_cast continue decltype default delete do double
    dynamic_cast else enum errno explicit export extern false final float for friend goto if inline
    int int64_t long mutable namespace new noexcept nullptr operator override private protected
    public register reinterpret_cast requires return short signed sizeof ssize_t size_t static
    static_assert static_cast struct switch template this thread_local throw true try typedef
    typename uint32_t uint64_t union unsigned using virtual void volatile while main assert malloc
    free printf memcpy memmove shared_ptr weak_ptr unique_ptr string vector map set function mutex
    thread atomic condition_variable lock_guard unique_lock jthread strerror localtime'''.split())
SYSTEM = set('''accept bind close connect dup epoll_create epoll_create1 epoll_ctl epoll_wait
    eventfd fcntl fdatasync fork fsync getsockopt io_uring ioctl kill listen lseek mmap open pipe
    poll pread pthread_create read readv recv recvmsg select send sendfile sendmsg setsockopt
    shutdown sigaction signalfd sleep socket socketpair splice timerfd timerfd_settime usleep write
    writev gettimeofday clock_gettime gettid getpid futex malloc_trim abort exit accept4'''.split())
MERMAID = set('''sequenceDiagram classDiagram stateDiagram erDiagram quadrantChart gitGraph classDef
    linkStyle dateFormat axisFormat accTitle accDescr hideEmptyMembersBox xychart tickInterval
    '''.split())
COMMANDS = set('''apt bash cat cd clang clang-format clang-tidy curl diff doctest docker gcc gdb git
    grep head htop kill ldd ls lsof make meson nc ninja patch perf pkg-config python3 sh socat ss
    strace sudo tail taskset time top touch valgrind vim watch wc wrk pwd g++ clang++
    build final lib all main stages tools docs tests examples bench'''.split())


def check(context, document):
    """Every code span on a page of the tutorial."""
    page = re.match(r'docs/tutorial/([^/]+)\.md$', document.name)
    if not page or not context.tree.stages:
        return
    number = page[1][:2] if re.match(r'\d\d-', page[1]) and page[1][:2] != '00' else None
    allowed = {word: mark for mark in document.marks if mark.kind == 'names'
               for word in mark.argument.split()}
    used, own = set(), own_words(document)
    for span, position in spans(document):
        after = document.visible[position + len(span[0]):][:60]
        if re.match(rf'\s+\((?:{"|".join(map(re.escape, PROJECTS))})\b', after):
            continue
        other = re.match(r'\s+\(stage\s+(\d\d)\b', after)
        stage = other[1] if other else number
        if other and stage not in [s.number for s in context.tree.stages]:
            yield Problem(document.name, document.line_at(position), 'name',
                          f'there is no stage {stage}')
            continue
        for name in unknown(context, stage, ' '.join(span[2].split()), own):
            context.count('names', 0)
            used |= {word for word in (name, name.rpartition('::')[2]) if word in allowed}
            if name in allowed or name.rpartition('::')[2] in allowed:
                continue
            where = f'stages 01 to {stage}' if stage else 'all stages'
            yield Problem(document.name, document.line_at(position), 'name',
                          f'`{name}` is not in {where}{hint(context, stage, name)}')
        context.count('names')
    yield from check_diagrams(context, document, number)
    for word, mark in allowed.items():
        if word not in used:
            yield Problem(document.name, mark.index + 1, 'name', f'`{word}` needs no exception')


def check_diagrams(context, document, stage):
    """Class::member, and words with capitals inside, in Mermaid diagrams."""
    for block in document.blocks:
        if block.language != 'mermaid':
            continue
        text = re.sub(r'%%.*', '', block.text)
        names = set(re.findall(rf'{WORD}(?:::~?{WORD})+', text)) | {
            word for word in re.findall(r'(?<!:)\b[A-Za-z]\w*[a-z][A-Z]\w*', text)
            if word not in MERMAID}
        for name in sorted(names):
            context.count('names')
            if not name_exists(context, stage, name.removeprefix('rung::'), set(), strict=True):
                yield Problem(document.name, block.first + 1, 'name',
                              f'`{name}`, in the diagram, is not in '
                              f'{f"stages 01 to {stage}" if stage else "all stages"}'
                              f'{hint(context, stage, name)}')


def spans(document):
    """(match, position) of each code span, but for those in a section "In production"."""
    headings = [(m.start(), m[1].lower()) for m in HEADING.finditer(document.visible)]
    for span in CODE_SPAN.finditer(document.visible):
        before = [title for start, title in headings if start < span.start()]
        if not (before and before[-1].startswith('in production')):
            yield span, span.start()


def own_words(document):
    """What the page's own C++ blocks declare or use: its naive versions and exercises."""
    words = set()
    for block in document.blocks:
        if block.language in ('cpp', 'c++'):
            words |= set(re.findall(WORD, block.text))
    return words


def unknown(context, stage, text, own):
    """The names in a code span that are nowhere to be found."""
    if re.fullmatch(r'\w+\(\d\)|<[\w/.]+>|[-+./]?[\d.,]+\w*|-.*|/.*|".*"|\'.*\'|[$%#].*', text):
        return
    if '/' in text and ' ' not in text or SUFFIX.search(text) and ' ' not in text:
        if not path_exists(context, stage, text):
            yield text
        return
    whole = re.fullmatch(rf'[&*]?(?:rung::)?({QUALIFIED.pattern})(\(.*\))?;?', text)
    if whole and not (whole[2] and whole[1].isupper()):
        if not name_exists(context, stage, whole[1], own, strict=True):
            yield whole[1]
        text = whole[2] or ''
    text = re.sub(r'"[^"]*"|\'[^\']*\'|(?<!\w)-[\w=,-]+|[\w.-]*/[\w./-]*', ' ', text)
    for match in QUALIFIED.finditer(text.replace('rung::', '')):
        if not name_exists(context, stage, match[0], own, strict=False):
            yield match[0]


def name_exists(context, stage, name, own, strict):
    """Whether the stage has it. A word that does not look like a name of ours is one of the
    language, of the system or of the shell, or, if not `strict`, any other."""
    words, qualified = vocabulary(context, stage)
    last = name.rpartition('::')[2].lstrip('~')
    if name.split('::')[0] in OUTSIDE:
        return True
    if '::' in name:
        return name in qualified
    if last in words or last in own:
        return True
    if last.upper() == last:
        return not OURS.match(last)
    looks_ours = re.search(r'[a-z][A-Z]|^[A-Z].*[a-z]|_$|^k[A-Z]', last)
    if not strict and not looks_ours:
        return True
    return last in CPLUSPLUS | SYSTEM | COMMANDS


def path_exists(context, stage, text):
    """Whether a path, or a bare file name, is one of the project's or of the stage's."""
    path = text.rstrip('/')
    if re.search(r'NN|[*…<>{}$:=()|&]', path) or path.startswith(('build/', '~')):
        return True
    if (context.root / path).exists():
        return True
    known = stage_files(context, stage)
    if not SUFFIX.search(path) and not (context.root / path.split('/')[0]).is_dir() and \
            path.split('/')[0] != 'rung':
        return True  # read/write and the like
    return any(name == path or name.endswith('/' + path) or f'/{path}/' in f'/{name}'
               for name in known)


@cache
def stage_files(context, stage):
    """Paths from the root of what the stage's code consists of, and of the project's other files."""
    stages = [s for s in context.tree.stages if stage is None or s.number <= stage]
    files = [f'stages/{s.name}/{f}' for s in stages for f in s.files]
    files += [f'stages/{s.name}/tests/{t}_test.cc' for s in stages for t in s.tests]
    for folder in ('tests/support', 'examples', 'docs/tutorial', 'tools'):
        files += [p.relative_to(context.root).as_posix()
                  for p in context.root.glob(f'{folder}/**/*') if p.is_file()]
    return files + ['meson.build', 'meson_options.txt', 'STAGE.md', 'README.md']


@cache
def vocabulary(context, stage):
    """(all identifiers, all qualified names) in the code of the stage, without comments."""
    words, qualified = set(), set()
    for path in stage_files(context, stage):
        failure = re.match(r'docs/tutorial/failures/(\d\d)', path)
        if not path.endswith(CPP) or path.startswith(('tools/', 'docs/')) and not failure or \
                failure and stage and failure[1] > stage or not (context.root / path).is_file():
            continue
        text = context.read(path)
        code = cppscan.without_text(text)
        words |= set(re.findall(WORD, code))
        qualified |= set(re.findall(rf'{WORD}(?:::~?{WORD})+', code))
        for entry in cppscan.declarations(text):
            if entry.kind == 'macro':
                words.add(entry.name)
            elif entry.kind != 'test':
                parts = entry.name.split('::')
                qualified |= {'::'.join(parts[n:]) for n in range(len(parts))}
                if entry.kind == 'enumerator' and len(parts) > 2:
                    qualified.add('::'.join([*parts[:-2], parts[-1]]))
    return words, qualified


def hint(context, stage, name):
    """Names that are alike."""
    words, qualified = vocabulary(context, stage)
    last = name.rpartition('::')[2]
    alike = [q for q in qualified if q.endswith('::' + last)] if '::' in name else []
    parts = {part.lower() for part in re.findall(r'[A-Z]?[a-z]+', last)}
    alike = alike or [w for w in words if len(parts & {
        part.lower() for part in re.findall(r'[A-Z]?[a-z]+', w)}) >= max(1, len(parts) - 1)]
    return near(name, alike).replace('it has', 'there is') if alike else ''
