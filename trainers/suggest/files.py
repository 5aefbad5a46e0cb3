"""The files of `adaptkit suggest`: for each list a table and a contact sheet, and everything as JSON and as a page."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from PIL import Image

from adaptkit.artefacts.atomic_file import replacing, write_text
from datasets_fewshot.images.read import load_image
from datasets_fewshot.upkeep.contact_sheet import captioned_sheet
from trainers.report.decision.lists import said
from trainers.report.decision.suggestions import (
    LISTS,
    SUGGESTIONS_FILE,
    Duplicate,
    LabelError,
    LookAlike,
    NextImage,
    Suggestions,
)
from trainers.suggest.page import page

PAGE_FILE = "suggestions.html"
PICTURES = 48  # of a sheet
COLUMNS = 8
KINDS = {"label_errors": LabelError, "duplicates": Duplicate, "look_alikes": LookAlike, "label_next": NextImage}
Captioned = list[tuple[Path, str]]


@dataclass(frozen=True)
class Roots:
    """The folders that paths of the lists are below."""

    labelled: Path
    unlabelled: Path | None


def write_suggestions(found: Suggestions, roots: Roots, folder: Path) -> list[Path]:
    """Write the lists that were made, remove those of an earlier call that were not, and return what was written."""
    written, sheets = [], {}
    for name in LISTS:
        table, sheet = folder / f"{name}.csv", folder / f"{name}.png"
        rows = getattr(found, name)
        if rows is None:
            table.unlink(missing_ok=True)
        else:
            write_text(table, _as_csv(rows, KINDS[name]))
            written.append(table)
        if not rows:
            sheet.unlink(missing_ok=True)
            continue
        with replacing(sheet) as temporary:
            _sheet(PICTURED[name](rows, roots)[:PICTURES]).save(temporary, format="PNG")
        written.append(sheet)
        sheets[name] = sheet
    write_text(folder / PAGE_FILE, page(found, sheets))
    write_text(folder / SUGGESTIONS_FILE, json.dumps(asdict(found), indent=1, ensure_ascii=False) + "\n")
    return [*written, folder / PAGE_FILE, folder / SUGGESTIONS_FILE]


def _as_csv(rows: Sequence[object], kind: type) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [entry.name for entry in fields(kind)]
    writer.writerow(names)
    for row in rows:
        writer.writerow([said(getattr(row, name)) for name in names])
    return text.getvalue()


def _sheet(pictures: Captioned) -> Image.Image:
    shown = [(load_image(path, "upright"), caption) for path, caption in pictures]
    return captioned_sheet(shown, min(COLUMNS, len(shown)))


def _doubts(rows: Sequence[LabelError], roots: Roots) -> Captioned:
    return [
        (roots.labelled / one.path, f"{one.label}\n{one.suggested} {one.suggested_probability:.0%}") for one in rows
    ]


def _doubles(rows: Sequence[Duplicate], roots: Roots) -> Captioned:
    """Both images of a pair, one behind the other."""
    both = [((one.path, one.part, one.label), (one.other_path, one.other_part, one.other_label)) for one in rows]
    return [(roots.labelled / path, f"{part}\n{label}") for pair in both for path, part, label in pair]


def _alikes(rows: Sequence[LookAlike], roots: Roots) -> Captioned:
    return [(roots.labelled / path, f"{one.label}\nor {one.other_label}") for one in rows for path in one.shown]


def _next(rows: Sequence[NextImage], roots: Roots) -> Captioned:
    assert roots.unlabelled is not None
    return [
        (roots.unlabelled / one.path, f"{one.answer} {one.probability:.0%}\n{one.second} {one.second_probability:.0%}")
        for one in rows
    ]


PICTURED: dict[str, Callable[..., Captioned]] = {
    "label_errors": _doubts,
    "duplicates": _doubles,
    "look_alikes": _alikes,
    "label_next": _next,
}
