"""What launchers share: jobs, and workers that go through them.

Every worker goes through the same jobs and does those that no one else is at: a claim in the job's folder sees to it.
So launchers only start workers and replace those that die, none of them hands out jobs, and two commands, or two
machines with a shared disk, may work at the same jobs. What a job leaves on disk says that it is settled.
"""

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from datasets_fewshot.store.claims import Claim
from trainers.runs.records import write_text

CLAIM_FILE = ".claim"
FAILED_FILE = "failed.json"  # says what went wrong, and in which command
POLL_SECONDS = 0.5  # between two looks at jobs that others are at
DEATHS_IN_A_ROW = 3  # of workers, per worker, without a job being settled
END_SECONDS = 10.0  # that workers have to end by themselves when every job is settled


class LaunchError(ValueError):
    """Jobs that could not be done; the message says why and what to do."""


@dataclass(frozen=True)
class Job:
    """One piece of work."""

    key: str
    folder: Path  # what it writes, its claim included
    group: str  # jobs of one group share what is cached
    result: Path  # that is there when the job is done
    stale: int | None = None  # change time (ns) of a result from before, which does not count

    def is_done(self) -> bool:
        """Whether its result is there."""
        try:
            return self.result.stat().st_mtime_ns != self.stale
        except FileNotFoundError:
            return False

    def failure(self, command: str) -> str | None:
        """What went wrong with it in this command, if anything did."""
        try:
            content = json.loads((self.folder / FAILED_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return str(content["error"]) if content["command"] == command else None

    def fail(self, command: str, error: str) -> None:
        """Say what went wrong."""
        write_text(self.folder / FAILED_FILE, json.dumps({"command": command, "error": error}, indent=1) + "\n")

    def tidy(self) -> None:
        """Remove what a process that died left half-written; only for who holds the claim."""
        (self.folder / FAILED_FILE).unlink(missing_ok=True)
        for left in self.folder.rglob(".*"):
            if left.is_file() and left.name != CLAIM_FILE:
                left.unlink(missing_ok=True)


@dataclass(frozen=True)
class Event:
    """Something that a worker tells."""

    kind: Literal["start", "epoch", "done", "failed"]
    key: str
    epochs: int = 0  # done so far


@dataclass(frozen=True)
class Place:
    """Where a worker stands among all."""

    worker: int
    workers: int
    device: str  # for torch
    rank: int = 0  # among the processes that do each job together
    processes: int = 1  # of these
    meeting: Path = Path()  # the file through which they find each other


Tell = Callable[[Event], None]
Perform = Callable[[Job, Tell], str | None]  # does a job; says what went wrong if it concerns this job alone


class Work(Protocol):
    """Jobs, and what is needed to do them. It can be pickled: workers open it where they are."""

    @property
    def jobs(self) -> Sequence[Job]: ...

    @property
    def command(self) -> str:
        """A name for this one call, so that what failed in an earlier one is tried again."""

    def open(self, place: Place) -> Perform: ...


class Launcher(Protocol):
    """Has workers go through work until every job is settled."""

    def launch(self, work: Work, tell: Tell) -> None:
        """Return when every job is done or has failed.

        Raises:
            LaunchError: if jobs are left, because workers fail or die.
        """


def go_through(work: Work, place: Place, tell: Tell, perform: Perform | None = None) -> None:
    """Be a worker: do every job that no one else does, and wait for the rest, in case who is at it dies."""
    perform = perform or work.open(place)
    claims: dict[str, Claim] = {}
    waiting, is_first_pass = ordered(work.jobs, place), True
    while waiting:
        left = [job for job in waiting if not _attempt(job, work.command, perform, tell, claims, is_first_pass)]
        if len(left) == len(waiting) and not is_first_pass:
            time.sleep(POLL_SECONDS)
        waiting, is_first_pass = left, False


def be_worker(work: Work, place: Place, tell: Tell) -> str | None:
    """Go through work in a process of one's own; what a user can put right comes back in a line, else None."""
    try:
        go_through(work, place, tell)
    except (ValueError, OSError, ImportError, ArithmeticError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def ordered(jobs: Sequence[Job], place: Place) -> list[Job]:
    """The jobs group by group; each worker begins at another group, so that it finds its own caches hot."""
    groups = list(dict.fromkeys(job.group for job in jobs))
    start = place.worker * len(groups) // place.workers
    rank = {group: (index - start) % len(groups) for index, group in enumerate(groups)}
    return sorted(jobs, key=lambda job: rank[job.group])


def _attempt(job: Job, command: str, perform: Perform, tell: Tell, claims: dict[str, Claim], pass_by: bool) -> bool:
    """Do a job unless it is settled or someone is at it; says whether it is settled.

    Args:
        pass_by: leave a job with a claim for later: someone is at it, or died at it, and it may kill again.
    """
    if job.is_done():
        tell(Event("done", job.key))
        return True
    if job.failure(command) is not None:
        return True
    if pass_by and (job.folder / CLAIM_FILE).exists():
        return False
    if job.key not in claims:
        claims[job.key] = Claim(job.folder / CLAIM_FILE)
    with held(claims[job.key]) as is_ours:
        if not is_ours:
            return False
        if job.is_done() or job.failure(command) is not None:  # between the look and the claim
            return True
        job.tidy()
        tell(Event("start", job.key))
        error = perform(job, tell)
        if error is not None:
            job.fail(command, error)
    tell(Event("done" if error is None else "failed", job.key))
    return True


@contextlib.contextmanager
def held(claim: Claim) -> Iterator[bool]:
    """Hold a claim inside the block if no one else does; says whether it is held."""
    if not claim.take():
        yield False
        return
    try:
        yield True
    finally:
        claim.release()


@dataclass
class Watch:
    """The jobs of a launch as its parent sees them: what is settled is told once, and deaths in a row are counted."""

    work: Work
    tell: Tell
    workers: int
    deaths: int = 0
    open: dict[str, Job] = field(init=False)
    settled_at: float | None = None  # when every job was seen to be settled

    def __post_init__(self) -> None:
        self.open = {job.key: job for job in self.work.jobs}

    def hear(self, event: Event) -> None:
        """Pass on what a worker tells."""
        if event.kind not in ("done", "failed"):
            self.tell(event)
        elif self.open.pop(event.key, None) is not None:
            self.deaths = 0
            self.tell(event)

    def look(self) -> None:
        """Tell of jobs that were settled since the last look."""
        for job in list(self.open.values()):
            if job.is_done():
                self.hear(Event("done", job.key))
            elif job.failure(self.work.command) is not None:
                self.hear(Event("failed", job.key))

    def goes_on(self) -> bool:
        """Whether to wait for workers: for those that still have to begin or hang at their end, not for ever."""
        if self.open:
            return True
        if self.settled_at is None:
            self.settled_at = time.monotonic()
        return time.monotonic() - self.settled_at < END_SECONDS

    def may_replace(self) -> bool:
        """Count a worker that died; whether another may take its place."""
        self.deaths += 1
        return bool(self.open) and self.deaths < DEATHS_IN_A_ROW * self.workers

    def conclude(self, errors: Sequence[str] = ()) -> None:
        """Raise a LaunchError if jobs are left."""
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
