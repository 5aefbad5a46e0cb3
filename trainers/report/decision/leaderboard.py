"""The leaderboard of a search: the content of leaderboard.json, and the same as a table."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from adaptkit.artefacts.atomic_file import Json
from trainers.report.decision.plain import made_of
from trainers.tables.formats import MISSING, Table

LEADERBOARD_FILE, TABLE_FILE, LOGITS_FILE = "leaderboard.json", "leaderboard.md", "fold_logits.safetensors"
SEARCH_FILES = (LEADERBOARD_FILE, TABLE_FILE, LOGITS_FILE)
VERSION = 1
CHOSEN = "chosen"  # the state of the candidate that was taken


@dataclass(frozen=True)
class Row:
    """One candidate; percent where scores are, and None where it has none."""

    candidate: str
    method: str
    tier: str
    settings: Mapping[str, object]
    state: str  # "chosen", "last rung", "rung 1 of 3", "not tried", "left out", "diverged" or "failed"
    mean: float | None = None
    standard_error: float | None = None
    above_zero_shot: float | None = None
    above_standard_error: float | None = None
    folds: int = 0
    steps: int = 0  # of all its trials
    seconds: float = 0.0  # of all its trials
    reason: str | None = None  # why it was not tried, or no further


@dataclass(frozen=True)
class Leaderboard:
    """What a search found, with everything that it was told."""

    decision: str
    chosen: str
    metric: str
    budget: str
    spent: str  # in the budget's unit, before the refit
    seed: int
    images: int  # training images
    held_out: int  # images that were held out by some fold
    folds: int
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Json]:
        """The content of the JSON file."""
        content: dict[str, Json] = json.loads(json.dumps({"version": VERSION, **asdict(self)}))
        return content

    @staticmethod
    def from_json(content: object) -> "Leaderboard":
        """What `to_json` made.

        Raises:
            ValueError: if it is something else, or of a later version.
        """
        version = content.get("version") if isinstance(content, Mapping) else None
        if version != VERSION:
            raise ValueError(f"its version is {version!r}; this adaptkit reads {VERSION}")
        return made_of(Leaderboard, content)

    @property
    def measure(self) -> str:
        """What candidates are compared by, in words."""
        return self.metric.replace("_", " ")

    @property
    def chosen_methods(self) -> tuple[str, ...]:
        """The method of what was chosen; one, unless the file was written by hand."""
        return tuple(row.method for row in self.rows if row.state == CHOSEN)

    def told(self) -> tuple[str, ...]:
        """What a reader of the table has to know, besides the decision."""
        reasons: dict[str, list[str]] = {}
        for row in self.rows:
            if row.reason:
                reasons.setdefault(row.reason, []).append(row.candidate)
        return (
            f"{self.measure} in percent with standard errors, on {self.held_out} of {self.images} training images that "
            f"{self.folds} folds held out; no test image was looked at",
            f"budget {self.budget}, of which the search took {self.spent}; seed {self.seed}",
            *self.notes,
            *(f"{reason}: {'; '.join(names)}" for reason, names in reasons.items()),
        )

    def table(self) -> Table:
        """A row per candidate, the best of the highest rung first."""
        rows = tuple(
            (
                row.candidate,
                row.state,
                _with_error(row.mean, row.standard_error),
                _with_error(row.above_zero_shot, row.above_standard_error, signed=True),
                str(row.folds) if row.folds else MISSING,
                str(row.steps) if row.folds else MISSING,
                f"{row.seconds:.1f}" if row.folds else MISSING,
            )
            for row in self.rows
        )
        headers = ("candidate", "state", "held out", "above zero-shot", "folds", "steps", "seconds")
        return Table("Leaderboard", headers, rows, (self.decision, *self.told()))


def _with_error(mean: float | None, error: float | None, signed: bool = False) -> str:
    if mean is None:
        return MISSING
    return f"{mean:+.1f} ± {error or 0.0:.1f}" if signed else f"{mean:.1f} ± {error or 0.0:.1f}"
