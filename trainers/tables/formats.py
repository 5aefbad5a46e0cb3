"""A table of text, and its forms: Markdown for files, LaTeX for papers, rich for terminals."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table as RichTable
from rich.text import Text

MISSING = "–"
TERMINAL_WIDTH = 80  # columns, also where the output is piped
NAMES = 2  # columns of names, at the left
NAME_WIDTH = 16  # of a name, at most
FOLDED_WIDTH = 9  # of a name that is folded, at least
HEADER_WIDTH = 7  # of a header, below which it is not broken
LATEX = {**{sign: f"\\{sign}" for sign in "&%$#_{}"}, "\\": r"\textbackslash{}", "~": r"\textasciitilde{}",
         "^": r"\textasciicircum{}", "±": r"$\pm$", "–": "--", "→": r"$\rightarrow$"}  # fmt: skip


@dataclass(frozen=True)
class Table:
    """A table with its caption; `sections` are the numbers of rows after which a line is drawn."""

    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    sections: tuple[int, ...] = ()
    best: tuple[tuple[int, int], ...] = ()  # (row, column) of the best numbers of a section

    def markdown(self) -> str:
        """With the title as a heading, the best in bold and the notes as a list."""
        lines = [f"### {self.title}", "", _line(self.headers), _line(["---"] * len(self.headers))]
        lines += [_line(self._marked(number, "**{}**")) for number in range(len(self.rows))]
        return "\n".join([*lines, "", *(f"- {note}" for note in self.notes)]).rstrip() + "\n"

    def latex(self) -> str:
        """A table of the booktabs package, the best in bold; a data set is named once."""
        columns = "ll" + "r" * (len(self.headers) - 2)
        lines = [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_latex(self.title)}}}",
            rf"\begin{{tabular}}{{{columns}}}",
        ]
        lines += [r"\toprule", _latex_line(map(_latex, self.headers)), r"\midrule"]
        above = ""
        for number, row in enumerate(self.rows):
            escaped = replace(self, rows=(*self.rows[:number], tuple(map(_latex, row))))
            first, *cells = escaped._marked(number, r"\textbf{{{}}}")
            lines.append(_latex_line(["" if row[0] == above else first, *cells]))
            above = row[0]
            if number + 1 in self.sections:
                lines.append(r"\midrule")
                above = ""
        lines += [r"\bottomrule", r"\end{tabular}", *(f"% {note}" for note in self.notes), r"\end{table}"]
        return "\n".join(lines) + "\n"

    def with_rows(self, kept: Sequence[int]) -> "Table":
        """The table with some of its rows; what is best in a section stays so, and lines are drawn where they were."""
        place = {number: index for index, number in enumerate(kept)}
        rows = tuple(self.rows[number] for number in kept)
        best = tuple((place[number], column) for number, column in self.best if number in place)
        sections = tuple(place[number] for number in self.sections if place.get(number, 0) > 0)
        return replace(self, rows=rows, best=best, sections=sections)

    def rich(self, width: int = TERMINAL_WIDTH) -> Group:
        """For a terminal or a pipe of `width` columns: tight, a data set is named once, and numbers are never folded.

        Where it is too wide, names are folded; where that is not enough, the columns of numbers are parted over several
        tables, each with the names. The notes are left to whoever prints it.
        """
        shown = [self._shown(column) for column in range(len(self.headers))]
        needed = [max(len(line) for text in column for line in text.splitlines() or [""]) for column in shown]
        parts = _parts(needed, width)
        return Group(*(self._rich_part(shown, columns, is_first=columns is parts[0]) for columns in parts))

    def _rich_part(self, shown: Sequence[Sequence[str]], columns: Sequence[int], is_first: bool) -> RichTable:
        """The names and the columns of numbers with these places."""
        title = self.title if is_first else "the same, further columns"
        style = "bold" if is_first else "italic"
        table = RichTable(
            title=title, title_justify="left", title_style=style, box=SIMPLE_HEAD, padding=0, show_edge=False
        )
        for column in columns:
            is_name = column < NAMES
            table.add_column(
                shown[column][0],
                justify="left" if is_name else "right",
                no_wrap=not is_name,
                max_width=NAME_WIDTH if is_name else None,
                overflow="fold",
            )
        above = ""
        for number, row in enumerate(self.rows):
            first = "" if row[0] == above else row[0]
            cells = [
                Text(shown[column][number + 1], "bold" if (number, column) in self.best else "")
                for column in columns[1:]
            ]
            table.add_row(first, *cells, end_section=number + 1 in self.sections)
            above = row[0]
        return table

    def _shown(self, column: int) -> list[str]:
        """The header of a column and its cells as a terminal shows them."""
        cells = [row[column].replace(" ± ", "±").replace(" + ", "+") for row in self.rows]
        header = self.headers[column]
        widest = max((len(cell) for cell in cells), default=0)
        return [header if column < NAMES else _broken(header, max(widest, HEADER_WIDTH)), *cells]

    def _marked(self, number: int, mark: str) -> list[str]:
        row = self.rows[number]
        return [mark.format(cell) if (number, column) in self.best else cell for column, cell in enumerate(row)]


def with_best(table: Table, columns: Sequence[int]) -> Table:
    """Mark the largest number, as it is printed, of every section and column; nothing where one row stands alone."""
    best: list[tuple[int, int]] = []
    for first, last in _sections(table):
        for column in columns:
            values = {row: _leading(table.rows[row][column]) for row in range(first, last)}
            numbers = [value for value in values.values() if value is not None]
            if len(numbers) > 1:
                best += [(row, column) for row, value in values.items() if value == max(numbers)]
    return replace(table, best=tuple(best))


def _parts(needed: Sequence[int], width: int) -> list[list[int]]:
    """Places of the columns of each part: the names, and as many columns of numbers as fit beside them."""
    names = [min(each, NAME_WIDTH) for each in needed[:NAMES]]
    places = list(range(len(needed)))
    folded = [min(each, FOLDED_WIDTH) for each in names]
    if sum(folded) + sum(needed[NAMES:]) + len(needed) - 1 <= width:
        return [places]
    parts: list[list[int]] = []
    used = width
    for place in places[NAMES:]:
        if used + 1 + needed[place] > width:
            parts.append(places[:NAMES])
            used = sum(names) + NAMES - 1
        parts[-1] = [*parts[-1], place]
        used += 1 + needed[place]
    return parts or [places]


def _broken(header: str, width: int) -> str:
    """A header with a line break wherever a word would go beyond the width: "imagenet_sketch" at its underscore."""
    lines = [""]
    for piece in re.findall(r"[^ _]+[ _]?|[ _]", header):
        if lines[-1] and len(lines[-1] + piece.rstrip()) > width:
            lines.append("")
        lines[-1] += piece
    return "\n".join(line.rstrip() for line in lines)


def _sections(table: Table) -> Iterator[tuple[int, int]]:
    edges = [0, *table.sections, len(table.rows)]
    return pairwise(edges)


def _leading(cell: str) -> float | None:
    """71.66 of "71.66 ± 0.52"; None of what is missing."""
    return None if cell == MISSING else float(cell.split(" ")[0])


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _latex(text: str) -> str:
    return "".join(LATEX.get(sign, sign) for sign in text)


def _latex_line(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"
