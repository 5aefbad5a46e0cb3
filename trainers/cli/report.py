"""The verb `adaptkit report`: records -> tables, the ledger, one page, plots. It loads no torch."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from adaptkit.artefacts.atomic_file import write_text
from trainers.cli import values

if TYPE_CHECKING:
    from trainers.runs.records import ResultRecord

OK = 0
FORMATS = ("md", "latex", "csv", "html")
SUFFIXES = {".md": "md", ".tex": "latex", ".csv": "csv", ".html": "html"}
PLOTS = ("png", "svg")


def add_parsers(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `report` to a command's verbs; it sets `run`, a function of the arguments -> exit code."""
    parser = verbs.add_parser(
        "report",
        help="tables, a page and plots from the records of finished runs",
        description="Tables of finished runs in the papers' layouts, and beside published numbers where there are any.",
    )
    parser.add_argument(
        "runs", type=values.path, nargs="?", default=Path("runs"), help="folder of runs (default: runs)"
    )
    parser.add_argument("--protocol", type=values.text, help="only this protocol")
    parser.add_argument(
        "--format",
        choices=FORMATS,
        help="md, latex (booktabs), csv (a line per number, unrounded) or html (one page, no network needed); the "
        "default is what the name of --out says, else md",
    )
    parser.add_argument("--ledger", action="store_true", help="only published numbers beside ours, whatever the suite")
    parser.add_argument("--out", type=values.path, help="write to this file, such as page.html, instead of printing")
    parser.add_argument("--plots", type=values.path, metavar="FOLDER", help="also draw the figures there, PNG and SVG")
    parser.set_defaults(run=_report)


def _report(args: argparse.Namespace) -> int:
    form = args.format or (SUFFIXES.get(args.out.suffix.lower()) if args.out else None) or "md"
    if form == "html" and (args.out is None or args.ledger):
        raise ValueError("--format html writes a page: name it with --out PAGE.html, and leave --ledger out")
    records = _records(args.runs, args.protocol)
    text = _text(records, form, args.ledger)
    if args.out is None:
        print(text, end="")
    else:
        write_text(args.out, text)
        print(f"wrote {args.out}", file=sys.stderr)
    if args.plots is not None:
        from trainers.report.plots import draw_plots

        for path in draw_plots(records, args.plots):
            print(f"wrote {path}", file=sys.stderr)
    return OK


def _records(runs: Path, protocol: str | None) -> "list[ResultRecord]":
    """The records of a folder; other files are named on stderr.

    Raises:
        FileNotFoundError: if the folder has no record.
        ValueError: if no record belongs to the protocol.
    """
    from trainers.runs.records import read_records

    records, problems = read_records(runs)
    for problem in problems:
        print(f"note: {problem}", file=sys.stderr)
    chosen = [record for record in records if protocol in (None, record.protocol)]
    if not records:
        raise FileNotFoundError(f"no finished run below {str(runs)!r}; `adaptkit bench --out {runs}` makes some")
    if not chosen:
        there = ", ".join(dict.fromkeys(record.protocol for record in records))
        raise ValueError(f"no finished run of protocol {protocol!r} below {str(runs)!r}, which has runs of {there}")
    return chosen


def _text(records: "list[ResultRecord]", form: str, ledger_only: bool) -> str:
    from trainers.report.cells import cells_csv, ledger_csv
    from trainers.report.ledger import PAPER_SUITE, ledger, ledger_tables
    from trainers.tables.tables import tables

    if form == "html":
        from trainers.report.page import page

        return page(records)
    rows = ledger(records)
    if form == "csv":
        return ledger_csv(rows) if ledger_only else cells_csv(records)
    if ledger_only:
        made = ledger_tables(rows)
    # Only `ledger_only` compares data sets other than the papers' with published numbers.
    else:
        papers = [row for row in rows if row.suite == PAPER_SUITE]
        made = [*tables(records, layout="paper"), *ledger_tables(papers)]
    return "\n".join(table.latex() if form == "latex" else table.markdown() for table in made)
