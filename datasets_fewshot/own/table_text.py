"""The text of a table as tools write it: its encoding, and the separator between its columns."""

import codecs
import csv
import io
from collections.abc import Iterator
from pathlib import Path

from adaptkit.regular_file import BOMS
from adaptkit.regular_file import read_bytes as read_regular
from datasets_fewshot.splits.validation import SplitError

SEPARATORS = (",", ";", "\t", "|")
LINES_LOOKED_AT = 30  # for the separator
ENCODINGS_OF_WINDOWS = "cp1252"

Cells = tuple[int, list[str]]  # number of the line, counted from 1, and its cells without spaces around them


def read_lines(path: Path, what: str, encoding: str | None = None) -> str:
    """The text of a file of the user's, without a byte-order mark.

    UTF-8, and UTF-16 and UTF-32 with or without a mark, are recognised with certainty. Other encodings cannot be told
    apart and have to be named.

    Raises:
        SplitError: if the encoding is unknown or does not fit; the message names the line.
    """
    content = read_regular(path, what)
    if encoding is not None:
        return _decoded_as_told(content, encoding, path)
    mark, name = next(((mark, name) for mark, name in BOMS if content.startswith(mark)), (b"", _without_mark(content)))
    try:
        return content[len(mark) :].decode(name)
    except UnicodeDecodeError as error:
        body = content[len(mark) :]
        if name != "utf-8":
            raise SplitError(f"{path} begins like {name.upper()} and does not go on like it; save it anew") from error
        number = body.count(b"\n", 0, error.start) + 1
        line = body.splitlines()[number - 1] if body.splitlines() else body
        guess = line.decode(ENCODINGS_OF_WINDOWS, "replace").strip()[:80]
        raise SplitError(
            f"{path}: line {number} is not UTF-8 (byte 0x{body[error.start]:02x}); name its encoding, such as "
            f"--encoding {ENCODINGS_OF_WINDOWS} of Windows, in which the line is {guess!r}, or save it as UTF-8"
        ) from error


def _without_mark(content: bytes) -> str:
    """UTF-16 of western text has a zero in every other byte, which no other encoding of text has."""
    head = content[:2000]
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if len(head) >= 4 and max(even, odd) > len(head) // 4 and not min(even, odd):
        return "utf-16-be" if even else "utf-16-le"
    return "utf-8"


def _decoded_as_told(content: bytes, encoding: str, path: Path) -> str:
    try:
        name = codecs.lookup(encoding).name
        text = content.decode(name)
    except LookupError as error:
        raise SplitError(
            f"no encoding is called {encoding!r}; usual ones are utf-8, cp1252, utf-16 and cp932"
        ) from error
    except (UnicodeDecodeError, ValueError) as error:
        raise SplitError(f"{path} is not text in {encoding} ({error}); name another --encoding") from error
    if not isinstance(text, str):
        raise SplitError(f"{encoding!r} is no encoding of text; usual ones are utf-8, cp1252, utf-16 and cp932")
    return text.removeprefix("\ufeff")


def split_cells(text: str, usual: str, path: Path) -> Iterator[Cells]:
    """The rows of a table with separated columns; empty rows are left out.

    Args:
        usual: the separator that its ending promises; another one is taken where it fits and this one does not.

    Raises:
        SplitError: at a quote that is not closed.
    """
    separator, skipped = _declared_separator(text)
    separator = separator or find_separator(text, usual)
    before = csv.field_size_limit()
    csv.field_size_limit(max(before, len(text) + 1))  # a column of notes or of embedded images may be long
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True, skipinitialspace=True)
    begins = 1
    try:
        for cells in reader:
            place, begins = begins, reader.line_num + 1
            if place > skipped and any(cell.strip() for cell in cells):
                yield place, [cell.strip() for cell in cells]
    except csv.Error as error:
        raise SplitError(
            f"{path}: the row that begins on line {begins} cannot be read ({error}); close its quotes, and write a "
            'quote inside quotes as ""'
        ) from error
    finally:
        csv.field_size_limit(before)


def _declared_separator(text: str) -> tuple[str | None, int]:
    """The separator of a first line "sep=;", as Excel writes and reads it, and how many lines that takes up."""
    first = text.split("\n", 1)[0].strip().strip('"')
    return (first[4], 1) if first.lower().startswith("sep=") and len(first) == 5 else (None, 0)


def find_separator(text: str, usual: str) -> str:
    """The separator that cuts the first lines into equally many columns, two or more; `usual` where several do."""
    lines = [line for line in text.splitlines()[:LINES_LOOKED_AT] if line.strip()]
    widths = {separator: _widths(lines, separator) for separator in (usual, *SEPARATORS)}
    fitting = [separator for separator, found in widths.items() if len(found) == 1 and min(found) > 1]
    return max(fitting, key=lambda separator: (separator == usual, min(widths[separator])), default=usual)


def _widths(lines: list[str], separator: str) -> set[int]:
    try:
        return {len(cells) for cells in csv.reader(lines, delimiter=separator, skipinitialspace=True) if cells}
    except csv.Error:
        return set()
