"""Files that appear whole or not at all."""

import errno
import functools
import hashlib
import os
import platform
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeAlias

Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
ABANDONED_SECONDS = 24 * 3600  # a half-written file older than this belongs to a process that died
MARK = re.compile(r"\.(?P<machine>[0-9a-f]{8})-(?P<pid>[0-9]+)-[0-9a-f]{8}")  # ends a temporary name: who writes it


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path for writing; it replaces `path` at the end, and vanishes if anything fails.

    A process that is killed leaves the temporary file; the next to write the same file removes it.

    Raises:
        OSError: if it cannot be written; where the disk is full, the message says which file and what to do.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(path)
    temporary = path.with_name(f".{path.name}.{_machine()}-{os.getpid()}-{uuid.uuid4().hex[:8]}")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        reason = f"{os.strerror(error.errno)}; make room and start again, what is finished is kept"
        raise OSError(error.errno, reason, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Have the new name on disk as well; not every system and disk can, and then the name comes a little later."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def is_half_written(path: Path) -> bool:
    """Whether a file is a temporary one of `replacing`, by its name."""
    return path.name.startswith(".") and MARK.fullmatch("." + path.name.rpartition(".")[2]) is not None


def _remove_abandoned(path: Path) -> None:
    """Remove what is left of processes that were killed while they wrote this file."""
    with suppress(OSError):  # another process removed it first, or may and we may not
        for entry in os.scandir(path.parent):
            mark = MARK.fullmatch(entry.name.removeprefix(f".{path.name}")) if entry.name.startswith(".") else None
            if mark is not None and (_is_dead(mark) or time.time() - entry.stat().st_mtime > ABANDONED_SECONDS):
                Path(entry.path).unlink(missing_ok=True)


def _is_dead(mark: re.Match[str]) -> bool:
    """Whether the process of a temporary file is known to have ended: it was on this machine and is there no more."""
    if os.name != "posix" or mark["machine"] != _machine():  # elsewhere a process cannot be asked without a signal
        return False
    try:
        os.kill(int(mark["pid"]), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


@functools.cache
def _machine() -> str:
    """The name of what process ids count in, 8 hex digits: a machine, or a container on it."""
    try:
        numbering = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        numbering = 0
    return hashlib.sha256(f"{platform.node()} {numbering}".encode()).hexdigest()[:8]
