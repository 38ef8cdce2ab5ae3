"""Asks the questions of docs/interview/, and runs the proofs of the answers.

    tools/quiz                    all questions, in random order
    tools/quiz --theme epoll      those of one page
    tools/quiz --prove et-or-lt   the proof of one answer, without asking

Without a terminal it prints one question and ends.
"""

import argparse
import os
import pathlib
import random
import sys

from . import ROOT, interview
from .interview import Failure
from .process import BuildFailed
from .text import bold, wrapped

HELP = 'Enter: the short answer, then its proof · f: the full answer · n: next · q: end'


def choose(questions, theme, question_id):
    themes = sorted({question.theme for question in questions})
    if theme is not None:
        if theme not in themes:
            raise Failure(f"no such theme: '{theme}'; there are: {', '.join(themes)}")
        questions = [question for question in questions if question.theme == theme]
    if question_id is not None:
        known = ', '.join(question.id for question in questions)
        questions = [question for question in questions if question.id == question_id]
        if not questions:
            raise Failure(f"no such question: '{question_id}'; there are: {known}")
    return questions


def prove(question, options):
    """Runs all proofs of an answer. The exit status: 0 if it holds, 1 if not, 77 if that could not
    be decided. A citation, and a figure that was only seen, can neither hold nor fail."""
    verdicts = [interview.prove(proof, options.root, options.build_dir)
                for proof in question.proofs if proof.kind != 'bench']
    open_claims = False
    if question.claims:
        verdicts.append(interview.prove_claims(question, options.root, options.build_dir))
        open_claims = verdicts[-1] is None
    if False in verdicts:
        print('THE PROOF FAILED.')
        return 1
    if open_claims:
        print('Not decided: repeat it when the machine has less to do.')
        return 77
    print('The proof holds.' if True in verdicts else
          'Nothing here can fail: read it, and judge for yourself.')
    return 0


def ask(question, number, count, options):
    """One question, until the user wants the next one. False when he wants to end."""
    print(f'\n{number} of {count} · {question.theme} · {question.id}\n{bold(question.title)}')
    answered = False
    while True:
        key = input(f'\n[{HELP}] ').strip().lower()
        print()
        if key in ('n', 'q'):
            return key == 'n'
        if key == 'f':
            for part in interview.PARTS[1:4]:
                print(bold(part) + '\n' + wrapped(question.parts[part]) + '\n')
            answered = True
        elif key != '':
            print(f"'{key}' means nothing here")
        elif not answered:
            print(wrapped(question.parts['In 30 seconds.']))
            answered = True
        else:
            try:
                prove(question, options)
            except (Failure, BuildFailed) as failure:
                print(failure)


def run(options):
    questions = choose(interview.load(options.root), options.theme, options.prove)
    if options.list:
        for question in questions:
            print(f'{question.theme:<14}{question.id:<28}{question.title}')
        return 0
    if options.prove is not None:
        print(bold(questions[0].title))
        return prove(questions[0], options)
    random.Random(options.seed).shuffle(questions)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        first = questions[0]
        print(f'{first.theme} · {first.id}\n{first.title}\n'
              f'The answer is in docs/interview/{first.theme}.md; its proof: '
              f'tools/quiz --prove {first.id}')
        return 0
    for number, question in enumerate(questions, 1):
        if not ask(question, number, len(questions), options):
            break
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--list', action='store_true', help='list the questions')
    parser.add_argument('--theme', metavar='T', help='only the questions of docs/interview/T.md')
    parser.add_argument('--seed', metavar='N', type=int, help='the same order again')
    parser.add_argument('--prove', metavar='ID', help='run the proof of one answer')
    parser.add_argument('--build-dir', metavar='DIR', type=lambda d: pathlib.Path(d).resolve(),
                        help='where the tests are built (build/test, else build/quiz)')
    parser.add_argument('--root', type=pathlib.Path, help='another tree',
                        default=ROOT)
    options = parser.parse_args()
    try:
        return run(options)
    except (Failure, BuildFailed) as failure:
        print(f'quiz: {failure}', file=sys.stderr)
        return 2
    except (EOFError, KeyboardInterrupt):
        print()
        return 0
    except BrokenPipeError:  # `tools/quiz --list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
