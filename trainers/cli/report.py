"""The verb `adaptkit report`: records and decisions -> tables, the ledger, one page, plots. It loads no torch."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from adaptkit.artefacts.atomic_file import write_text
from trainers.cli import values

if TYPE_CHECKING:
    from trainers.report.folders import Found
    from trainers.runs.records import ResultRecord

OK = 0
RUNS = Path("runs")
FORMATS = ("md", "latex", "csv", "html")
SUFFIXES = {".md": "md", ".tex": "latex", ".csv": "csv", ".html": "html"}
PLOTS = ("png", "svg")


def add_parsers(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `report` to a command's verbs; it sets `run`, a function of the arguments -> exit code."""
    parser = verbs.add_parser(
        "report",
        help="tables, a page and plots from the records of finished runs and from what lies beside adapters",
        description="Tables of finished runs in the papers' layouts, and beside published numbers where there are any. "
        "Of adapters, a page (--out page.html) shows how they were chosen, what they promise, what texts gave, every "
        "label where there are several, and what to do next.",
    )
    parser.add_argument(
        "folders",
        type=values.path,
        nargs="*",
        default=[],
        metavar="FOLDER",
        help="of runs, an adapter, a folder of adapters, or what `suggest` or `eval --out` wrote (default: runs)",
    )
    parser.add_argument("--protocol", type=values.text, help="only runs of this protocol")
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
    from trainers.report.folders import look_into

    form = args.format or (SUFFIXES.get(args.out.suffix.lower()) if args.out else None) or "md"
    if form == "html" and (args.out is None or args.ledger):
        raise ValueError("--format html writes a page: name it with --out PAGE.html, and leave --ledger out")
    folders = args.folders or [RUNS]
    found = look_into(folders)
    for problem in found.problems:
        print(f"note: {problem}", file=sys.stderr)
    records = _of_protocol(found.records, args.protocol, folders)
    text = _page(records, found) if form == "html" else _tables(records, found, form, args.ledger)
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


def _of_protocol(
    records: "tuple[ResultRecord, ...]", protocol: str | None, folders: list[Path]
) -> "list[ResultRecord]":
    """The records of one protocol, or all of them.

    Raises:
        ValueError: if no record belongs to the protocol.
    """
    chosen = [record for record in records if protocol in (None, record.protocol)]
    if records and not chosen:
        there = ", ".join(dict.fromkeys(record.protocol for record in records))
        where = ", ".join(repr(str(folder)) for folder in folders)
        raise ValueError(f"no finished run of protocol {protocol!r} below {where}, which has runs of {there}")
    return chosen


def _page(records: "list[ResultRecord]", found: "Found") -> str:
    from trainers.report.page import page

    return page(records, found.decisions)


def _tables(records: "list[ResultRecord]", found: "Found", form: str, ledger_only: bool) -> str:
    from trainers.report.cells import cells_csv, ledger_csv
    from trainers.report.ledger import PAPER_SUITE, ledger, ledger_tables
    from trainers.tables.tables import tables

    if not records:
        names = ", ".join(decision.name for decision in found.decisions)
        raise ValueError(f"{names} has no finished run to make tables of; a page shows the rest: --out page.html")
    if found.decisions:
        print("note: a page shows what is known of adapters: --out page.html", file=sys.stderr)
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
