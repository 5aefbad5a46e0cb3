"""Pieces of the pages that open from a folder: their frame, sections, tables and pictures. All text is escaped here."""

import base64
from collections.abc import Collection, Sequence
from html import escape
from importlib import resources

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
FIRST_COLUMN = (0,)


def asset(name: str) -> str:
    """A file of the pages: a style, a script or a frame."""
    return (resources.files("trainers.report") / "assets" / name).read_text(encoding="utf-8")


def frame(title: str, kind: str, introduction: str, body: str, footer: str, style: str = "") -> str:
    """A page without scripts, which asks no network for anything.

    Args:
        kind: one word beside the name of adaptkit.
        introduction, body, footer: HTML.
        style: CSS besides that of all pages.
    """
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
{asset("style.css")}{style}</style>
</head>
<body>
<header class="top"><div class="bar"><p class="brand">adaptkit <span>{escape(kind)}</span></p></div></header>
<main id="content" class="sheet">
<section><h2>{escape(title)}</h2>{introduction}</section>
{body}
</main>
<footer>{footer}</footer>
</body>
</html>
"""


def section(title: str, *parts: str) -> str:
    """A card with a heading and parts of HTML; empty parts take no room."""
    return f'<section class="card">{heading(title)}{"".join(parts)}</section>'


def heading(title: str) -> str:
    """The heading of a card, or of a part of it."""
    return f'<div class="head"><h3>{escape(title)}</h3></div>'


def paragraph(text: str) -> str:
    """A paragraph; no text is no paragraph."""
    return f"<p>{escape(text)}</p>" if text else ""


def preformatted(text: str) -> str:
    """Lines of text as they are."""
    return f"<pre>{escape(text)}</pre>"


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    marks: Sequence[str] = (),
    words: Collection[int] = FIRST_COLUMN,
) -> str:
    """A table that scrolls where it is too wide.

    Args:
        marks: a CSS class for each row.
        words: places of the columns of text; the others are numbers.
    """

    def cell(tag: str, place: int, text: str) -> str:
        scope = ' scope="col"' if tag == "th" else ""
        kind = ' class="words"' if place in words else ""
        return f"<{tag}{scope}{kind}>{escape(text)}</{tag}>"

    def cells(tag: str, texts: Sequence[str]) -> str:
        return "".join(cell(tag, place, text) for place, text in enumerate(texts))

    body = "".join(
        f'<tr class="{mark}">{cells("td", row)}</tr>' for row, mark in zip(rows, marks or [""] * len(rows), strict=True)
    )
    top = f"<tr>{cells('th', head)}</tr>"
    return f'<div class="scroll"><table><thead>{top}</thead><tbody>{body}</tbody></table></div>'


def notes(said: Sequence[str]) -> str:
    """A list of remarks; none are no list."""
    return f'<ul class="notes">{"".join(f"<li>{escape(text)}</li>" for text in said)}</ul>' if said else ""


def picture(content: bytes, alt: str) -> str:
    """A PNG inside the page."""
    return f'<img alt="{escape(alt)}" src="{address(content, "png")}">'


def address(content: bytes, kind: str) -> str:
    """An address that holds an image; `kind` is "png" or "jpeg"."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
