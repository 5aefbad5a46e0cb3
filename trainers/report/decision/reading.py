"""Read what lies beside an adapter, or in a folder of suggestions or of a judgement. It names what it cannot read."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from adaptkit.artefacts.names import CALIBRATION_FILE, CONFIG_FILE
from adaptkit.regular_file import read_bytes, read_json, said, shortened
from trainers.evaluation.judgement_files import METRICS_FILE, PICTURE_FILE, RELIABILITY_FILE
from trainers.report.decision.adapter import Adapter, CalibrationFacts, adapter_of, calibration_of
from trainers.report.decision.leaderboard import LEADERBOARD_FILE, Leaderboard
from trainers.report.decision.plain import made_of
from trainers.report.decision.suggestions import LISTS, SUGGESTIONS_FILE, Suggestions
from trainers.report.decision.summary import SHEET_FILE, SUMMARY_FILE, Summary, judgement_of, summary_of

SHEETS = {name: f"{name}.png" for name in LISTS}
PICTURES = (RELIABILITY_FILE, PICTURE_FILE, SHEET_FILE, *SHEETS.values())
MARKS = (CONFIG_FILE, SUGGESTIONS_FILE, METRICS_FILE)  # a folder that has one of them is looked into
MAX_BYTES = 2**26  # of a file

Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Decision:
    """What is known of one adapter, judgement or folder of suggestions; None where nothing is there.

    Args:
        name: of the folder.
        pictures: name of a file -> the bytes of a PNG.
        problems: what is there and cannot be shown, a sentence each.
    """

    name: str
    adapter: Adapter | None = None
    summary: Summary | None = None
    leaderboard: Leaderboard | None = None
    calibration: CalibrationFacts | None = None
    suggestions: Suggestions | None = None
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


def decision_folders(folder: Path) -> list[Path]:
    """The folder itself and those right below it, as far as they are adapters, judgements or suggestions; in order."""
    below = sorted(folder.glob("[!.]*/")) if folder.is_dir() else []
    return [one for one in (folder, *below) if any((one / name).is_file() for name in MARKS)]


def read_decision(folder: Path) -> Decision:
    """All that is there. It never fails: `problems` names what cannot be read."""
    beside = _Beside(folder)
    found = Decision(
        folder.resolve().name.encode("utf-8", "replace").decode(),
        beside.read(CONFIG_FILE, "adapter", adapter_of),
        beside.results(),
        beside.read(LEADERBOARD_FILE, "leaderboard", Leaderboard.from_json),
        beside.read(CALIBRATION_FILE, "calibration", calibration_of),
        beside.read(SUGGESTIONS_FILE, "list of suggestions", partial(made_of, Suggestions)),
        beside.pictures(),
    )
    board, adapter = found.leaderboard, found.adapter
    if board is not None and adapter is not None and adapter.label not in board.chosen_methods:
        beside.problems.append(
            shortened(
                f"{said(folder / LEADERBOARD_FILE)} chose {board.chosen}, and the adapter beside it is "
                f"{adapter.label}, so it is left out; remove the file"
            )
        )
        found = replace(found, leaderboard=None)
    return replace(found, problems=tuple(beside.problems))


class _Beside:
    """The files of a folder, and what is wrong with them."""

    def __init__(self, folder: Path):
        self.folder, self.problems = folder, list[str]()

    def read(self, name: str, what: str, kind: Callable[[object], Kind]) -> Kind | None:
        path = self.folder / name
        try:
            if not path.exists():
                return None
            content = read_json(path, what, MAX_BYTES)
            json.dumps(content, ensure_ascii=False).encode()  # half of a surrogate pair could not be written again
            return kind(content)
        except (OSError, ValueError) as error:
            self.problems.append(shortened(f"{said(path)} is no {what} that can be shown: {error}"))
            return None

    def results(self) -> Summary | None:
        """Those of the training; of a judgement where no adapter is there."""
        if (self.folder / CONFIG_FILE).is_file():
            return self.read(SUMMARY_FILE, "summary", summary_of)
        return self.read(METRICS_FILE, "judgement", judgement_of)

    def pictures(self) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for name in PICTURES:
            try:
                if (self.folder / name).exists():
                    found[name] = read_bytes(self.folder / name, "picture", MAX_BYTES)
            except (OSError, ValueError) as error:
                self.problems.append(shortened(str(error)))
        return found
