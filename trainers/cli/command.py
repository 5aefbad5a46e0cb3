"""The `adaptkit` command: parse, call, print. Heavy imports stay inside the verbs, so that help answers at once."""

import argparse
import functools
import re
import sys
import traceback
import warnings
from collections.abc import Sequence
from types import ModuleType
from typing import NoReturn

from adaptkit.regular_file import said, shortened
from trainers.cli import (
    align,
    backbones,
    bench,
    captions,
    compose,
    continual,
    das,
    data,
    descriptors,
    diagnose,
    distill,
    doctor,
    fdt,
    grade,
    languages,
    link,
    methods,
    pairs,
    regions,
    report,
    reproduce,
    retrieve,
    runs,
    settings,
    sinc,
    suggest,
    texts,
    train,
    tune,
    tune_recipe,
    upgrade,
)
from trainers.cli.adapter import calibrate, convert, evaluate, explain, export, predict, serve

OK, OURS, THEIRS, STOPPED = 0, 1, 2, 130  # exit codes; OURS is a fault of adaptkit, THEIRS one of the input
REPORT_TO = "https://github.com/adaptkit/adaptkit/issues"
ESCAPE_CODE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
VERBS = (  # Modules with verbs, in the order of the help.
    bench,
    methods,
    settings,
    backbones,
    train,
    tune,
    tune_recipe,
    align,
    continual,
    suggest,
    diagnose,
    distill,
    predict,
    evaluate,
    calibrate,
    explain,
    serve,
    export,
    convert,
    data,
    pairs,
    descriptors,
    texts,
    regions,
    report,
    runs,
    reproduce,
    das,
    sinc,
    fdt,
    captions,
    retrieve,
    compose,
    upgrade,
    grade,
    link,
    languages,
    doctor,
)


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, as all others are; its verbs have such parsers too."""

    def error(self, message: str) -> NoReturn:
        """Print the error and leave with the code of a mistake in the input.

        Raises:
            ValueError: if an option cannot have its value, as for a setting.
        """
        verb = self.prog
        if message.startswith("argument ") and "invalid choice" not in message:
            raise ValueError(f"{message}; `{verb} --help` lists what there is")
        self.exit(THEIRS, f"adaptkit: error: {one_line(message)}; `{verb} --help` lists what there is\n")


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        The exit code: 0; 2 after an error that the user can put right; 1 after one that is ours.

    Raises:
        KeyboardInterrupt: after Ctrl-C.
        BrokenPipeError: if nobody reads the output any more.
        SystemExit: after `--help`, and after words that are no command.
    """
    parser = _parser_of(VERBS)
    try:
        args, rest = parser.parse_known_args(argv)
    except ValueError as error:
        print(f"adaptkit: error: {one_line(str(error))}", file=sys.stderr)
        return THEIRS
    for option, value in vars(args).items():
        if isinstance(value, list):
            setattr(args, option, list(value))  # a default, perhaps, which is the parser's own
    takes_overrides = hasattr(args, "overrides")
    unknown = [word for word in rest if (word.startswith("-") and not _is_number(word)) or not takes_overrides]
    if unknown:
        parser.error(f"unrecognised: {' '.join(unknown)}")
    if takes_overrides:
        args.overrides += rest  # argparse gives up on pairs between options, and takes -1e-3 for one.
    warnings.showwarning = _say_warning
    try:
        return args.run(args)
    except BrokenPipeError:
        raise
    except Exception as error:
        if _was_interrupted(error):
            raise KeyboardInterrupt from error
        if args.traceback:
            traceback.print_exc()
        line, code = explained(error)
        print(f"adaptkit: error: {line}", file=sys.stderr)
        return code


def _was_interrupted(error: BaseException | None) -> bool:
    """Whether an error came of Ctrl-C: libraries that import others on demand hide it in an ImportError."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def explained(error: Exception) -> tuple[str, int]:
    """An error as one line, and the exit code that goes with it."""
    # Users can put these right: files, settings, names, optional packages and diverged trainings.
    if isinstance(error, ValueError | OSError | ImportError | ArithmeticError):
        return one_line(said_of(error)), THEIRS
    if isinstance(error, MemoryError):
        return (
            "this machine has not enough memory; lower OPTIM.BATCH_SIZE or --workers, or take a smaller backbone",
            THEIRS,
        )
    what = one_line(f"{type(error).__name__}: {error}")
    return (
        f"this is a fault of adaptkit ({what}); please report it at {REPORT_TO}, with what `adaptkit --traceback` "
        "before the same words prints",
        OURS,
    )


def said_of(error: Exception) -> str:
    """What an error says; one without words is called by its kind."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.strerror}: {said(error.filename)}"
    return str(error) or type(error).__name__


def one_line(text: str, most: int = 2000) -> str:
    """Text for one line of a terminal: no line breaks, no escape codes, and not endless."""
    plain = "".join(letter if letter.isprintable() else " " for letter in ESCAPE_CODE.sub("", text))
    return shortened(plain, most)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _say_warning(message: Warning | str, *_: object, **__: object) -> None:
    """Print a warning for people, without the place in the code that it came from."""
    print(f"adaptkit: warning: {one_line(str(message))}", file=sys.stderr)


def build_parser() -> argparse.ArgumentParser:
    """The parser of all verbs with their options; neither this module nor the parser imports torch."""
    return _parser_of(VERBS)


@functools.cache
def _parser_of(modules: tuple[ModuleType, ...]) -> argparse.ArgumentParser:
    """Of the verbs of these modules: made once, which takes longer than many a command of one process."""
    parser = Parser(
        prog="adaptkit",
        description="Prompt learning and efficient adaptation of frozen CLIP models.",
        epilog="`adaptkit bench` works as it is: an embedded CLIP on embedded data sets, no network.",
    )
    parser.add_argument("--traceback", action="store_true", help="show where in the code an error came from")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for module in modules:
        module.add_parsers(verbs)
    return parser
