"""A figure of scores with their standard errors, as SVG inside a page: it needs no library and no script."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, ROW, EDGE = 720, 24, 8  # units of the drawing
LEFT, RIGHT = 240, 80  # room for names and for numbers
MOST_LETTERS = 34  # of a name; all of it appears where the pointer rests
ACCENT, PLAIN = "#0a7a5c", "#7b8794"  # readable on light and on dark


@dataclass(frozen=True)
class Mark:
    """One row of a figure: a score in percent."""

    name: str
    score: float
    error: float = 0.0  # standard error
    is_chosen: bool = False


def chart(marks: Sequence[Mark], caption: str, line: float | None = None) -> str:
    """A dot with its standard error for each row, and a dashed line at a score; no rows are no figure."""
    if not marks:
        return ""
    ends = [mark.score + sign * mark.error for mark in marks for sign in (-1, 1)] + ([] if line is None else [line])
    scale = _Scale(min(ends), max(ends))
    height = 2 * EDGE + ROW * len(marks)
    rows = "".join(_row(mark, EDGE + ROW * (place + 0.5), scale) for place, mark in enumerate(marks))
    dashes = ""
    if line is not None:
        x = scale.x(line)
        dashes = f'<path d="M{x} {EDGE}V{height - EDGE}" stroke="{PLAIN}" stroke-dasharray="4 4"/>'
    return (
        f'<figure><svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(caption)}">{dashes}{rows}</svg>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


@dataclass(frozen=True)
class _Scale:
    low: float
    high: float

    def x(self, score: float) -> float:
        """Where a score stands from left to right."""
        share = (score - self.low) / ((self.high - self.low) or 1.0)
        return round(LEFT + ROW / 2 + share * (WIDTH - LEFT - RIGHT - ROW), 1)


def _row(mark: Mark, y: float, scale: _Scale) -> str:
    color = ACCENT if mark.is_chosen else PLAIN
    name = mark.name if len(mark.name) <= MOST_LETTERS else f"{mark.name[: MOST_LETTERS - 1]}…"
    low, high = scale.x(mark.score - mark.error), scale.x(mark.score + mark.error)
    return (
        f'<g><title>{escape(mark.name)}</title><text x="{LEFT}" y="{y + 4}" text-anchor="end" font-size="12" '
        f'fill="currentColor">{escape(name)}</text><path d="M{low} {y}H{high}" stroke="{color}" stroke-width="2"/>'
        f'<circle cx="{scale.x(mark.score)}" cy="{y}" r="4" fill="{color}"/><text x="{WIDTH - RIGHT + 8}" y="{y + 4}" '
        f'font-size="12" fill="currentColor">{mark.score:.1f}</text></g>'
    )
