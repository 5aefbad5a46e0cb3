"""The folders that a report is made of: runs, adapters with runs of their own, judgements and suggestions."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trainers.report.decision.reading import Decision, decision_folders, read_decision
from trainers.runs.records import RUNS_FOLDER, ResultRecord, read_records


@dataclass(frozen=True)
class Found:
    """What lies in folders.

    Args:
        records: each run once, however many folders have it.
        problems: files that cannot be read or shown, a sentence each.
    """

    records: tuple[ResultRecord, ...]
    decisions: tuple[Decision, ...]
    problems: tuple[str, ...]


def look_into(folders: Sequence[Path]) -> Found:
    """Read what the folders hold; folders of runs, adapters, folders of adapters, judgements or suggestions.

    Raises:
        FileNotFoundError: if one of them has nothing to report.
    """
    records: dict[str, ResultRecord] = {}
    decisions: dict[Path, Decision] = {}
    problems: list[str] = []
    for folder in folders:
        adapters = decision_folders(folder)
        read, unread = _records((folder, *(adapter / RUNS_FOLDER for adapter in adapters)))
        if not read and not adapters:
            # What is there and cannot be read says more than that nothing is there.
            said = f" ({unread[0]})" if unread else ""
            raise FileNotFoundError(
                f"no finished run below {str(folder)!r}{said}, and no adapter or suggestions; `adaptkit bench --out "
                f"{folder}` makes runs"
            )
        records |= {record.run_id: record for record in read}
        problems += unread
        decisions |= {adapter.resolve(): read_decision(adapter) for adapter in adapters}
    problems += [problem for decision in decisions.values() for problem in decision.problems]
    return Found(tuple(records.values()), tuple(decisions.values()), tuple(dict.fromkeys(problems)))


def _records(places: Sequence[Path]) -> tuple[list[ResultRecord], list[str]]:
    read: list[ResultRecord] = []
    problems: list[str] = []
    for place in places:
        more, wrong = read_records(place)
        read += more
        problems += wrong
    return read, problems
