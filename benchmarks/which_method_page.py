"""The generated parts of docs/which_method.md, from benchmarks/results/which_method.json."""

import json
from collections.abc import Mapping
from typing import Any

from benchmarks.timing import RESULTS
from trainers.evaluation.scoring import harmonic_mean

Row = Mapping[str, Any]
INDUCTIVE = ("", "episodic")


def _content() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((RESULTS / "which_method.json").read_text())
    return content


def ranking_section() -> str:
    """Methods that see no other test image, by H and by accuracy from a few shots; then those that do."""
    rows = {name: row for name, row in _content()["methods"].items() if "run_seconds" in row}
    alone = {name: row for name, row in rows.items() if row["sees"] in INDUCTIVE}
    others = {name: row for name, row in rows.items() if name not in alone}
    novel = {name: row for name, row in alone.items() if "base_to_novel" in row}
    bound = {name: row for name, row in alone.items() if name not in novel}
    text = [
        f"Base to novel on {_datasets('base_to_novel')}, one seed, by H, with accuracy from 4 shots of all classes on "
        f"{_datasets('few_shot')} beside it.",
        "",
        _table(novel),
        "",
        "Those that are bound to the classes they learnt, by accuracy from 4 shots:",
        "",
        _table(bound),
        "",
        "Those that see other test images, too, are another comparison:",
        "",
        _table(others),
    ]
    return "\n".join(text)


def _datasets(protocol: str) -> str:
    """The data sets of a protocol's accuracies, in words."""
    names: list[str] = next(
        (row[protocol]["datasets"] for row in _content()["methods"].values() if protocol in row), []
    )
    return f"{len(names)} embedded data sets ({', '.join(names)})"


def _harmonic(row: Row) -> float:
    found = row.get("base_to_novel")
    return harmonic_mean(found["base"], found["new"]) if found else 0.0


def _few(row: Row) -> float:
    return float(row["few_shot"]["all"]) if "few_shot" in row else 0.0


def _table(rows: Mapping[str, Row]) -> str:
    least = _content()["methods"].get("zero_shot", {"memory_mb": 0})["memory_mb"]
    lines = [
        "| method | base | new | H | 4 shots | CPU s a data set | ms a photo | MB above zero-shot | learns | needs |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in sorted(rows.items(), key=lambda item: (-_harmonic(item[1]), -_few(item[1]))):
        found = row.get("base_to_novel")
        cells = (
            f"`{name}`" + (f" ({row['sees']})" if row["sees"] else ""),
            *((f"{found['base']:.2f}", f"{found['new']:.2f}", f"{_harmonic(row):.2f}") if found else ("–",) * 3),
            f"{_few(row):.2f}" if "few_shot" in row else "–",
            f"{row['run_seconds']:.1f}",
            f"{row['photo_milliseconds']:.1f}",
            f"{max(0, row['memory_mb'] - least)}",
            f"{row['trainable']:,}",
            ", ".join(row["needs"]) or "class names alone",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def absent_section() -> str:
    """Methods that take no part, with their reasons."""
    rows = _content()["methods"]
    lines = [f"- `{name}`: {row['reason']}" for name, row in sorted(rows.items()) if "reason" in row]
    return "\n".join(lines) or "All methods take part."
