"""A table of text, and its forms: Markdown for files, LaTeX for papers, rich for terminals."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from rich.box import SIMPLE_HEAD
from rich.table import Table as RichTable
from rich.text import Text

MISSING = "–"
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

    def rich(self) -> RichTable:
        """For 80 columns: tight, a data set is named once, and where that is too wide names are folded, never numbers.

        The notes are left to whoever prints it.
        """
        table = RichTable(
            title=self.title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, padding=0, show_edge=False
        )
        for column, header in enumerate(self.headers):
            words = column < 2
            shown = header.replace("test images", "test\nimages")
            table.add_column(
                shown, justify="left" if words else "right", no_wrap=not words, max_width=16, overflow="fold"
            )
        above = ""
        for number, row in enumerate(self.rows):
            first = "" if row[0] == above else row[0]
            cells = [
                Text(cell.replace(" ± ", "±").replace(" + ", "+"), "bold" if (number, column) in self.best else "")
                for column, cell in enumerate(row[1:], start=1)
            ]
            table.add_row(first, *cells, end_section=number + 1 in self.sections)
            above = row[0]
        return table

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
