"""The generated parts of docs/which_method.md, from benchmarks/results/which_method.json."""

import json
from collections.abc import Mapping
from typing import Any

from benchmarks.timing import RESULTS

Row = Mapping[str, Any]
INDUCTIVE = ("", "episodic")


def _content() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((RESULTS / "which_method.json").read_text())
    return content


def ranking_section() -> str:
    """Methods that see no other test image, by H; then those that do."""
    rows = _content()["methods"]
    ranked = {name: row for name, row in rows.items() if "accuracy" in row and "run_seconds" in row}
    datasets = max((len(row["accuracy"]["datasets"]) for row in ranked.values()), default=0)
    whole = {name: row for name, row in ranked.items() if len(row["accuracy"]["datasets"]) == datasets}
    inductive = {name: row for name, row in whole.items() if row["sees"] in INDUCTIVE}
    others = {name: row for name, row in whole.items() if name not in inductive}
    names = next(iter(whole.values()))["accuracy"]["datasets"] if whole else []
    text = [
        f"Base to novel on {len(names)} embedded data sets ({', '.join(names)}), one seed, by H.",
        "",
        _table(inductive),
        "",
        "Those that see other test images, too, are another comparison:",
        "",
        _table(others),
    ]
    return "\n".join(text)


def _table(rows: Mapping[str, Row]) -> str:
    zero = _content()["methods"].get("zero_shot", {"memory_mb": 0})
    lines = [
        "| method | base | new | H | CPU s a data set | ms a photo | memory, MB above zero-shot | learns | needs |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in sorted(rows.items(), key=lambda item: -item[1]["accuracy"]["H"]):
        accuracy = row["accuracy"]
        shown = f"`{name}`" + (f" ({row['sees']})" if row["sees"] else "")
        cells = (
            shown,
            f"{accuracy['base']:.2f}",
            f"{accuracy['new']:.2f}",
            f"{accuracy['H']:.2f}",
            f"{row['run_seconds']:.1f}",
            f"{row['photo_milliseconds']:.1f}",
            f"{max(0, row['memory_mb'] - zero['memory_mb'])}",
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
