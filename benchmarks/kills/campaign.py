"""Rounds until there are enough kills, with a journal of them, so that a campaign that is stopped goes on."""

import json
import random
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.kills.cases import SAVED, Case
from benchmarks.kills.processes import Family
from benchmarks.kills.results import RECORD, Results
from benchmarks.kills.rounds import KILLS_OF_A_ROUND, Report, Round, new_place
from benchmarks.kills.tiny import tiny_clip, write_images

JOURNAL = "journal.jsonl"
Tell = Callable[[str], None]


@dataclass
class Campaign:
    """Kills of the cases by their shares, in a folder that keeps the journal."""

    cases: Sequence[Case]
    kills: int
    seed: int
    work: Path
    tell: Tell = print
    of_a_round: int = KILLS_OF_A_ROUND  # most kills of a round
    rounds: list[dict[str, Any]] = field(default_factory=list)  # reports as the journal has them

    def __post_init__(self) -> None:
        self.work.mkdir(parents=True, exist_ok=True)
        self.images = self.work / "images"
        tiny_clip()  # before the forks, which share it
        if not (self.images / "own").exists():
            write_images(self.images)
        self.run = self.work  # folder of a finished run, once there is one
        self.expected: dict[str, tuple[Results, float]] = {}

    @property
    def done(self) -> int:
        """Kills so far."""
        return sum(len(report["kills"]) for report in self.rounds)

    def go(self) -> None:
        """Go on from the journal until there are enough kills."""
        journal = self.work / JOURNAL
        if journal.exists():
            self.rounds = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()]
        self.family = Family()
        try:
            with journal.open("a", encoding="utf-8") as lines:
                while self.done < self.kills:
                    report = self._round(self._next_case(), len(self.rounds))
                    self.rounds.append(report.as_json())
                    lines.write(json.dumps(report.as_json()) + "\n")
                    lines.flush()
                    faults = f", FAULTS: {report.faults}" if report.faults else ""
                    self.tell(f"{self.done} kills; {report.case}, {report.launcher}: {len(report.kills)}{faults}")
        finally:
            self.family.end()
            self.family.close()

    def _next_case(self) -> Case:
        """The case that is farthest behind its share."""
        kills = Counter[tuple[str, str]]()
        for report in self.rounds:
            # A round in which every kill came too late counts a little, or it would be drawn for ever.
            kills[report["case"], report["launcher"]] += len(report["kills"]) or 1
        return min(self.cases, key=lambda case: kills[case.name, case.launcher] / case.share)

    def _round(self, case: Case, number: int) -> Report:
        if case.name.startswith("save ") and self.run == self.work:
            self._undisturbed(next(other for other in self.cases if other.name == SAVED))
        expected, seconds = self._undisturbed(case)
        rng = random.Random(f"{self.seed} {number}")
        place = new_place(self.work, f"round{number}")
        one = Round(case, self.images, self.run, place, self.family, rng, self.seed, seconds)
        report = one.disturbed(expected, min(self.of_a_round, self.kills - self.done))
        if not report.faults:
            one.discard()
        return report

    def _undisturbed(self, case: Case) -> tuple[Results, float]:
        if case.label not in self.expected:
            place = new_place(self.work, f"undisturbed-{case.label.replace(', ', '-').replace(' ', '_')}")
            one = Round(case, self.images, self.run, place, self.family, random.Random(0))
            self.expected[case.label] = one.undisturbed(), one.seconds
            if case.name == SAVED:
                self.run = next(place.out.rglob(RECORD)).parent
        return self.expected[case.label]


def tell_at_once(line: str) -> None:
    """Print a line for somebody who watches."""
    print(line, file=sys.stderr, flush=True)
