"""The four lists of `adaptkit suggest` as sections of a page: a contact sheet and a table each."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from trainers.report.decision.suggestions import LISTS, Suggestions
from trainers.report.pieces import paragraph, picture, section, table

ROWS = 48  # of a list; its table has all
TITLES = {
    "label_errors": "Labels to check, the least believed first",
    "duplicates": "One picture in two parts or two classes",
    "look_alikes": "Classes that look alike",
    "label_next": "Images to label next",
}


def list_sections(found: Suggestions, sheets: Mapping[str, bytes]) -> str:
    """The sections as HTML; names and paths are escaped.

    Args:
        sheets: the contact sheets, PNG, of the lists that have one.
    """
    return "\n".join(_list(name, getattr(found, name), sheets.get(name)) for name in LISTS)


def _list(name: str, rows: Sequence[object] | None, sheet: bytes | None) -> str:
    title = TITLES[name]
    if rows is None:
        return section(title, paragraph("This list could not be made."))
    if not rows:
        return section(title, paragraph("None."))
    shown = [asdict(row) for row in rows[:ROWS]]  # type: ignore[call-overload]
    words = [place for place, value in enumerate(shown[0].values()) if not _is_number(value)]
    more = paragraph(f"The first {ROWS} of {len(rows)}; {name}.csv has all.") if len(rows) > ROWS else ""
    cells = [[said(value) for value in row.values()] for row in shown]
    head = [column.replace("_", " ") for column in shown[0]]
    return section(title, picture(sheet, title) if sheet else "", table(head, cells, words=words), more)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def said(value: object) -> str:
    """A cell of a list, in its tables and here."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4f}"
    return ";".join(value) if isinstance(value, tuple) else str(value)
