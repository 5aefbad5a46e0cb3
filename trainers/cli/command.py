"""The `adaptkit` command: parse, call, print. Heavy imports stay inside the verbs, so that help answers at once."""

import argparse
import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import NoReturn

from trainers.cli import backbones, bench, das, data, doctor, fdt, methods, report, reproduce, runs, settings, train
from trainers.cli.adapter import convert, evaluate, explain, export, predict, serve

OK, FAILED, STOPPED = 0, 2, 130
VERBS = (  # Modules with verbs, in the order of the help.
    bench,
    methods,
    settings,
    backbones,
    train,
    predict,
    evaluate,
    explain,
    serve,
    export,
    convert,
    data,
    report,
    runs,
    reproduce,
    das,
    fdt,
    doctor,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code is 0, 2 after an error, or 130 after Ctrl-C."""
    parser = build_parser()
    try:
        args, rest = parser.parse_known_args(argv)
    except ValueError as error:
        print(f"adaptkit: error: {' '.join(str(error).split())}", file=sys.stderr)
        return FAILED
    takes_overrides = hasattr(args, "overrides")
    unknown = [word for word in rest if (word.startswith("-") and not _is_number(word)) or not takes_overrides]
    if unknown:
        verb = " ".join(filter(None, (args.verb, getattr(args, f"{args.verb}_verb", None))))
        message = f"unrecognised: {' '.join(unknown)}; `adaptkit {verb} --help` lists the options"
        parser.exit(FAILED, f"adaptkit: error: {message}\n")
    if takes_overrides:
        args.overrides += rest  # argparse gives up on pairs between options, and takes -1e-3 for one.
    warnings.showwarning = _say_warning
    try:
        return args.run(args)
    except KeyboardInterrupt:
        print("\nadaptkit: stopped; what is finished is kept, and the same command goes on from there", file=sys.stderr)
        return STOPPED
    # Users can put these right: files, settings, names, optional packages and diverged trainings.
    except (ValueError, OSError, ImportError, ArithmeticError) as error:
        if args.traceback:
            traceback.print_exc()
        print(f"adaptkit: error: {' '.join(str(error).split())}", file=sys.stderr)
        return FAILED


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _say_warning(message: Warning | str, *_: object, **__: object) -> None:
    """Print a warning for people, without the place in the code that it came from."""
    print(f"adaptkit: warning: {' '.join(str(message).split())}", file=sys.stderr)


class OneLineParser(argparse.ArgumentParser):
    """A parser whose errors are one line, as all errors of the command are; its verbs have such parsers too.

    A value that an option cannot have is a ValueError, like one of a setting.
    """

    def error(self, message: str) -> NoReturn:
        if message.startswith("argument ") and "invalid choice" not in message:
            raise ValueError(f"{message}; `{self.prog} --help` lists the options")
        self.exit(FAILED, f"adaptkit: error: {' '.join(message.split())}; `{self.prog} --help` lists the options\n")


def build_parser() -> argparse.ArgumentParser:
    """The parser of all verbs with their options; neither this module nor the parser imports torch."""
    parser = OneLineParser(
        prog="adaptkit",
        description="Prompt learning and efficient adaptation of frozen CLIP models.",
        epilog="`adaptkit bench` works as it is: an embedded CLIP on embedded data sets, no network.",
    )
    parser.add_argument("--traceback", action="store_true", help="show where in the code an error came from")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for module in VERBS:
        module.add_parsers(verbs)
    return parser
