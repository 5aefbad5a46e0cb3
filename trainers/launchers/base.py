"""The shared part of all launchers: jobs, and workers that go through them.

Every worker goes through the same jobs and does those that no other worker is doing; claims in the jobs' folders
ensure that. Jobs that are alike are done side by side, as far as they are free. So launchers only start workers and
replace those that die: none hands out jobs, and two commands, or two machines with a shared disk, may work on the same
jobs. A job is settled when its result or its failure is on disk.
"""

import contextlib
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from adaptkit.artefacts.atomic_file import write_text
from adaptkit.regular_file import read_json
from datasets_fewshot.store.claims import Claim
from datasets_fewshot.store.removal import HALF_WRITTEN

CLAIM_FILE = ".claim"
MAX_NOTE_BYTES = 2**20
FAILED_FILE = "failed.json"  # holds the error and the name of the command
POLL_SECONDS = 0.5  # pause between two looks at jobs that other workers are doing
DEATHS_IN_A_ROW = 3  # limit per worker, counted while no job is settled
END_SECONDS = 10.0  # time for workers to end by themselves once every job is settled


class LaunchError(ValueError):
    """Some jobs could not be done; the message says why, and what to do."""


@dataclass(frozen=True)
class Job:
    """One piece of work, such as a run."""

    key: str
    folder: Path  # everything the job writes, including its claim
    group: str  # jobs of one group share what is cached
    result: Path  # the file whose existence shows that the job is done
    stale: int | None = None  # change time (ns) of an older result, which does not count
    stage: int = 0  # jobs of an earlier stage come first
    alike: str = ""  # jobs with the same word here may be done side by side; empty is alone

    def is_done(self) -> bool:
        """Whether the job's result exists."""
        try:
            return self.result.stat().st_mtime_ns != self.stale
        except FileNotFoundError:
            return False

    def failure(self, command: str) -> str | None:
        """The error of this job in this command, or None."""
        try:
            content = read_json(self.folder / FAILED_FILE, "note of a failed run", MAX_NOTE_BYTES)
        except (OSError, ValueError):
            return None
        if not isinstance(content, dict) or content.get("command") != command:
            return None
        return str(content.get("error"))

    def fail(self, command: str, error: str) -> None:
        """Write the error into the job's folder."""
        write_text(self.folder / FAILED_FILE, json.dumps({"command": command, "error": error}, indent=1) + "\n")

    def tidy(self) -> None:
        """Remove half-written files of a dead process; only the holder of the claim may call this."""
        (self.folder / FAILED_FILE).unlink(missing_ok=True)
        for left in self.folder.rglob(".*"):
            if re.fullmatch(HALF_WRITTEN, left.name) and left.is_file() and not left.is_symlink():
                left.unlink(missing_ok=True)


@dataclass(frozen=True)
class Event:
    """A worker's message about a job."""

    kind: Literal["start", "epoch", "done", "failed"]
    key: str
    epochs: int = 0  # number of epochs done so far


@dataclass(frozen=True)
class Place:
    """A worker's number, device and team."""

    worker: int
    workers: int
    device: str  # torch device name
    rank: int = 0  # this process's number within its team, which does each job together
    processes: int = 1  # size of the team
    meeting: Path = Path()  # the file through which the team's processes find each other


Tell = Callable[[Event], None]
# Does one job, or jobs that are alike; gives each as it ends, with the error of a failure that concerns it alone.
Perform = Callable[[Sequence[Job], Tell], Iterator[tuple[Job, str | None]]]


def one_by_one(do: Callable[[Job, Tell], str | None]) -> Perform:
    """Do jobs in turn, each by a function that returns its error."""

    def perform(jobs: Sequence[Job], tell: Tell) -> Iterator[tuple[Job, str | None]]:
        return ((job, do(job, tell)) for job in jobs)

    return perform


class Work(Protocol):
    """Jobs and everything needed to do them. Work is picklable: each worker opens it in its own process."""

    @property
    def jobs(self) -> Sequence[Job]: ...

    @property
    def command(self) -> str:
        """The unique name of this call, so that jobs that failed in an earlier call are tried again."""

    def open(self, place: Place) -> Perform: ...


class Launcher(Protocol):
    """A way to start workers and keep them going until every job is settled."""

    def launch(self, work: Work, tell: Tell) -> None:
        """Do the work; return when every job is done or has failed.

        Raises:
            LaunchError: if jobs are left because workers failed or died.
        """


def go_through(work: Work, place: Place, tell: Tell, perform: Perform | None = None) -> None:
    """Be a worker: do every free job, and wait for jobs of other workers, in case one of those dies."""
    perform = perform or work.open(place)
    claims: dict[str, Claim] = {}
    waiting, is_first_pass = ordered(work.jobs, place), True
    while waiting:
        units = side_by_side(waiting) if is_first_pass else _one_by_one(waiting)
        left = [job for unit in units for job in _attempt(unit, work.command, perform, tell, claims, is_first_pass)]
        if len(left) == len(waiting) and not is_first_pass:
            time.sleep(POLL_SECONDS)
        waiting, is_first_pass = left, False


def be_worker(work: Work, place: Place, tell: Tell) -> str | None:
    """Go through work in a process of its own; return an error that the user can fix as one line, or None."""
    try:
        go_through(work, place, tell)
    except (ValueError, OSError, ImportError, ArithmeticError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def ordered(jobs: Sequence[Job], place: Place) -> list[Job]:
    """The jobs, stage by stage and group by group; each worker begins with another group, so that caches stay warm."""
    groups = list(dict.fromkeys(job.group for job in jobs))
    start = place.worker * len(groups) // place.workers
    rank = {group: (index - start) % len(groups) for index, group in enumerate(groups)}
    return sorted(jobs, key=lambda job: (job.stage, rank[job.group]))


def side_by_side(jobs: Sequence[Job]) -> list[list[Job]]:
    """The jobs with those that are alike beside each other, where the first of them stands."""
    units: dict[str, list[Job]] = {}
    for job in jobs:
        units.setdefault(job.alike or job.key, []).append(job)
    return list(units.values())


def _one_by_one(jobs: Sequence[Job]) -> list[list[Job]]:
    """Jobs that were passed by, those first whose claim is oldest.

    One of a unit may have killed its worker, perhaps for want of memory, so none is done in company again; and it may
    kill again, so those come first that were not tried since.
    """

    def claimed_at(job: Job) -> int:
        try:
            return (job.folder / CLAIM_FILE).stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    return [[job] for job in sorted(jobs, key=claimed_at)]


def _attempt(
    unit: Sequence[Job], command: str, perform: Perform, tell: Tell, claims: dict[str, Claim], pass_by: bool
) -> list[Job]:
    """Do those jobs of a unit that are not settled or claimed by another worker; returns those that are left.

    Args:
        pass_by: leave a job with a claim for later: a worker is doing it, or died of it, and it may kill again.
    """
    left: list[Job] = []
    ours: dict[str, Job] = {}
    try:
        for job in unit:
            if job.is_done():
                tell(Event("done", job.key))
                continue
            if job.failure(command) is not None:
                continue
            if pass_by and (job.folder / CLAIM_FILE).exists():
                left.append(job)
                continue
            if job.key not in claims:
                claims[job.key] = Claim(job.folder / CLAIM_FILE)
            if not claims[job.key].take():
                left.append(job)
                continue
            ours[job.key] = job
            if job.is_done() or job.failure(command) is not None:  # settled between the first look and the claim
                del ours[job.key]
                claims[job.key].release()
        for job in ours.values():
            job.tidy()
            tell(Event("start", job.key))
        for job, error in perform(list(ours.values()), tell) if ours else ():
            if error is not None:
                job.fail(command, error)
            del ours[job.key]
            claims[job.key].release()
            tell(Event("done" if error is None else "failed", job.key))
    finally:
        for key in ours:
            claims[key].release()
    return left


@contextlib.contextmanager
def held(claim: Claim) -> Iterator[bool]:
    """Hold a claim inside the block unless another worker holds it; yield whether it is held."""
    if not claim.take():
        yield False
        return
    try:
        yield True
    finally:
        claim.release()


@dataclass
class Watch:
    """The parent's view of a launch: it reports each settled job once and counts deaths in a row."""

    work: Work
    tell: Tell
    workers: int
    deaths: int = 0
    open: dict[str, Job] = field(init=False)
    settled_at: float | None = None  # monotonic time at which all jobs were first seen to be settled

    def __post_init__(self) -> None:
        self.open = {job.key: job for job in self.work.jobs}

    def hear(self, event: Event) -> None:
        """Pass on a worker's event; the end of a job is passed on once."""
        if event.kind not in ("done", "failed"):
            self.tell(event)
        elif self.open.pop(event.key, None) is not None:
            self.deaths = 0
            self.tell(event)

    def look(self) -> None:
        """Report the jobs that were settled since the last look."""
        for job in list(self.open.values()):
            if job.is_done():
                self.hear(Event("done", job.key))
            elif job.failure(self.work.command) is not None:
                self.hear(Event("failed", job.key))

    def goes_on(self) -> bool:
        """Whether to keep waiting for workers; once all jobs are settled, only for END_SECONDS."""
        if self.open:
            return True
        if self.settled_at is None:
            self.settled_at = time.monotonic()
        return time.monotonic() - self.settled_at < END_SECONDS

    def may_replace(self) -> bool:
        """Count a worker's death and return whether another worker may take its place."""
        self.deaths += 1
        return bool(self.open) and self.deaths < DEATHS_IN_A_ROW * self.workers

    def conclude(self, errors: Sequence[str] = ()) -> None:
        """Check that every job is settled.

        Raises:
            LaunchError: if jobs are left.
        """
        self.look()
        if not self.open:
            return
        why = "; ".join(dict.fromkeys(errors)) or (
            f"workers died {self.deaths} times in a row; if memory ran out, lower --workers or OPTIM.BATCH_SIZE"
        )
        raise LaunchError(
            f"{len(self.open)} of {len(self.work.jobs)} runs are not done ({why}); what is finished is kept, and the "
            "same command goes on from there"
        )
