"""What a campaign found, in numbers: as a whole, and by case, launcher, victim, signal and moment."""

import platform
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

FAULTS = ("lost", "different", "orphans", "leftovers", "hangs", "given_up")


def summary(rounds: Sequence[Mapping[str, Any]], not_tried: Sequence[str]) -> dict[str, Any]:
    """The content of the result file.

    Args:
        rounds: reports of rounds, as the journal has them.
        not_tried: launchers whose packages are not installed.
    """
    kills = [kill for report in rounds for kill in report["kills"]]
    restarts = Counter(kill["restart"] for kill in kills)
    return {
        "kills": len(kills),
        "seeds": sorted({report["seed"] for report in rounds}),
        "commands": sum(report["commands"] for report in rounds),
        "compared_with_an_undisturbed_command": len(rounds),
        **{fault: sum(len(report[fault]) for report in rounds) for fault in FAULTS},
        "went_on_from": dict(sorted(restarts.items())),
        "files_left_in_the_temporary_folder": sum(report["temporary"] for report in rounds),
        "launchers_that_are_not_installed": list(not_tried),
        "by_launcher": _table(rounds, "launcher"),
        "by_case": _table(rounds, "case", "launcher"),
        "by_victim": _counts(kill["whom"] for kill in kills),
        "by_signal": _counts(kill["signal"] for kill in kills),
        "by_moment": _counts(kill["when"] for kill in kills),
        "faults": [
            {"case": report["case"], "launcher": report["launcher"], fault: report[fault]}
            for report in rounds
            for fault in FAULTS
            if report[fault]
        ],
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": platform.system(),
    }


def _table(rounds: Sequence[Mapping[str, Any]], *keys: str) -> dict[str, dict[str, int]]:
    """Counts of kills, restarts and faults, by the given keys of the reports."""
    table: dict[str, Counter[str]] = {}
    for report in rounds:
        row = table.setdefault(", ".join(str(report[key]) for key in keys), Counter())
        row["kills"] += len(report["kills"])
        row["compared"] += 1
        row["files_left_in_the_temporary_folder"] += report["temporary"]
        for kill in report["kills"]:
            row[f"went_on_from_{kill['restart'].replace(' ', '_')}"] += 1
        for fault in FAULTS:
            row[fault] += len(report[fault])
    return {name: dict(table[name]) for name in sorted(table)}


def _counts(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))
