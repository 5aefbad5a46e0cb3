"""Values as they are written on the command line: types for argparse that say what was expected.

Every option that takes a value has one of them, so that an empty word or a number out of range ends the command before
anything is read or computed.
"""

import argparse
import math
import re
from collections.abc import Callable
from pathlib import Path

from trainers.bounds import MOST_PROCESSES, MOST_SEED
from trainers.budget import read_budget

DEVICES = re.compile(r"auto|cpu|cuda(:\d{1,3})?")


def text(written: str) -> str:
    """A word or words, not blank."""
    if not written.strip():
        raise argparse.ArgumentTypeError("it is empty; leave the option out, or name something")
    return written


def class_names(written: str) -> str:
    """Class names with commas, or one name, as it was written: which of the two is for the verb to say."""
    if not written.strip():
        raise argparse.ArgumentTypeError(
            "it is an empty name; give names with commas between them, such as corgi,husky"
        )
    return written


def path(written: str) -> Path:
    """A file or folder by name; the current folder is ".", and not an empty word."""
    if not written.strip():
        raise argparse.ArgumentTypeError('it is empty; name a path ("." is the current folder)')
    if "\0" in written:
        raise argparse.ArgumentTypeError(f"{written!r} is no path")
    return Path(written)


def path_as_text(written: str) -> str:
    """A path, as it was written."""
    path(written)
    return written


def device(written: str) -> str:
    """A device that towers run on: auto, cpu, cuda or cuda:N."""
    if not DEVICES.fullmatch(written):
        raise argparse.ArgumentTypeError(f"device is {written!r}; use auto, cpu, cuda or cuda:1")
    return written


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """A whole number of this range."""

    def read(written: str) -> int:
        return _whole(written, least, most)

    return read


def number(
    *, least: float | None = None, most: float | None = None, above: float | None = None
) -> Callable[[str], float]:
    """A finite number of this range; `above` is not in it."""

    def read(written: str) -> float:
        try:
            value = float(written)
        except ValueError:
            value = math.nan
        inside = (least is None or value >= least) and (most is None or value <= most)
        if not (math.isfinite(value) and inside and (above is None or value > above)):
            ends = [f"{least:g} or more" if least is not None else "", f"at most {most:g}" if most is not None else ""]
            ends.append(f"more than {above:g}" if above is not None else "")
            raise argparse.ArgumentTypeError(
                f"{written!r}; expected a number, {' and '.join(filter(None, ends)) or 'finite'}"
            )
        return value

    return read


def probability(written: str) -> float:
    """A probability from 0 to 1."""
    try:
        return number(least=0, most=1)(written)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"{written!r}; expected a probability from 0 to 1") from None


def budget(written: str) -> str:
    """A time or a number of steps, as it was written."""
    try:
        return read_budget(written).written
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def names(written: str) -> list[str]:
    """ "coop,maple" -> ["coop", "maple"]; at least one."""
    found = [part.strip() for part in written.split(",") if part.strip()]
    if not found:
        raise argparse.ArgumentTypeError(f"{written!r} names nothing; give names, with commas between them")
    return found


def wholes(least: int, most: int | None = None) -> Callable[[str], list[int]]:
    """ "1,2,4" -> [1, 2, 4]; at least one."""

    def read(written: str) -> list[int]:
        return [_whole(part, least, most) for part in names(written)]

    return read


shots = wholes(1)
seed = whole(0, MOST_SEED)
seeds = wholes(0, MOST_SEED)
count = whole(1)
processes = whole(1, MOST_PROCESSES)
helpers = whole(0, MOST_PROCESSES)  # processes beside the command's own, which may be none
port = whole(1, 65535)


def _whole(written: str, least: int, most: int | None) -> int:
    try:
        value = int(written)
    except ValueError:
        value = None
    if value is None or value < least or (most is not None and value > most):
        expected = f"{least} or more" if most is None else f"from {least} to {most}"
        raise argparse.ArgumentTypeError(f"{written!r}; expected a whole number, {expected}")
    return value
