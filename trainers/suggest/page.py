"""The suggestions as one HTML page with everything inside: it opens from a folder, and asks no network for anything."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import fields
from html import escape
from pathlib import Path

from trainers.report.page import asset
from trainers.suggest.result import Suggestions

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
STYLE = "main img { max-width: 100%; background: #fff; } pre { white-space: pre-wrap; padding: 0 16px; }"
ROWS = 48  # of a list; its table has all
TITLES = {
    "label_errors": "Labels to check, the least believed first",
    "duplicates": "One picture in two parts or two classes",
    "look_alikes": "Classes that look alike",
    "label_next": "Images to label next",
}


def page(found: Suggestions, sheets: Mapping[str, Path]) -> str:
    """The page as text; names and paths are escaped.

    Args:
        sheets: the contact sheets of the lists that have one.
    """
    title = f"What next for {found.dataset}"
    sections = "\n".join(_section(name, getattr(found, name), sheets.get(name)) for name in TITLES)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<link rel="icon" href="data:,">
<title>{escape(title)}</title>
<style>
{asset("style.css")}{STYLE}</style>
</head>
<body>
<header class="top"><div class="bar"><p class="brand">adaptkit <span>suggestions</span></p></div></header>
<main id="content">
<section><h2>{escape(title)}</h2><pre>{escape(found.summary())}</pre></section>
{sections}
</main>
<footer>Written by <code>adaptkit suggest</code>. The tables beside this page have every row.</footer>
</body>
</html>
"""


def _section(name: str, rows: Sequence[object] | None, sheet: Path | None) -> str:
    head = f'<div class="head"><h3>{TITLES[name]}</h3></div>'
    if rows is None:
        return f'<section class="card">{head}<p>This list could not be made.</p></section>'
    if not rows:
        return f'<section class="card">{head}<p>None.</p></section>'
    picture = ""
    if sheet is not None:
        content = base64.b64encode(sheet.read_bytes()).decode()
        picture = f'<img alt="{TITLES[name]}" src="data:image/png;base64,{content}">'
    names = [entry.name for entry in fields(rows[0])]  # type: ignore[arg-type]
    header = "".join(f'<th scope="col">{column.replace("_", " ")}</th>' for column in names)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(said(getattr(row, column)))}</td>' for column in names)}</tr>"
        for row in rows[:ROWS]
    )
    table = f"<table><thead><tr>{header}</tr></thead><tbody>{body}</tbody></table>"
    return f'<section class="card">{head}{picture}<div class="scroll">{table}</div></section>'


def said(value: object) -> str:
    """A cell of a list, in its tables and here."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4f}"
    return ";".join(value) if isinstance(value, tuple) else str(value)
