"""Kills within a write: hooks in the process that writes, which strike before, during or just after it.

A file that appears whole or not at all is written in four steps: a temporary file is filled, its bytes are forced to
the disk, it takes the place of the final name, and what it makes superfluous is removed. A moment names one of the
points between those steps in one of the writes of a command.
"""

import multiprocessing
import os
import pathlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

What = Literal["checkpoint", "learnt", "record", "artefact", "features", "claim"]
Point = Literal["empty", "half", "written", "forced", "renamed", "soon"]
Whom = Literal["worker", "parent", "server", "group"]

POINTS: tuple[Point, ...] = ("empty", "half", "written", "forced", "renamed", "soon")
SOON_SECONDS = 0.004  # after the file has its name, while what is superfluous is being removed
SERVER = "forkserver"  # in the name or in the words of every fork server
ARTEFACTS = ("adapter_config", "README", "summary", "few_shot")


def kind(path: Path) -> tuple[What, str] | None:
    """Of which kind the write of a file is, and a name for the write; None for other files."""
    name = path.name.removeprefix(".")
    if path.parent.name == "checkpoints":
        return "checkpoint", str(path)
    if name.startswith("learnt.safetensors"):
        return "learnt", str(path)
    if name.startswith("record.json"):
        return "record", str(path)
    if name.startswith(ARTEFACTS):
        return "artefact", str(path)
    entry = next((part for part in path.parts[-2:] if part.startswith(".new-")), None)
    if entry is not None:
        return "features", entry
    return ("claim", str(path)) if name == "claim" or name.endswith(".claim") else None


@dataclass(frozen=True)
class Moment:
    """One point in one write, and who is killed then."""

    what: What
    nth: int  # of the writes of this kind, counted from 1 in each process
    point: Point
    whom: Whom
    signal: int
    mark: Path  # made by the process that strikes, so that only one does

    def install(self) -> None:
        """Let this process strike when it comes to the moment."""
        hooks = _Hooks(self)
        if self.what == "claim":
            setattr(os, "open", hooks.open)  # noqa: B010  # with fewer overloads than the original
            return
        for name in ("write_bytes", "write_text", "replace", "rename"):
            setattr(pathlib.Path, name, _method(getattr(hooks, name)))
        setattr(os, "fsync", hooks.fsync)  # noqa: B010

    def strike(self) -> None:
        """Kill whom this moment names, once among all processes of a command."""
        try:
            self.mark.touch(exist_ok=False)
        except FileExistsError:
            return
        parent = multiprocessing.parent_process()
        if self.whom == "group":
            os.killpg(os.getpgid(0), self.signal)
        elif self.whom == "parent" and parent is not None and parent.pid is not None:
            os.kill(parent.pid, self.signal)
        elif self.whom == "server" and SERVER in _name(os.getppid()):  # otherwise it is gone already
            os.kill(os.getppid(), self.signal)
        elif self.whom == "server":
            return
        else:
            os.kill(os.getpid(), self.signal)


def _name(pid: int) -> str:
    """The name and the words of a process."""
    folder = Path(f"/proc/{pid}")
    return (folder / "comm").read_text() + (folder / "cmdline").read_text()


def _method(function: Callable[..., Any]) -> Callable[..., Any]:
    """As a method of paths."""
    return lambda path, *args, **options: function(path, *args, **options)


class _Hooks:
    """What stands in the place of the functions that write: it counts writes of the kind, and strikes at the nth."""

    def __init__(self, moment: Moment):
        self.moment = moment
        self.seen: list[str] = []
        path = pathlib.Path
        self.own_write, self.own_replace, self.own_rename = path.write_bytes, path.replace, path.rename
        self.own_fsync, self.own_open = os.fsync, os.open

    def write_bytes(self, path: Path, data: bytes) -> int:
        if not self._is_it(path):
            return self.own_write(path, data)
        for point, part in (("empty", b""), ("half", data[: len(data) // 2]), ("written", data)):
            self.own_write(path, part)
            self._come_to(point)
        return len(data)

    def write_text(self, path: Path, data: str, encoding: str | None = None, **_: object) -> int:
        return self.write_bytes(path, data.encode(encoding or "utf-8"))

    def fsync(self, fd: int) -> None:
        self.own_fsync(fd)
        if self._is_it(Path(f"/proc/self/fd/{fd}").readlink()):
            self._come_to("forced")

    def replace(self, path: Path, target: Path) -> Path:
        return self._move(path, target, self.own_replace)

    def rename(self, path: Path, target: Path) -> Path:
        return self._move(path, target, self.own_rename)

    def open(self, path: Any, flags: int, *args: Any, **options: Any) -> int:
        """A claim's file has been created and does not say yet whose it is."""
        fd = self.own_open(path, flags, *args, **options)
        if flags & os.O_EXCL and isinstance(path, str | os.PathLike) and self._is_it(Path(os.fspath(path))):
            self.moment.strike()
        return fd

    def _is_it(self, path: Path) -> bool:
        """Whether the path belongs to the nth write of this kind."""
        found = kind(path)
        if found is None or found[0] != self.moment.what:
            return False
        if found[1] not in self.seen:
            self.seen.append(found[1])
        return self.seen.index(found[1]) == self.moment.nth - 1

    def _come_to(self, point: str) -> None:
        if point == self.moment.point:
            self.moment.strike()

    def _move(self, path: Path, target: Path, move: Callable[[Path, Path], Path]) -> Path:
        is_it = self._is_it(path)
        moved = move(path, target)
        if is_it and self.moment.point == "soon":
            threading.Timer(SOON_SECONDS, self.moment.strike).start()
        elif is_it:
            self._come_to("renamed")
        return moved
