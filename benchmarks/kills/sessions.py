"""One run of a command in a fork of this process, which has done the imports already."""

import multiprocessing.util
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.kills.moments import SERVER
from benchmarks.kills.tiny import Tiny
from trainers.cli import main

LOG_FILE = "log.txt"


@dataclass(frozen=True)
class Place:
    """Where a command works; every round has a place of its own."""

    folder: Path  # records, adapters and the cache
    temporary: Path  # for the system's temporary files; short, as names of sockets have to be

    @property
    def out(self) -> Path:
        return self.folder / "out"

    @property
    def cache(self) -> Path:
        return self.folder / "cache"


def start(argv: Sequence[str], place: Place, tiny: Tiny, warm: bool) -> int:
    """Begin a command in a process that leads a group of its own; return the process's id.

    Args:
        warm: let fork servers be forks of the command's process, too, instead of fresh interpreters.
    """
    place.folder.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.setsid()
        _enter(place, tiny)
        if warm:
            multiprocessing.util.spawnv_passfds = _Spawn()
        code = main(argv)
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        multiprocessing.util._exit_function()  # type: ignore[attr-defined]  # what an interpreter does at its end
        sys.stdout.flush()
        os._exit(code)


def _enter(place: Place, tiny: Tiny) -> None:
    log = os.open(place.folder / LOG_FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
    os.environ["ADAPTKIT_CACHE"], os.environ["TMPDIR"] = str(place.cache), str(place.temporary)
    tempfile.tempdir = str(place.temporary)
    tiny.install()
    tiny.install_launchers()


class _Spawn:
    """In the place of what starts fork servers and resource trackers: forks this process for the former.

    The fork does what the fresh interpreter would, `multiprocessing.forkserver.main`, and saves its seconds of imports.
    """

    def __init__(self) -> None:
        self.in_a_fresh_interpreter = multiprocessing.util.spawnv_passfds

    def __call__(self, path: bytes, args: Sequence[Any], passfds: Sequence[int]) -> int:
        if "multiprocessing.forkserver" not in str(args[-1]):
            return self.in_a_fresh_interpreter(path, args, passfds)
        pid = os.fork()
        if pid:
            return pid
        try:
            Path("/proc/self/comm").write_text(SERVER)
            kept = [0, 1, 2, *sorted(passfds)]
            for low, high in zip(kept, [*kept[1:], os.sysconf("SC_OPEN_MAX")], strict=True):
                os.closerange(low + 1, high)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            exec(args[-1], {})
        finally:
            os._exit(0)
