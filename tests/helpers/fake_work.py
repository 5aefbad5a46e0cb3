"""Work for launchers without any training: a job writes its name into its result, and a log lists who did which job."""

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from adaptkit.artefacts.atomic_file import write_text
from trainers.launchers import Event, Job, Launcher, Place, Tell
from trainers.launchers.base import Perform

LONGEST = 300.0  # seconds that a test waits for an event; speed is never tested


def fake_jobs(out: Path, count: int, groups: int = 3) -> tuple[Job, ...]:
    """Make jobs of a few groups, ordered group by group."""
    per_group = -(-count // groups)
    return tuple(
        Job(f"job{index}", out / f"job{index}", f"group{index // per_group}", out / f"job{index}" / "result.txt")
        for index in range(count)
    )


@dataclass(frozen=True)
class FakeWork:
    """Jobs that take `seconds` each.

    Jobs in `bad` fail, jobs in `deadly` kill their worker, and jobs in `gated` wait until `open_gate` is called. Until
    then no worker is done, however slow the machine is, so a test that kills a worker kills it at work for certain.
    """

    out: Path
    jobs: Sequence[Job]
    seconds: float = 0.0
    bad: tuple[str, ...] = ()
    deadly: tuple[str, ...] = ()
    gated: tuple[str, ...] = ()
    broken: bool = False  # a file that all jobs need is missing
    command: str = "command"

    def open(self, place: Place) -> Perform:
        self.log(f"open {place.worker} {os.getpid()} {_started(os.getpid())}")
        if self.broken:
            raise ValueError("the weights are gone; bring them back")

        def perform(jobs: Sequence[Job], tell: Tell) -> Iterator[tuple[Job, str | None]]:
            self.log(f"together {' '.join(job.key for job in jobs)}")
            for job in jobs:
                yield job, self._do(job, tell)

        return perform

    def _do(self, job: Job, tell: Tell) -> str | None:
        self.log(f"{job.key} {os.getpid()}")
        if job.key in self.deadly:
            os.kill(os.getpid(), 9)
        if job.key in self.bad:
            return f"{job.key} is bad"
        tell(Event("epoch", job.key, 1))
        while job.key in self.gated and not self.gate.exists():
            time.sleep(0.02)
        time.sleep(self.seconds)
        write_text(job.result, job.key)
        return None

    @property
    def gate(self) -> Path:
        return self.out / "gate"

    def open_gate(self) -> None:
        """Let the gated jobs finish."""
        self.gate.touch()

    def log(self, line: str) -> None:
        with (self.out / "log").open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")

    def performed(self) -> list[str]:
        """Keys of the jobs that were begun, in order."""
        return [line.split()[0] for line in self._lines() if line.startswith("job")]

    def units(self) -> list[str]:
        """Keys of the jobs that were handed over together, in order."""
        return [line.removeprefix("together ") for line in self._lines() if line.startswith("together")]

    def pids(self) -> list[int]:
        """Process ids of the workers that were opened."""
        return [int(line.split()[2]) for line in self._lines() if line.startswith("open")]

    def at(self, key: str) -> int:
        """Process id of the worker that began a job last; waits until the job is begun."""
        wait_until(lambda: key in self.performed())
        return next(int(line.split()[1]) for line in reversed(self._lines()) if line.split()[0] == key)

    def kill_some(self, times: int, rng: random.Random) -> None:
        """Kill workers with SIGKILL at random moments; the gate must be closed."""
        for _ in range(times):
            time.sleep(rng.uniform(0.1, 1.0))
            wait_until(lambda: self._killed_one(rng))

    def _killed_one(self, rng: random.Random) -> bool:
        with suppress(IndexError, ProcessLookupError):  # all workers are dead, and others have not begun yet
            os.kill(rng.choice(self._alive()), signal.SIGKILL)
            return True
        return False

    def _alive(self) -> list[int]:
        """Ids of the opened workers that still run: no zombies, and no later processes with the same number."""
        opened = [line.split()[2:] for line in self._lines() if line.startswith("open")]
        return [int(pid) for pid, started in opened if _started(int(pid)) == started]

    def _lines(self) -> list[str]:
        log = self.out / "log"
        return log.read_text(encoding="utf-8").splitlines() if log.exists() else []


@contextmanager
def launched(launcher: Launcher, work: FakeWork) -> Iterator[list[Event]]:
    """Launch work in a thread beside the block, wait for its end after the block, and yield the list of its events."""
    told: list[Event] = []
    errors: list[BaseException] = []

    def launch() -> None:
        try:
            launcher.launch(work, told.append)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=launch, daemon=True)
    thread.start()
    yield told
    thread.join(timeout=LONGEST)
    assert not thread.is_alive(), f"the launcher has not ended; the log has {work._lines()}"
    if errors:
        raise errors[0]


def wait_until(condition: Callable[[], bool]) -> None:
    """Poll a condition until it holds."""
    deadline = time.monotonic() + LONGEST
    while not condition():
        assert time.monotonic() < deadline, f"waited for {LONGEST:g} s"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    """Whether a process runs."""
    return bool(_started(pid))


def _started(pid: int) -> str:
    """Start time of a process in the system's ticks; "" if it is gone or a zombie."""
    try:
        state, *numbers = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if state == "Z" else numbers[18]
