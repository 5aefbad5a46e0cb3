"""Workers on this machine: this process itself, or one process per device."""

import multiprocessing as mp
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING

from trainers.launchers.base import (
    END_SECONDS,
    POLL_SECONDS,
    Event,
    Perform,
    Place,
    Tell,
    Watch,
    Work,
    be_worker,
    go_through,
)

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext, ForkServerProcess, SpawnContext, SpawnProcess

UNKNOWN_END = 255  # multiprocessing's exit code of a process whose fork server, which knows the true one, is gone
STARTS = 5  # attempts to start a process while its fork server is being killed

Be = Callable[[Work, Place, Connection], str | None]  # a process's body: sends events, returns an error


@dataclass(frozen=True)
class InProcess:
    """Launcher whose only worker is this process.

    Args:
        perform: does a job with objects that this process has loaded already.
    """

    perform: Perform
    device: str

    def launch(self, work: Work, tell: Tell) -> None:
        """Do every job here; errors that concern more than one job are raised unchanged."""
        watch = Watch(work, tell, 1)
        go_through(work, Place(0, 1, self.device), watch.hear, self.perform)
        watch.conclude()


@dataclass(frozen=True)
class Local:
    """Launcher with one worker process per device; a device may be named more than once."""

    devices: Sequence[str]

    def launch(self, work: Work, tell: Tell) -> None:
        """Start the workers, pass on their events, and replace workers that die."""
        watch, errors = Watch(work, tell, len(self.devices)), list[str]()
        crew: dict[int, Member] = {}
        try:
            for index in range(len(self.devices)):
                crew[index] = Member(work, self._place(index), be_alone)
            while crew and watch.goes_on():
                wait([member.ear for member in crew.values()], timeout=POLL_SECONDS)
                for index, member in list(crew.items()):
                    if member.listen(watch, errors):
                        continue
                    del crew[index]
                    if member.was_killed and watch.may_replace():
                        crew[index] = Member(work, self._place(index), be_alone)
                watch.look()
        finally:
            for member in crew.values():
                member.end()
        watch.conclude(errors)

    def _place(self, index: int) -> Place:
        return Place(index, len(self.devices), self.devices[index])


class Member:
    """One worker process and the pipe for its messages."""

    def __init__(self, work: Work, place: Place, be: Be):
        context = fresh_processes()
        self.ear, mouth = context.Pipe(duplex=False)
        self.process = context.Process(target=_be_process, args=(be, work, place, mouth))
        self.is_over = False
        try:
            _start(self.process)
        finally:
            mouth.close()  # the worker holds its own copy; when it dies, `ear` reports the end of the pipe

    @property
    def was_killed(self) -> bool:
        """Whether a signal ended the process, perhaps from the system because memory ran out.

        Of a process whose fork server was killed nobody knows how it ended; another may take its place.
        """
        code = self.process.exitcode or 0
        return not self.is_over and (code < 0 or code == UNKNOWN_END)

    def listen(self, watch: Watch, errors: list[str]) -> bool:
        """Read all waiting messages and return whether the worker is still running."""
        try:
            while self.ear.poll():
                said = self.ear.recv()
                if isinstance(said, Event):
                    watch.hear(said)
                    continue
                self.is_over = True
                if said is not None:
                    errors.append(said)
        except (EOFError, OSError):  # the worker has ended
            self.process.join()
            self.ear.close()
            if not self.is_over and not self.was_killed:
                errors.append(f"a worker ended with exit code {self.process.exitcode}; its error stands above")
            return False
        return True

    def end(self) -> None:
        """Kill the worker process, whatever it is doing."""
        self.process.kill()
        self.process.join()
        if self.process.exitcode == UNKNOWN_END:
            self._end_without_server()
        self.ear.close()

    def _end_without_server(self) -> None:
        """Kill the process if it still holds its end of the pipe, which says more than the fork server that is gone."""
        with suppress(EOFError, OSError):
            while self.ear.poll():
                self.ear.recv()
            assert self.process.pid is not None
            os.kill(self.process.pid, signal.SIGKILL)
            deadline = time.monotonic() + END_SECONDS
            while time.monotonic() < deadline:
                if self.ear.poll(POLL_SECONDS):
                    self.ear.recv()


def _start(process: "SpawnProcess | ForkServerProcess") -> None:
    """Start a process; if its fork server is killed meanwhile, another one is begun with the next attempt."""
    for attempt in range(STARTS):
        try:
            process.start()
        except (EOFError, ConnectionError):
            if attempt + 1 == STARTS:
                raise
            time.sleep(POLL_SECONDS / STARTS)
        else:
            return


def fresh_processes() -> "SpawnContext | ForkServerContext":
    """Choose the way to start workers: forks of a clean process that has done the imports, or else spawning.

    A fork of this process would share its CUDA context and the locks of its threads.
    """
    if "forkserver" not in mp.get_all_start_methods():
        return mp.get_context("spawn")
    context = mp.get_context("forkserver")
    context.set_forkserver_preload(["trainers.bench.jobs"])
    return context


def be_alone(work: Work, place: Place, mouth: Connection) -> str | None:
    """Be a worker on its own; return an error that the user can fix as one line, or None."""
    return be_worker(work, place, mouth.send)


def _be_process(be: Be, work: Work, place: Place, mouth: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    mouth.send(be(work, place, mouth))


def _end_with_parent() -> None:
    parent = mp.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
