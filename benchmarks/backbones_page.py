"""The generated parts of docs/backbones.md, from benchmarks/results/backbones.json."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.backbones import FOR_IMAGES, FOR_TEXTS, SHORT, WORKS
from benchmarks.timing import RESULTS

Row = Mapping[str, Any]
NOTES = {FOR_IMAGES: "in the image tower alone", FOR_TEXTS: "in the text tower alone", SHORT: "with n_ctx=4"}


def _rows() -> list[Row]:
    return json.loads((RESULTS / "backbones.json").read_text())["backbones"]


def totals_section() -> str:
    """Counts over all names."""
    content = json.loads((RESULTS / "backbones.json").read_text())
    rows: Sequence[Row] = content["backbones"]
    vit = [row for row in rows if row["has_vit_blocks"]]
    others = [row for row in rows if not row["has_vit_blocks"]]
    complete = [row for row in vit if not _refused(row)]
    token_only = [row for row in vit if "coop" in _refused(row)]
    others_of_vit = [row for row in vit if _refused(row) and "coop" not in _refused(row)]
    alone = ", ".join(sorted({name for row in others_of_vit for name in _refused(row)}))
    methods = len(rows[0]["methods"])
    worst = max(max(row["image_error"], row["text_error"]) for row in rows)
    return f"""open_clip {content["open_clip"]} has {len(rows)} names, and there are {methods} methods and wrappers.

- {len(vit)} names have a vision transformer as image tower, open_clip's own or timm's. {len(complete)} of them take
  every method and wrapper. {len(token_only)} have a text tower of Hugging Face, which takes token ids only: they take
  every method that learns in the image tower or on features, and no learnt text prompts. {len(others_of_vit)} refuse
  {alone or "something"} alone, whose reason stands below.
- {len(others)} names have an image tower of convolutions or of stages. They take every method that learns on features
  or in the text tower.
- Features differ from open_clip's own by {worst:.0e} at most, relative and in float64."""


def names_section() -> str:
    """A row for each name."""
    lines = ["| name | image tower | text tower | methods and wrappers | refused |", "|---|---|---|---|---|"]
    for row in _rows():
        refused = _refused(row)
        count = len(row["methods"]) - len(refused)
        notes = [(name, NOTES[note]) for name, note in row["methods"].items() if note in NOTES]
        count_cell = "all" if not refused else f"{count} of {len(row['methods'])}"
        taken = "; ".join([count_cell, *_merged(notes)])
        cells = (row["name"], row["image_tower"], row["text_tower"], taken, ", ".join(refused))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def reasons_section() -> str:
    """Every reason of a refusal, once, with the number of names that have it."""
    found: dict[str, set[str]] = {}
    for row in _rows():
        for reason in _refused(row).values():
            _, _, cause = reason.partition(f"{row['name']} has ")
            found.setdefault(cause.split(";")[0].split(":")[0] or reason, set()).add(row["name"])
    lines = ["| the backbone has | names |", "|---|---:|"]
    ordered = sorted(found.items(), key=lambda item: -len(item[1]))
    return "\n".join([*lines, *(f"| {cause} | {len(names)} |" for cause, names in ordered)])


def _refused(row: Row) -> dict[str, str]:
    """Method or wrapper -> the reason why the name does not take it."""
    return {name: reason for name, reason in row["methods"].items() if reason not in WORKS}


def _merged(notes: Sequence[tuple[str, str]]) -> list[str]:
    """Notes of the same kind in one: "adapter, peft in the image tower alone"."""
    groups: dict[str, list[str]] = {}
    for name, note in notes:
        groups.setdefault(note, []).append(name)
    return [f"{', '.join(names)} {note}" for note, names in groups.items()]
