"""The door through which every file of a user's is read: regular files only, of bounded size, depth and encoding.

A folder of images, a download or a shared disk may hold pipes that never answer, devices that never end, files that
are too large, and text in any encoding. Each of them becomes one error that names the file and says what to do.
"""

import codecs
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Literal

Place = str | Path

MAX_TEXT_BYTES = 2**28  # 256 MiB: ten times the longest list of images in the field, ImageNet-21k's.
MAX_BYTES = 2**36  # 64 GiB: weights and archives, which are read in parts.
PART_BYTES = 2**16
MAX_DEPTH = 100  # of lists and mappings in one another

BOMS: tuple[tuple[bytes, str], ...] = (  # the longer ones first, because UTF-16's is the beginning of UTF-32's
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


class FileError(ValueError):
    """A file that cannot be used; the message names it and says what to do."""


def open_regular(path: Place, what: str, most: int = MAX_BYTES) -> BinaryIO:
    """Open a regular file for reading; links are followed.

    Args:
        path: "~" means the home folder.
        what: what the file should be, as it stands in an error: "table of images", "adapter".
        most: the largest size, in bytes.

    Raises:
        FileNotFoundError: if there is no such file.
        FileError: if it is a folder, a pipe, a socket or a device, is larger than `most`, or may not be read.
    """
    place = user_path(path, what)
    try:
        # Opening a pipe that nobody writes to would wait for ever without O_NONBLOCK; regular files ignore it.
        descriptor = os.open(place, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"there is no {what} {said(path)}; check the path") from error
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise FileError(f"cannot read the {what} {said(path)} ({reason}); give a file that may be read") from error
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise FileError(f"the {what} {said(path)} is a {_kind(facts.st_mode)}; give a regular file")
        if facts.st_size > most:
            raise FileError(f"the {what} {said(path)} has {facts.st_size} bytes; at most {most} are read")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_bytes(path: Place, what: str, most: int = MAX_TEXT_BYTES) -> bytes:
    """The content of a regular file.

    Raises:
        FileNotFoundError, FileError: as `open_regular` does.
    """
    with open_regular(path, what, most) as file:
        content = file.read(os.fstat(file.fileno()).st_size)
        # A file may have grown since, and those of /proc have size 0 and may never end.
        while len(content) <= most and (more := file.read(PART_BYTES)):
            content += more
    if len(content) > most:
        raise FileError(f"the {what} {said(path)} has more than {most} bytes; at most {most} are read")
    return content


def read_text(path: Place, what: str, most: int = MAX_TEXT_BYTES) -> str:
    """The text of a regular file in UTF-8, or in UTF-16 or UTF-32 if it begins with a byte-order mark.

    Raises:
        FileNotFoundError, FileError: as `open_regular` does, and where the bytes are no text in these encodings.
    """
    return decoded(read_bytes(path, what, most), what, path)


def decoded(content: bytes, what: str, path: Place) -> str:
    """Bytes -> text, without its byte-order mark.

    Raises:
        FileError: if they are not in UTF-8, UTF-16 or UTF-32; the message names the first byte that is not.
    """
    mark, encoding = next(((mark, name) for mark, name in BOMS if content.startswith(mark)), (b"", "utf-8"))
    try:
        return content[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        place = error.start + len(mark)
        raise FileError(
            f"the {what} {said(path)} is not text in {encoding.upper()} (byte {place} is "
            f"0x{content[place]:02x}); save it as UTF-8"
        ) from error


def read_json(path: Place, what: str, most: int = MAX_TEXT_BYTES) -> object:
    """The content of a JSON file.

    Raises:
        FileNotFoundError, FileError: as `read_text` does, and as `parse_json` does.
    """
    return parse_json(read_text(path, what, most), what, path)


def parse_json(text: str, what: str, path: Place) -> object:
    """JSON text -> its content.

    Raises:
        FileError: if it is no JSON, is a web page, or is nested deeper than `MAX_DEPTH`.
    """
    return parsed(json.loads, text, "JSON", what, path)


def parsed(parse: Callable[[str], object], text: str, form: Literal["JSON", "YAML"], what: str, path: Place) -> object:
    """Text of nested values -> its content.

    Args:
        parse: raises a ValueError where the text is not in its form.

    Raises:
        FileError: if it is not in its form, is a web page, or is nested deeper than `MAX_DEPTH`.
    """
    start = text[:2000].lstrip().lower()
    if start.startswith(("<!doctype", "<html", "<head", "<?xml")):
        raise FileError(f"the {what} {said(path)} is a web page, not {form}; download the file itself again")
    try:
        content = parse(text)
    except RecursionError as error:
        raise FileError(f"the {what} {said(path)} is nested too deeply; at most {MAX_DEPTH} levels are read") from error
    except ValueError as error:
        ended = " (it is empty)" if not text.strip() else ""
        reason = shortened(str(error))
        raise FileError(f"the {what} {said(path)} is not {form}{ended}: {reason}") from error
    if _deeper(content, MAX_DEPTH):
        raise FileError(f"the {what} {said(path)} is nested too deeply; at most {MAX_DEPTH} levels are read")
    return content


def _deeper(content: object, most: int) -> bool:
    """Whether lists and mappings stand in one another more than `most` times."""
    level: list[object] = [content]
    for _ in range(most + 1):
        level = [
            inner
            for outer in level
            if isinstance(outer, list | dict)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, list | dict)
        ]
        if not level:
            return False
    return True


def user_path(path: Place, what: str) -> Path:
    """A path as a user writes it, with "~" for the home folder.

    Raises:
        FileError: if it is empty, or names the home folder of somebody who is not known here.
    """
    if not str(path).strip():
        raise FileError(f"the path of the {what} is empty; give one")
    try:
        return Path(path).expanduser()
    except RuntimeError as error:  # "~name" of a user that is not known here
        raise FileError(f"cannot tell the home folder in {said(path)} ({error}); give the full path") from error


def _kind(mode: int) -> str:
    kinds = (
        (stat.S_ISDIR, "folder"),
        (stat.S_ISFIFO, "pipe"),
        (stat.S_ISSOCK, "socket"),
        (stat.S_ISCHR, "device"),
        (stat.S_ISBLK, "device"),
    )
    return next((name for is_kind, name in kinds if is_kind(mode)), "special file")


def said(path: Place) -> str:
    """A path as an error has it: in quotes, on one line, with escapes for what cannot be printed."""
    return repr(str(path))


def shortened(text: str, most: int = 300) -> str:
    """A message on one line, cut after `most` characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 4]} ..."
