"""One worker made of several processes, which do every job together; the first one leads."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path

import torch
import torch.distributed as dist

from trainers.launchers.base import (
    POLL_SECONDS,
    Job,
    Perform,
    Place,
    Tell,
    Watch,
    Work,
    be_worker,
)
from trainers.launchers.local import Member

ALL_DONE = -1  # the leader broadcasts this at the end, instead of a job's number


@dataclass(frozen=True)
class Together:
    """Launcher with one team of processes, one per device; when a process dies, the whole team is restarted."""

    devices: Sequence[str]

    def launch(self, work: Work, tell: Tell) -> None:
        """Start the processes, pass on the leader's events, and restart all when one dies."""
        watch, errors = Watch(work, tell, 1), list[str]()
        while self._were_killed(work, watch, errors) and watch.may_replace():
            continue
        watch.conclude(errors)

    def _were_killed(self, work: Work, watch: Watch, errors: list[str]) -> bool:
        """Run a team to its end and return whether one of its processes was killed."""
        with tempfile.TemporaryDirectory() as folder:
            count, meeting = len(self.devices), Path(folder) / "meeting"
            places = [Place(0, 1, device, rank, count, meeting) for rank, device in enumerate(self.devices)]
            team: list[Member] = []
            try:
                for place in places:
                    team.append(Member(work, place, be_member))
                alive = list(team)
                while alive and watch.goes_on():
                    wait([member.ear for member in alive], timeout=POLL_SECONDS)
                    alive = [member for member in alive if member.listen(watch, errors)]
                    gone = [member for member in team if member not in alive]
                    if errors or any(member.was_killed for member in gone):
                        break  # the other processes would wait for it
                return any(member.was_killed for member in team if member not in alive)
            finally:
                for member in team:
                    member.end()


def be_member(work: Work, place: Place, mouth: Connection) -> str | None:
    """Be one process of the team; the leader claims the jobs and broadcasts the number of the next one."""
    try:
        if place.rank == 0:
            error = be_worker(_Led(work), place, mouth.send)
            if error is None:
                _say(ALL_DONE)
            return error
        perform = work.open(place)
        while (number := _hear()) != ALL_DONE:
            for _ in perform([work.jobs[number]], lambda event: None):
                pass  # its leader writes down how the job ended
        return None
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


@dataclass(frozen=True)
class _Led:
    """Work whose leader broadcasts each job's number to the team before doing the job."""

    work: Work

    @property
    def jobs(self) -> Sequence[Job]:
        return self.work.jobs

    @property
    def command(self) -> str:
        return self.work.command

    def open(self, place: Place) -> Perform:
        perform = self.work.open(place)
        numbers = {job.key: number for number, job in enumerate(self.work.jobs)}

        def lead(jobs: Sequence[Job], tell: Tell) -> Iterator[tuple[Job, str | None]]:
            for job in jobs:
                _say(numbers[job.key])
                yield from perform([job], tell)

        return lead


def _say(number: int) -> None:
    dist.broadcast(torch.tensor([number]), src=0)


def _hear() -> int:
    number = torch.zeros(1, dtype=torch.int64)
    dist.broadcast(number, src=0)
    return int(number)
