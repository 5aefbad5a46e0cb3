"""The verb `adaptkit reproduce`: one command per published table. Heavy imports stay inside the verb."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from trainers.cli import values

if TYPE_CHECKING:
    from trainers.runs.records import ResultRecord

OK = 0


def add_parsers(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `reproduce` to a command's verbs; it sets `run`, a function of the arguments -> exit code."""
    parser = verbs.add_parser(
        "reproduce",
        help="run a paper's table with the paper's settings, and hold it against the published numbers",
        description="Run a paper's table with the settings of its recipe (configs/paper), then print it beside the "
        "published numbers. Without a table, list the tables.",
    )
    parser.add_argument("table", type=values.text, nargs="?", metavar="TABLE", help="such as maple.base_to_novel")
    parser.add_argument("--root", type=values.path_as_text, help="the folder that holds the data sets of the papers")
    parser.add_argument("--datasets", type=values.names, help="such as dtd,eurosat; by default all of the table")
    parser.add_argument("--seeds", type=values.seeds, help="by default the paper's")
    parser.add_argument("--shots", type=values.shots, help="by default the paper's")
    parser.add_argument(
        "--split",
        type=values.path_as_text,
        help="fallback: build a split where the papers' file is missing; else a split file of one data set",
    )
    parser.add_argument(
        "--backbone", type=values.text, help="another one than the paper's, which makes the numbers not comparable"
    )
    parser.add_argument("--pretrained", type=values.text, help="the tag of that backbone's weights")
    parser.add_argument(
        "--checkpoint", type=values.path_as_text, help="a local file with the weights, such as OpenAI's ViT-B-16.pt"
    )
    parser.add_argument("--device", type=values.device, help="auto (default), cpu, cuda or cuda:1")
    parser.add_argument("--out", type=values.path, default=Path("runs"), help="folder for records (default: runs)")
    parser.add_argument("--fresh", action="store_true", help="compute finished runs again")
    parser.add_argument("overrides", nargs="*", metavar="KEY VALUE", help="settings, such as OPTIM.EPOCHS 10")
    parser.set_defaults(run=_reproduce)


def _reproduce(args: argparse.Namespace) -> int:
    from trainers.report.paper_tables import PAPER_TABLES, paper_table

    if args.table is None:
        print("\n".join(table.describe() for table in PAPER_TABLES))
        print("\n`adaptkit reproduce TABLE --root DATA` runs one of them")
        return OK
    table = paper_table(args.table)
    if args.root is None:
        raise ValueError("--root is missing: name the folder that holds the data sets of the papers")

    from datasets_fewshot.store.cache_folder import cache_folder
    from trainers.bench.main import bench
    from trainers.config.load import load_bench

    config = load_bench(None, args.overrides, {**table.settings(), **_settings(args)})
    records = bench(config, args.out, cache_folder() / "features", fresh=args.fresh)
    _ledger(args.table, records, args.out)
    return OK


def _settings(args: argparse.Namespace) -> dict[str, object]:
    """The options as settings; the pairs that the user wrote lie over them."""
    settings: dict[str, object] = {}
    given = {
        "DATASETS": args.datasets,
        "SEEDS": args.seeds,
        "SHOTS": args.shots,
        "DATA.ROOT": args.root,
        "DATA.SPLIT": args.split,
        "DEVICE": args.device,
    }
    if args.backbone or args.pretrained or args.checkpoint:  # Another backbone brings its own weights.
        settings["BACKBONE.PRETRAINED"] = args.pretrained
        given |= {"BACKBONE.NAME": args.backbone, "BACKBONE.CHECKPOINT": args.checkpoint}
    return settings | {key: value for key, value in given.items() if value is not None}


def _ledger(name: str, records: "list[ResultRecord]", out: Path) -> None:
    """Print the ledger and write it beside the records."""
    from rich.console import Console

    from adaptkit.artefacts.atomic_file import write_text
    from trainers.report.cells import ledger_csv
    from trainers.report.ledger import ledger, ledger_tables, verdict_counts

    rows = ledger(records)
    made = ledger_tables(rows)
    console = Console()
    for table in ledger_tables([row for row in rows if row.verdict != "not run"]):
        console.print(table.rich(console.width))
        for note in table.notes:
            console.print(f"- {note}", highlight=False, style="dim", soft_wrap=True)
    console.print(f"{name}: {verdict_counts(rows)}")
    paths = out / f"{name}.ledger.md", out / f"{name}.ledger.csv"
    write_text(paths[0], "\n".join(table.markdown() for table in made))
    write_text(paths[1], ledger_csv(rows))
    Console(stderr=True).print(f"written to {paths[0]} and {paths[1]}", soft_wrap=True)
