"""Work for launchers without any training: a job writes its name into its result, and a log says who did what."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainers.launchers import Event, Job, Place, Tell
from trainers.records import write_text


def fake_jobs(out: Path, count: int, groups: int = 3) -> tuple[Job, ...]:
    """Jobs of a few groups, group by group."""
    per_group = -(-count // groups)
    return tuple(
        Job(f"job{index}", out / f"job{index}", f"group{index // per_group}", out / f"job{index}" / "result.txt")
        for index in range(count)
    )


@dataclass(frozen=True)
class FakeWork:
    """Jobs that take some seconds each; those in `bad` fail, and those in `deadly` kill their worker."""

    out: Path
    jobs: Sequence[Job]
    seconds: float = 0.0
    bad: tuple[str, ...] = ()
    deadly: tuple[str, ...] = ()
    broken: bool = False  # what all jobs need is not there
    command: str = "command"

    def open(self, place: Place) -> Callable[[Job, Tell], str | None]:
        self.log(f"open {place.worker} {os.getpid()}")
        if self.broken:
            raise ValueError("the weights are gone; bring them back")

        def perform(job: Job, tell: Tell) -> str | None:
            self.log(f"{job.key} {os.getpid()}")
            if job.key in self.deadly:
                os.kill(os.getpid(), 9)
            if job.key in self.bad:
                return f"{job.key} is bad"
            tell(Event("epoch", job.key, 1))
            time.sleep(self.seconds)
            write_text(job.result, job.key)
            return None

        return perform

    def log(self, line: str) -> None:
        with (self.out / "log").open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")

    def performed(self) -> list[str]:
        """Keys of the jobs that were begun, in order."""
        return [line.split()[0] for line in self._lines() if line.startswith("job")]

    def pids(self) -> list[int]:
        """Of the workers that were opened."""
        return [int(line.split()[2]) for line in self._lines() if line.startswith("open")]

    def _lines(self) -> list[str]:
        log = self.out / "log"
        return log.read_text(encoding="utf-8").splitlines() if log.exists() else []
