"""The processes below this one, as Linux lists them: who is alive, who is whose, and who is left."""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Set
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

SET_CHILD_SUBREAPER = 36  # of prctl(2)
LOOK_SECONDS = 0.002


@dataclass(frozen=True)
class Process:
    """A process."""

    pid: int
    parent: int
    command: str  # its name, and the words it was started with
    has_ended: bool  # and waits for its parent to take notice


class Family:
    """The descendants that this process has from now on. It adopts those whose parents die, so none is out of sight."""

    def __init__(self) -> None:
        if sys.platform != "linux":
            raise OSError(f"processes are followed through /proc, which {sys.platform} has not; use Linux")
        self._others = frozenset(process.pid for process in below(os.getpid()))
        self._statuses: dict[int, int] = {}
        _adopt_orphans(True)

    def exit_code(self, pid: int) -> int | None:
        """The exit code of a child, negative if a signal ended it; None while it runs."""
        if pid not in self._statuses:
            with suppress(ChildProcessError):
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    self._statuses[pid] = os.waitstatus_to_exitcode(status)
        return self._statuses.get(pid)

    def alive(self) -> list[Process]:
        """All descendants that run; those that have ended are reaped."""
        found = below(os.getpid(), self._others)
        for process in found:
            if process.has_ended and process.parent == os.getpid():
                self.exit_code(process.pid)
        return [process for process in found if not process.has_ended]

    def gone_within(self, seconds: float) -> bool:
        """Wait until no descendant runs; return whether that came to be."""
        return wait_until(lambda: not self.alive(), seconds)

    def end(self) -> None:
        """Kill all descendants."""
        while left := self.alive():
            for process in left:
                send(process.pid, signal.SIGKILL)
            time.sleep(LOOK_SECONDS)

    def close(self) -> None:
        """Adopt no more orphans."""
        _adopt_orphans(False)


def _adopt_orphans(yes: bool) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(SET_CHILD_SUBREAPER, int(yes), 0, 0, 0)


def below(pid: int, others: Set[int] = frozenset()) -> list[Process]:
    """All descendants of a process but `others` and theirs, parents before their children."""
    children: dict[int, list[Process]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and (process := _read(entry)) is not None and process.pid not in others:
            children.setdefault(process.parent, []).append(process)
    found: list[Process] = []
    front = [pid]
    while front:
        nearest = [child for parent in front for child in children.get(parent, ())]
        found += nearest
        front = [child.pid for child in nearest]
    return found


def _read(entry: Path) -> Process | None:
    """The process of a folder in /proc, or None if it is no more."""
    try:
        state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
        words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        command = f"{(entry / 'comm').read_text().strip()}: {words}"
    except (OSError, ValueError):
        return None
    return Process(int(entry.name), int(parent), command, state in "ZX")


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
