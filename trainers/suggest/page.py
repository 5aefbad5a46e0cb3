"""The suggestions as one HTML page with everything inside: it opens from a folder, and asks no network for anything."""

from collections.abc import Mapping
from pathlib import Path

from trainers.report.decision.lists import list_sections
from trainers.report.decision.suggestions import Suggestions
from trainers.report.pieces import frame, preformatted

FOOTER = "Written by <code>adaptkit suggest</code>. The tables beside this page have every row."


def page(found: Suggestions, sheets: Mapping[str, Path]) -> str:
    """The page as text; names and paths are escaped.

    Args:
        sheets: the contact sheets of the lists that have one.
    """
    lists = list_sections(found, {name: sheet.read_bytes() for name, sheet in sheets.items()})
    return frame(f"What next for {found.dataset}", "suggestions", preformatted(found.summary()), lists, FOOTER)
