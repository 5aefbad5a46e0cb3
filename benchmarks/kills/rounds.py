"""One round: a command that is killed several times, run to its end, and compared with an undisturbed one."""

import random
import shutil
import signal
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.kills.cases import Case
from benchmarks.kills.moments import POINTS, SERVER, Moment, Whom
from benchmarks.kills.processes import Family, Process, below, send, wait_until
from benchmarks.kills.results import Results, Stamp, finished, goes_on_from, results
from benchmarks.kills.sessions import Place, start
from benchmarks.kills.tiny import Tiny

KILLS_OF_A_ROUND = 8  # before the command is run to its end and compared
WITHIN_A_WRITE = 0.5  # share of the kills that strike within a write, the others at random
SOFTER = 0.2  # share of SIGTERM and SIGINT
SPREAD = 0.8  # of the time of an undisturbed command; a kill at random comes within it
LONGEST = 240.0  # seconds that a command may take until it is said to hang
SECONDS_TO_END = 90.0  # for processes whose parent is gone; a fork server does its imports before it looks
LEASE_SECONDS = 2.0  # of a claim without a name, in rounds that leave one behind
RAY_WORKER = "ray::_be_worker"  # the name that Ray gives a process while it runs our task
TAKEN_DOWN: tuple[Whom, ...] = ("parent", "group")


@dataclass
class Kill:
    """One kill."""

    whom: Whom
    signal: str
    when: str  # "at random", or "checkpoint: half" and the like
    restart: str  # where the next start goes on


@dataclass
class Report:
    """What a round found; every list is empty if all is well."""

    case: str
    launcher: str
    seed: int
    kills: list[Kill] = field(default_factory=list)
    commands: int = 0
    lost: list[str] = field(default_factory=list)  # files of finished runs that were removed or computed again
    different: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)  # processes that outlived their parents
    leftovers: list[str] = field(default_factory=list)
    hangs: list[str] = field(default_factory=list)
    given_up: list[str] = field(default_factory=list)  # commands that failed though only others were killed
    temporary: int = 0  # files in the system's temporary folder

    @property
    def faults(self) -> list[str]:
        return [*self.lost, *self.different, *self.orphans, *self.leftovers, *self.hangs, *self.given_up]

    def as_json(self) -> dict[str, object]:
        return asdict(self)


@dataclass
class Round:
    """A command in a folder of its own, and the chance that decides who is killed when."""

    case: Case
    images: Path
    run: Path  # folder of a finished run
    place: Place
    family: Family
    rng: random.Random
    seed: int = 0
    seconds: float = 0.0  # of an undisturbed command

    def __post_init__(self) -> None:
        self.report = Report(self.case.name, self.case.launcher, self.seed)
        self.kept: dict[str, Stamp] = {}

    def undisturbed(self) -> Results:
        """Run the command to its end without a kill.

        Raises:
            RuntimeError: if it fails.
        """
        begun = time.monotonic()
        code = self._to_its_end(self._start(None))
        self.seconds = time.monotonic() - begun
        if code != 0:
            log = (self.place.folder / "log.txt").read_text(errors="replace")
            raise RuntimeError(f"{self.case.label} ended with {code}:\n{log[-3000:]}")
        return results(self.place, rounds=self.case.rounds)

    def disturbed(self, expected: Results, most: int) -> Report:
        """Kill the command up to `most` times, run it to its end and compare."""
        code: int | None = None
        while len(self.report.kills) < most and code != 0:
            code = self._killed_command(most)
        if code != 0:
            code = self._to_its_end(self._start(None))
            if code != 0:
                self.report.given_up.append(f"the last command ended with {code}")
        self._settle()
        found = results(self.place, rounds=self.case.rounds)
        self.report.different += found.differences(expected)
        self.report.leftovers += found.superfluous
        self.report.temporary = sum(path.is_file() or path.is_socket() for path in self.place.temporary.rglob("*"))
        return self.report

    def discard(self) -> None:
        """Remove the folders of a round."""
        shutil.rmtree(self.place.folder, ignore_errors=True)
        shutil.rmtree(self.place.temporary, ignore_errors=True)

    def _start(self, moment: Moment | None) -> int:
        self.report.commands += 1
        lease = LEASE_SECONDS if "claim" in self.case.writes else None
        words = self.case.words(self.place.out, self.images, self.run)
        return start(words, self.place, Tiny(self.images, moment, lease), self.case.warm)

    def _killed_command(self, most: int) -> int | None:
        """Start the command and kill it, or workers of it; return its exit code, None if a kill ended it."""
        whom = self.rng.choice(self.case.whom)
        number = self._draw_signal(whom)
        moment = self._draw_moment(whom, number) if self.rng.random() < WITHIN_A_WRITE else None
        pid = self._start(moment)
        if moment is not None:
            wait_until(lambda: moment.mark.exists() or self.family.exit_code(pid) is not None, LONGEST)
            struck = moment.mark.exists()
            when = f"{moment.what}: {moment.point}"
        else:
            struck, when = self._strike_at_random(pid, whom, number, SPREAD), "at random"
        if struck:
            self._note(whom, number, when)
        again = 1
        while struck and whom not in TAKEN_DOWN and again < self.case.in_a_row and len(self.report.kills) < most:
            whom, again = self.rng.choice(self.case.whom), again + 1
            number = self._draw_signal(whom)
            if struck := self._strike_at_random(pid, whom, number, SPREAD / 4):
                self._note(whom, number, "at random")
        code = self._to_its_end(pid)
        taken_down = struck and whom in TAKEN_DOWN
        self._settle()
        if code != 0 and not taken_down and self.case.launcher != "loaders":
            self.report.given_up.append(f"ended with {code} after {self.report.kills[-1:]}")
        return None if taken_down and code != 0 else code

    def _draw_signal(self, whom: Whom) -> int:
        if self.rng.random() > SOFTER:
            return signal.SIGKILL
        softer = (signal.SIGTERM, signal.SIGINT) if whom in TAKEN_DOWN else (signal.SIGTERM,)  # Ctrl-C is the parent's
        return self.rng.choice(softer)

    def _draw_moment(self, whom: Whom, number: int) -> Moment:
        what = self.rng.choice(self.case.writes)
        nth = self.rng.randint(1, 6 if what == "checkpoint" else 2)
        mark = self.place.folder / f"struck{self.report.commands}"
        point = "empty" if what == "claim" else self.rng.choice(POINTS)  # a claim is hooked when its file is created
        return Moment(what, nth, point, whom, number, mark)

    def _strike_at_random(self, pid: int, whom: Whom, number: int, spread: float) -> bool:
        """Kill at a random moment; return whether the command was still running."""
        delay = self.rng.uniform(0.0, spread) * self.seconds
        if wait_until(lambda: self.family.exit_code(pid) is not None, delay):
            return False
        if whom in TAKEN_DOWN:
            return send(pid, number, to_group=whom == "group")
        victims: list[Process] = []

        def seen() -> bool:
            victims[:] = choose(whom, self.case, pid)
            return bool(victims) or self.family.exit_code(pid) is not None

        wait_until(seen, LONGEST)
        return bool(victims) and send(self.rng.choice(victims).pid, number)

    def _note(self, whom: Whom, number: int, when: str) -> None:
        self.kept |= finished(self.place)
        self.report.kills.append(Kill(whom, signal.Signals(number).name, when, goes_on_from(self.place)))

    def _to_its_end(self, pid: int) -> int:
        """Wait for the command; one that hangs is noted and killed."""
        if not wait_until(lambda: self.family.exit_code(pid) is not None, LONGEST):
            self.report.hangs.append(f"no end within {LONGEST:g} s after {self.report.kills[-1:]}")
            self.family.end()
        return self.family.exit_code(pid) or 0

    def _settle(self) -> None:
        """See that no process is left and that what was finished is as it was."""
        if not self.family.gone_within(SECONDS_TO_END):
            self.report.orphans += [process.command[:200] for process in self.family.alive()]
            self.family.end()
        now = finished(self.place)
        self.report.lost += [path for path, stamp in self.kept.items() if now.get(path) != stamp]
        self.kept |= now


def choose(whom: Whom, case: Case, pid: int) -> list[Process]:
    """The processes of a command that may be meant: its workers, or its fork server."""
    family = [process for process in below(pid) if not process.has_ended]
    servers = [each for each in family if SERVER in each.command and each.parent == pid]
    if whom == "server":
        return servers
    if case.launcher == "loaders":
        return [each for each in family if each.parent == pid]
    if case.launcher == "ray":
        return [each for each in family if RAY_WORKER in each.command]  # Ray's own processes have such names, too
    if case.launcher == "slurm":
        return [each for each in family if "submitit" in each.command]
    return [each for each in family if each.parent in {server.pid for server in servers}]


def new_place(work: Path, name: str) -> Place:
    """An empty place for a round."""
    folder = work / name
    shutil.rmtree(folder, ignore_errors=True)
    return Place(folder, Path(tempfile.mkdtemp(prefix="kills-")))
