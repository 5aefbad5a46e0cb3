"""The verbs `adaptkit runs ls|show|diff|rm`. Heavy imports stay inside the verbs; none of them loads torch."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from trainers.cli import values
from trainers.cli.removals import nothing_yet

if TYPE_CHECKING:
    from trainers.runs.records import ResultRecord

OK = 0
FILTERS = ("protocol", "suite", "dataset", "method")


def add_parsers(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `runs` to a command's verbs; each of its own verbs sets `run`, a function of the arguments -> exit code."""
    runs = verbs.add_parser("runs", help="list, show, compare and remove finished runs")
    own = runs.add_subparsers(dest="runs_verb", required=True, metavar="VERB")
    listing = own.add_parser("ls", help="list the runs; --json prints one JSON object per line")
    listing.add_argument(
        "folder", type=values.path, nargs="?", default=Path("runs"), help="folder of runs (default: runs)"
    )
    for name in FILTERS:
        listing.add_argument(f"--{name}", type=values.text, help=f"only this {name}")
    listing.set_defaults(run=_ls)
    show = own.add_parser("show", help="all that is known of a run")
    show.add_argument("name", type=values.text, metavar="RUN", help="the first letters of its id, or its folder")
    show.set_defaults(run=_show)
    diff = own.add_parser("diff", help="what two runs differ in: settings, results, and which images changed")
    diff.add_argument("left", type=values.text, metavar="RUN")
    diff.add_argument("right", type=values.text, metavar="RUN")
    diff.set_defaults(run=_diff)
    remove = own.add_parser("rm", help="remove runs with what they learnt; they are computed again when next needed")
    remove.add_argument("names", type=values.text, nargs="+", metavar="RUN")
    remove.add_argument("--yes", action="store_true", help="remove them; without it, they are only listed")
    remove.set_defaults(run=_rm)
    for parser in (show, diff, remove):
        parser.add_argument("--runs", type=values.path, dest="folder", default=Path("runs"), help="(default: runs)")
    for parser in (listing, show, diff, remove):
        parser.add_argument("--json", action="store_true", help="as JSON")


def _ls(args: argparse.Namespace) -> int:
    from trainers.runs.listing import short_record, text_table
    from trainers.runs.records import read_records

    if not args.folder.is_dir():
        raise FileNotFoundError(f"no folder {str(args.folder)!r}; `adaptkit bench --out {args.folder}` makes it")
    records, problems = read_records(args.folder)
    for problem in problems:
        print(f"note: {problem}", file=sys.stderr)
    wanted = {name: getattr(args, name) for name in FILTERS if getattr(args, name) is not None}
    chosen = [record for record in records if _matches(record, wanted)]
    if args.json:
        for record in chosen:
            print(json.dumps(short_record(record), ensure_ascii=False))
        return OK
    if chosen:
        print(text_table(chosen))
    print(f"{len(chosen)} runs in {args.folder}" + (f", of {len(records)}" if len(records) > len(chosen) else ""))
    return OK


def _matches(record: "ResultRecord", wanted: dict[str, str]) -> bool:
    return all(
        value in (getattr(record, name), record.label if name == "method" else "") for name, value in wanted.items()
    )


def _show(args: argparse.Namespace) -> int:
    from trainers.runs.listing import describe, find_run
    from trainers.runs.records import record_as_json

    place, record = find_run(args.name, args.folder)
    print(record_as_json(record) if args.json else describe(record, place))
    return OK


def _diff(args: argparse.Namespace) -> int:
    from dataclasses import asdict

    from trainers.runs.listing import difference, find_run

    left, right = (find_run(name, args.folder)[1] for name in (args.left, args.right))
    found = difference(left, right)
    print(json.dumps(asdict(found), indent=1, ensure_ascii=False) if args.json else found)
    return OK


def _rm(args: argparse.Namespace) -> int:
    from trainers.runs.listing import find_folder, plan_run_removal, remove_run

    folders = dict.fromkeys(
        find_folder(name, args.folder) for name in args.names
    )  # If one run is not found, none is removed.
    removals = [plan_run_removal(folder) for folder in folders]
    if args.yes:
        for removal in removals:
            remove_run(removal)
    if args.json:
        done = {"removed" if args.yes else "would_remove": [str(folder) for folder in folders]}
        print(json.dumps(done | {"kept": [str(path) for removal in removals for path in removal.foreign]}, indent=1))
        return OK
    for removal in removals:
        print(f"{'removed' if args.yes else 'would remove'} {removal.folder}: {len(removal.ours)} files")
        print(*removal.lines(), sep="\n", end="\n" if removal.foreign else "")
    if not args.yes:
        print(nothing_yet(len(removals), "runs"))
    return OK
