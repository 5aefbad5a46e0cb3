"""The processes below this one, as Linux lists them: who is alive, who is whose, and who is left."""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

SET_CHILD_SUBREAPER = 36  # of prctl(2)
LOOK_SECONDS = 0.002


@dataclass(frozen=True)
class Process:
    """A process that runs."""

    pid: int
    parent: int
    command: str  # its name, and the words it was started with


class Family:
    """The descendants of this process. It adopts those whose parents die, so none is out of its sight."""

    def __init__(self) -> None:
        if sys.platform != "linux":
            raise OSError(f"processes are followed through /proc, which {sys.platform} has not; use Linux")
        ctypes.CDLL(None, use_errno=True).prctl(SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._statuses: dict[int, int] = {}

    def exit_code(self, pid: int) -> int | None:
        """The exit code of a child, negative if a signal ended it; None while it runs."""
        self._reap()
        return self._statuses.get(pid)

    def alive(self) -> list[Process]:
        """All descendants that run."""
        self._reap()
        return below(os.getpid())

    def gone_within(self, seconds: float) -> bool:
        """Wait until no descendant runs; return whether that came to be."""
        return wait_until(lambda: not self.alive(), seconds)

    def end(self) -> None:
        """Kill all descendants."""
        while left := self.alive():
            for process in left:
                send(process.pid, signal.SIGKILL)
            time.sleep(LOOK_SECONDS)

    def _reap(self) -> None:
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    return
                self._statuses[pid] = os.waitstatus_to_exitcode(status)


def below(pid: int) -> list[Process]:
    """All running descendants of a process, parents before their children."""
    children: dict[int, list[Process]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and (process := _read(entry)) is not None:
            children.setdefault(process.parent, []).append(process)
    found: list[Process] = []
    front = [pid]
    while front:
        nearest = [child for parent in front for child in children.get(parent, ())]
        found += nearest
        front = [child.pid for child in nearest]
    return found


def _read(entry: Path) -> Process | None:
    """The process of a folder in /proc, or None if it has ended."""
    try:
        state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
        words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        command = f"{(entry / 'comm').read_text().strip()}: {words}"
    except (OSError, ValueError):
        return None
    return None if state in "ZX" else Process(int(entry.name), int(parent), command)


def send(pid: int, number: int, to_group: bool = False) -> bool:
    """Send a signal; return whether there was someone to take it."""
    try:
        (os.killpg if to_group else os.kill)(pid, number)
    except ProcessLookupError:
        return False
    return True


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Look until a condition holds; return whether it did within so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK_SECONDS)
    return True
